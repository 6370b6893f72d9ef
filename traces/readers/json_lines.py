"""JSON rows by key: one object per line, or an array of objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from traces.errors import SlosimError, asked_by
from traces.readers.cells import BadCell, Column, Kind, NotRead, of_arrow, of_cells
from traces.readers.files import opened_text
from traces.readers.rows import Place, content, first_character, listed, shown_cell

__all__ = ["JsonRows", "objects"]

_SAMPLE_ROWS = 1000
_MISSING = object()
_Numbered = tuple[int, dict[str, Any]]


def objects(path: Path) -> Iterator[_Numbered]:
    """Give each object with its line, from 1; blank lines do not count. Raises SlosimError at a line that is none."""
    with opened_text(path) as text:
        yield from _lines(path, text)


class JsonRows:
    """The rows of a file of JSON objects; the keys of its first thousand are its columns."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        self.skipped = 0
        """Rows that were left out for want of the key that `demand` named."""
        self._demanded: str | None = None
        self._array = first_character(path) == "["
        self._limit = None if self._array else limit
        self.whole = self._limit is None
        sample = [fields for _, fields in islice(self._objects(), _SAMPLE_ROWS)]
        if not sample:
            raise SlosimError(f"{path}: the file is empty; expected one JSON object per line")
        self.names: Sequence[str] = list(dict.fromkeys(key for fields in sample for key in fields))
        self._sample = sample

    def demand(self, name: str) -> None:
        """Skip the rows without this key from now on, and count them."""
        self._demanded = name

    def read(self, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Return the values of these keys."""
        self.skipped = 0
        data, self.whole = (b"", True) if self._array else content(self.path, self._limit)
        try:
            if self._array or self._demanded:
                raise NotRead
            return self._by_arrow(data, wanted)
        except (NotRead, ImportError):
            return self._by_python(data, wanted)

    def place(self, row: int, name: str) -> Place:
        """Find a value again."""
        line, fields = next(islice(self._objects(), row, None))
        return Place(f"{self.path}, {self._unit} {line}", fields.get(name))

    @property
    def _unit(self) -> str:
        return "row" if self._array else "line"

    def _objects(self) -> Iterator[_Numbered]:
        for line, fields in _elements(self.path) if self._array else objects(self.path):
            if self._demanded is None or self._demanded in fields:
                yield line, fields
            else:
                self.skipped += 1

    def _by_arrow(self, data: bytes, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Read whole numbers as such where the first rows have them, else (or if others follow) as floating-point."""
        import pyarrow

        types = {name: self._type(name, kind) for name, kind in wanted.items()}
        looser = {name: pyarrow.float64() if kind == pyarrow.int64() else kind for name, kind in types.items()}
        for each in (types, looser):
            try:
                table = _by_types(data, each)
                return {name: of_arrow(table.column(name), kind) for name, kind in wanted.items()}
            except (pyarrow.ArrowException, KeyError):
                continue
        raise NotRead

    def _type(self, name: str, kind: Kind) -> Any:
        import pyarrow

        values = [fields.get(name) for fields in self._sample]
        if kind in ("label", "id") or any(isinstance(value, str) for value in values):
            return pyarrow.string()
        return pyarrow.int64() if all(type(value) is int for value in values) else pyarrow.float64()

    def _by_python(self, data: bytes, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        if self.whole:
            return self._parsed(self._objects(), wanted)
        return self._parsed(_lines(self.path, io.StringIO(data.decode("utf-8-sig", "replace"))), wanted)

    def _parsed(self, numbered: Iterator[_Numbered], wanted: Mapping[str, Kind]) -> dict[str, Column]:
        lines: list[int] = []
        cells: dict[str, list[Any]] = {name: [] for name in wanted}
        for line, fields in numbered:
            lines.append(line)
            for name, kind in wanted.items():
                value = fields.get(name, _MISSING)
                if value is _MISSING and kind in ("number", "time"):
                    raise SlosimError(self._missing(line, name, fields))
                cells[name].append(None if value is _MISSING else value)
        return {name: self._column(name, kind, cells[name], lines) for name, kind in wanted.items()}

    def _missing(self, line: int, name: str, fields: Mapping[str, Any]) -> str:
        where = f"{self.path}, {self._unit} {line}"
        if name == "timestamp" and "delay" in fields:
            told = f"a later turn of a session, {fields['delay']} after the answer before it; such closed loops"
            leave = f"give it a timestamp, or leave such rows out with {asked_by(skip_turns=True)}"
            return f"{where}: {told} are not modelled: {leave}"
        return f"{where}, field {name}: missing; the {self._unit} has {listed(fields)}"

    def _column(self, name: str, kind: Kind, cells: Sequence[Any], lines: Sequence[int]) -> Column:
        try:
            return of_cells(cells, kind)
        except BadCell as bad:
            where = f"{self.path}, {self._unit} {lines[bad.index]}, field {name}"
            raise SlosimError(f"{where}: {shown_cell(cells[bad.index])} is not {bad.expected}") from None


def _by_types(data: bytes, types: Mapping[str, Any]) -> Any:
    import pyarrow
    from pyarrow import json as arrow_json

    schema = pyarrow.schema(list(types.items()))
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return arrow_json.read_json(pyarrow.BufferReader(pyarrow.py_buffer(data)), parse_options=options)


def _lines(path: Path, text: Any) -> Iterator[_Numbered]:
    for line, words in enumerate(text, start=1):
        if words.strip():
            yield line, _object(path, line, words)


def _elements(path: Path) -> Iterator[_Numbered]:
    with opened_text(path) as text:
        whole = text.read()
    try:
        rows = json.loads(whole)
    except (ValueError, RecursionError) as error:
        raise SlosimError(f"{path}: not a JSON array ({error}); is the file cut off?") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise SlosimError(f"{path}, row {number}: expected a JSON object, got {str(row)[:60]}")
        yield number, row


def _object(path: Path, line: int, words: str) -> dict[str, Any]:
    try:
        value = json.loads(words)
    except (ValueError, RecursionError) as error:
        raise SlosimError(f"{path}, line {line}: not JSON ({error}); is the file cut off?") from error
    if not isinstance(value, dict):
        raise SlosimError(f"{path}, line {line}: expected a JSON object, got {words.strip()[:60]}")
    return value
