"""JSON Lines by key: one object per line, a hundred thousand lines at a time."""

import json
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from traces.errors import SlosimError
from traces.readers.files import opened_text
from traces.readers.table import Cells, Parser, Table, parsed

__all__ = ["objects", "read_json_lines"]

_ROWS_AT_ONCE = 100_000
_Numbered = tuple[int, dict[str, Any]]


def objects(path: Path) -> Iterator[_Numbered]:
    """Give each object with its line, from 1; blank lines do not count. Raises SlosimError at a line that is none."""
    with opened_text(path) as text:
        for line, content in enumerate(text, start=1):
            if content.strip():
                yield line, _object(path, line, content)


def read_json_lines(path: Path, required: Mapping[str, Parser], optional: Mapping[str, Parser] | None = None) -> Table:
    """Read the required keys, and the optional ones that the first object has.

    Raises SlosimError naming the line and key that is missing, or the value that cannot be read.
    """
    numbered = objects(path)
    first = next(numbered, None)
    if first is None:
        raise SlosimError(f"{path}: the file is empty; expected one JSON object per line")
    parsers = {**required, **{key: parse for key, parse in (optional or {}).items() if key in first[1]}}
    return parsed(path, parsers, _pieces(path, chain([first], numbered), list(parsers)))


def _object(path: Path, line: int, content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise SlosimError(f"{path}, line {line}: not JSON ({error}); is the file cut off?") from error
    if not isinstance(value, dict):
        raise SlosimError(f"{path}, line {line}: expected a JSON object, got {content.strip()[:60]}")
    return value


def _pieces(path: Path, numbered: Iterator[_Numbered], keys: list[str]) -> Iterator[Cells]:
    while piece := list(islice(numbered, _ROWS_AT_ONCE)):
        for line, content in piece:
            missing = [key for key in keys if key not in content]
            if missing:
                raise SlosimError(
                    f"{path}, line {line}, field {missing[0]}: missing; the line has {', '.join(content)}"
                )
        yield Cells({key: [content[key] for _, content in piece] for key in keys}, [line for line, _ in piece])
