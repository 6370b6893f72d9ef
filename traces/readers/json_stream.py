"""Large JSON files, object by object, and the whole part of a file that is cut off."""

import json
import re
import reprlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from traces.errors import SlosimError, TraceWarning
from traces.readers.files import opened_text

__all__ = ["Record", "not_an_object", "records", "shown", "values"]

_CHARACTERS_AT_ONCE = 1 << 20
_BETWEEN = re.compile(r"[\s,\[\]]*")
_LONGEST_SHOWN = 60
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring = 3, _LONGEST_SHOWN
_CUT_MARGIN = 12
"""A parser stops at most this far before the end of a text that was cut inside a literal or an escape."""


class Record(NamedTuple):
    """One object of a file."""

    number: int
    """From 1."""
    line: int
    """Where it begins, from 1."""
    content: Any
    """An object, unless `values` gave it."""


def records(path: Path, what: str) -> Iterator[Record]:
    """Give the objects of a JSON array, or of JSON written one object after the other, without holding the file.

    A file that ends in the middle gives what is whole, then warns (TraceWarning) how many that were; `what` is what the
    objects are called there. Raises SlosimError where the file is not JSON, naming record and line.
    """
    cut: list[str] = []
    for record in values(path, what, cut):
        if not isinstance(record.content, dict):
            raise SlosimError(not_an_object(path, record))
        yield record
    for told in cut:
        warnings.warn(f"{path}: {told}", TraceWarning, stacklevel=2)


def values(path: Path, what: str, cut: list[str]) -> Iterator[Record]:
    """Give what `records` gives, and values that are no objects, too; note in `cut` where the file ends too early.

    Bytes that are not UTF-8 are kept as lone surrogates, which no text has.
    """
    with opened_text(path, errors="surrogateescape") as text:
        window, number = _Window(text, path), 0
        while not window.at_end():
            content = window.next_value()
            if window.cut:
                break
            number += 1
            yield Record(number, window.line_of_value, content)
        if window.cut:
            cut.append(f"the file is cut off in {what} {number + 1:,}; read the {number:,} before it")


def not_an_object(path: Path, record: Record) -> str:
    """Return in words that a value is no object."""
    return f"{path}, record {record.number}, line {record.line}: expected a JSON object, got {shown(record.content)}"


def shown(value: Any) -> str:
    """Return a value of JSON in one short line that can be printed."""
    text = _BRIEF.repr(value) if isinstance(value, dict | list | tuple) else str(value)
    text = " ".join(text[:_LONGEST_SHOWN].split())
    return text.encode("utf-8", "backslashreplace").decode()


class _Window:
    """The part of a file that is being parsed; grows only while a value does not fit."""

    def __init__(self, stream: TextIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._text = ""
        self._position = 0
        self._line = 1
        self._depth = 0
        """Arrays that are open here: elements of arrays in arrays are read as if there were one."""
        self._decoder = json.JSONDecoder(strict=False)
        self.line_of_value = 1
        self.cut = False

    def at_end(self) -> bool:
        """Move to the next value; return whether there is none. The end of an array without its bracket is a cut."""
        while True:
            self._skip_between()
            if self._position < len(self._text):
                return False
            if not self._grow():
                self.cut = self._depth > 0
                return True

    def next_value(self) -> Any:
        """Return the value that begins here; sets `cut` when the file ends inside it."""
        self.line_of_value = self._line
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._could_be_cut(error):
                    raise self._not_json(error.msg, error.pos) from error
                if not self._grow():
                    self.cut = True
                    return None
            except RecursionError as error:
                raise self._not_json("objects or arrays are nested too deeply", self._position) from error
            except ValueError as error:
                raise self._not_json("a number has thousands of digits", self._position) from error
            else:
                length = end - self._position
                if end < len(self._text) or isinstance(value, dict | list | str) or not self._grow():
                    self._advance(self._position + length)
                    return value

    def _skip_between(self) -> None:
        match = _BETWEEN.match(self._text, self._position)
        if not match or not match.group():
            return
        between = match.group()
        self._depth += between.count("[") - between.count("]")
        if self._depth < 0:
            raise self._not_json("a ] closes nothing", match.start() + between.index("]"))
        self._advance(match.end())

    def _could_be_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text.rstrip()) - _CUT_MARGIN

    def _not_json(self, why: str, position: int) -> SlosimError:
        return SlosimError(f"{self._path}, line {self._line_at(position)}: not JSON ({why})")

    def _line_at(self, position: int) -> int:
        return self._line + self._text.count("\n", self._position, position)

    def _advance(self, position: int) -> None:
        self._line, self._position = self._line_at(position), position

    def _grow(self) -> bool:
        """Drop what was read and read on, at least doubling what is left; return whether there was more."""
        left = self._text[self._position :]
        try:
            more = self._stream.read(max(_CHARACTERS_AT_ONCE, len(left)))
        except EOFError:
            more = ""
        self._text, self._position = left + more, 0
        return bool(more)
