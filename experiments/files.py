"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from traces.errors import SlosimError

FULL = (errno.EMFILE, errno.ENFILE)
"""Errors of a process, or a system, with too many open files."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write to; what was written takes the place of `path` at the end, unless something failed.

    Folders are made as needed. Raises SlosimError if the system refuses.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, path)
    except OSError as error:
        advice = "raise the limit (ulimit -n)" if error.errno in FULL else "choose another folder"
        raise SlosimError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error
    finally:
        with suppress(OSError):
            draft.unlink()


def write_text(path: Path, text: str) -> Path:
    """Writes a text file whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, "utf-8")
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Writes an object as JSON, indented, in its own order; numbers that are none become null."""
    return write_text(path, json.dumps(without_nan(content), indent=2, allow_nan=False, default=plain) + "\n")


def without_nan(content: Any) -> Any:
    """The same content with None for every nan and infinity, which JSON does not have."""
    if isinstance(content, Mapping):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def plain(value: Any) -> Any:
    """numpy's numbers as Python's, anything else as it prints."""
    return value.item() if hasattr(value, "item") else str(value)
