"""Large JSON files, object by object, and the part of a cut-off one that is whole."""

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from traces.errors import SlosimError, TraceWarning
from traces.readers.files import opened_text

__all__ = ["Record", "records"]

_CHARACTERS_AT_ONCE = 1 << 20
_BETWEEN = re.compile(r"[\s,\[]*")
_CUT_MARGIN = 12
"""A parser stops at most this far before the end of a text that was cut inside a literal or an escape."""


class Record(NamedTuple):
    """One object of a file."""

    number: int
    """From 1."""
    line: int
    """Where it begins, from 1."""
    content: dict[str, Any]


def records(path: Path, what: str) -> Iterator[Record]:
    """Give the objects of a JSON array, or of JSON written one object after the other, without holding the file.

    A file that ends in the middle gives what is whole, then warns (TraceWarning) how many that were; `what` is what the
    objects are called there. Raises SlosimError where the file is not JSON, naming record and line.
    """
    with opened_text(path, errors="replace") as text:
        window, number = _Window(text), 0
        while not window.at_end():
            content = window.next_value(path, number + 1)
            if content is None:
                break
            number += 1
            yield Record(number, window.line_of_value, content)
        if window.cut:
            told = f"{path}: the file is cut off in {what} {number + 1:,}; read the {number:,} before it"
            warnings.warn(told, TraceWarning, stacklevel=2)


class _Window:
    """The part of a file that is being parsed; grows only while an object does not fit."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text = ""
        self._position = 0
        self._line = 1
        self._is_array = False
        self._decoder = json.JSONDecoder(strict=False)
        self.line_of_value = 1
        self.cut = False

    def at_end(self) -> bool:
        """Move to the next object; say whether there is none. The end of an array without its bracket is a cut."""
        while True:
            self._skip_between()
            if self._position < len(self._text):
                return self._text[self._position] == "]"
            if not self._grow():
                self.cut = self._is_array
                return True

    def next_value(self, path: Path, number: int) -> dict[str, Any] | None:
        """Return the object that begins here, or None when the file ends inside it."""
        self.line_of_value = self._line
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._could_be_cut(error):
                    raise SlosimError(f"{path}, line {self._line_at(error.pos)}: not JSON ({error.msg})") from error
                if not self._grow():
                    self.cut = True
                    return None
            else:
                self._advance(end)
                return _checked(value, f"{path}, record {number}, line {self.line_of_value}")

    def _skip_between(self) -> None:
        match = _BETWEEN.match(self._text, self._position)
        if match and match.group():
            self._advance(match.end())
            self._is_array = self._is_array or "[" in match.group()

    def _could_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text.rstrip()) - _CUT_MARGIN

    def _line_at(self, position: int) -> int:
        return self._line + self._text.count("\n", self._position, position)

    def _advance(self, position: int) -> None:
        self._line, self._position = self._line_at(position), position

    def _grow(self) -> bool:
        """Drop what was read and read on, at least doubling what is left; say whether there was more."""
        left = self._text[self._position :]
        try:
            more = self._stream.read(max(_CHARACTERS_AT_ONCE, len(left)))
        except EOFError:
            more = ""
        self._text, self._position = left + more, 0
        return bool(more)


def _checked(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SlosimError(f"{where}: expected a JSON object, got {str(value)[:60]}")
    return value
