"""Where points are kept: one file each, whole or not at all, named by what it depends on; failures beside them.

A file ends with the digest of its other bytes. One that does not match it, or cannot be read, is damaged: its point
counts as not run.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

from experiments.files import write_text
from experiments.grid import Summary
from experiments.sweeps.quantiles import MIDDLES, Sketch
from experiments.sweeps.work import Answer
from traces.errors import SlosimError

SEAL = re.compile(rb'\A(\{.+),"sha256":"([0-9a-f]{64})"\}\n\Z', re.DOTALL)
"""How a file ends."""
LARGEST = 64 << 20
"""Bytes of a file that is read; a point has some ten thousand."""


class Record(NamedTuple):
    """What is known of a point that was run."""

    key: str
    seconds: float
    """Wall time of the simulation."""
    overloaded: bool
    """Whether the queue grew for as long as requests came."""
    summary: Summary
    tails: Mapping[str, Sketch]
    cautions: tuple[str, ...] = ()
    """Where the run went beyond model, GPU or profile."""


class Failed(NamedTuple):
    """What is known of a point that was not."""

    key: str
    error: str


Kept = Record | Failed


def parsed(text: str) -> Kept:
    """The content of a file; raises ValueError if it is none of ours."""
    try:
        content: Mapping[str, Any] = json.loads(text)
        if "error" in content:
            return Failed(_is(str, content["key"]), _is(str, content["error"]))
        nan = float("nan")
        summary = {name: nan if value is None else _number(value) for name, value in content["summary"].items()}
        tails = {name: _sketch(each) for name, each in content["tails"].items()}
        seconds, grew = _number(content["seconds"]), _is(bool, content["overloaded"])
        cautions = tuple(_is(str, each) for each in content.get("cautions", ()))
        return Record(_is(str, content["key"]), seconds, grew, summary, tails, cautions)
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is not a point ({type(error).__name__}: {error})") from error


def sealed(text: str) -> str:
    """The text of a file with the digest of its bytes at the end; an earlier digest is replaced."""
    body = _unsealed(text)
    return f'{body},"sha256":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n'


def unsealed(raw: bytes) -> str:
    """The text of a file without its digest; raises ValueError if that is not the digest of its bytes."""
    match = SEAL.match(raw)
    if match is None:
        raise ValueError("it carries no digest")
    if hashlib.sha256(match[1]).hexdigest().encode() != match[2]:
        raise ValueError("its digest is of other bytes")
    return match[1].decode("utf-8") + "}"


class Store:
    """A folder of points."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        """The damaged files that were found, one text each: the file's name and what is wrong with it."""

    def place(self, key: str, failed: bool = False) -> Path:
        """The file of a point."""
        return self.folder / f"{key}.failure.json" if failed else self.folder / f"{key}.json"

    def record(self, key: str) -> Record | None:
        """A point that was run before; None if it was not, or if its file was damaged since (see `damaged`)."""
        path = self.place(key)
        try:
            kept = parsed(unsealed(_bytes(path)))
            if not isinstance(kept, Record) or kept.key != key:
                raise ValueError("it is of another point")
        except FileNotFoundError:
            if path.is_symlink():
                self.damaged.append(f"{path.name}: it leads nowhere")
            return None
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            self.damaged.append(f"{path.name}: {told}")
            return None
        return kept

    def keep(self, key: str, answer: Answer) -> Kept:
        """Writes a point's file; a success takes the place of an earlier failure.

        Raises ValueError if the answer is none, and SlosimError if the folder cannot be written.
        """
        kept = parsed(answer.text)
        if isinstance(kept, Record) and kept.key != key:
            raise ValueError(f"it is of another point, {kept.key}")
        path = self.place(key, isinstance(kept, Failed))
        _put_aside(path)
        write_text(path, sealed(answer.text))
        if isinstance(kept, Record):
            _put_aside(self.place(key, failed=True))
            with suppress(OSError):
                self.place(key, failed=True).unlink(missing_ok=True)
        return kept


def damage_said(damaged: list[str]) -> str:
    """One line about files that were damaged; nothing if none was."""
    if not damaged:
        return ""
    number = f"{len(damaged)} kept {'point was' if len(damaged) == 1 else 'points were'} damaged and run again"
    return f"{number} ({damaged[0]}{'; ...' if len(damaged) > 1 else ''})"


def _bytes(path: Path) -> bytes:
    """The bytes of a file; raises ValueError for a pipe, a folder or a file too large for a point."""
    state = path.stat()
    if not S_ISREG(state.st_mode):
        raise ValueError("it is not a file")
    if state.st_size > LARGEST:
        raise ValueError(f"it has {state.st_size} bytes")
    return path.read_bytes()


def _put_aside(path: Path) -> None:
    """Renames a folder that has the name of a point's file; it may hold a user's files, so it is not removed."""
    try:
        if not S_ISDIR(path.lstat().st_mode):
            return
        number = 1
        while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
            number += 1
        path.rename(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SlosimError(f"{path}: is a folder where a file belongs ({error.strerror}); move it away") from error


def _unsealed(text: str) -> str:
    """An object's text without the closing brace, and without a digest."""
    whole = text.strip()
    match = SEAL.match(f"{whole}\n".encode())
    return match[1].decode() if match else whole.removesuffix("}")


def _sketch(content: Mapping[str, Any]) -> Sketch:
    values = tuple(_number(each) for each in _is(list, content["values"]))
    size = content["size"]
    if type(size) is not int or len(values) != min(size, len(MIDDLES)):
        raise TypeError(f"a sample of size {size!r}")
    return Sketch(size, values)


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.60} where a {kind.__name__} belongs")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.60} where a number belongs")
    return value
