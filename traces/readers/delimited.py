"""CSV files by column name: by Arrow, and once more by Python's own reader where something is wrong."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from traces.errors import SlosimError
from traces.readers.cells import BadCell, Column, Kind, NotRead, of_arrow, of_cells
from traces.readers.files import opened_text
from traces.readers.rows import Place, content, listed, shown_cell

__all__ = ["CsvRows", "Dialect", "dialect", "header"]

_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_FULL_STOP = re.compile(r"-?\d+\.\d+")


class Dialect(NamedTuple):
    """How a file is written."""

    names: tuple[str, ...]
    separator: str = ","
    decimal: str = "."
    lines: int = 1
    """Lines up to and including the header."""


def header(path: Path) -> list[str]:
    """Return the column names of a CSV file; raise SlosimError when it is empty."""
    return list(dialect(path).names)


def dialect(path: Path) -> Dialect:
    """Find out separator, decimal sign and names; lines that begin with # may stand before the header."""
    with opened_text(path) as text:
        sample = text.read(_SAMPLE)
        if not sample.endswith(("\n", "\r")):
            sample += text.readline(_SAMPLE)
    lines = list(io.StringIO(sample, newline=""))
    before = next((at for at, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if before is None:
        raise SlosimError(f"{path}: the file is empty; expected a line with column names")
    given = re.fullmatch(r"sep=(.)\s*", lines[before])
    before += bool(given)
    separator = given[1] if given else _separator(lines[before])
    reader = csv.reader(iter(lines[before:]), delimiter=separator, strict=True)
    names = _names(path, reader, before + 1)
    ends = before + reader.line_num
    return Dialect(names, separator, _decimal(reader, separator), ends)


class CsvRows:
    """The rows of a CSV file."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        self.path = path
        self.dialect = dialect(path)
        self.names: Sequence[str] = self.dialect.names
        self._limit = limit
        self.whole = limit is None

    def read(self, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Return these columns; blank lines do not count."""
        data, self.whole = content(self.path, None if self._limit is None else self._limit + self.dialect.lines)
        try:
            return self._by_arrow(data, wanted)
        except (NotRead, ImportError):
            return self._by_python(data, wanted)

    def place(self, row: int, name: str) -> Place:
        """Find a cell again."""
        at = list(self.names).index(name)
        with opened_text(self.path) as text:
            line, cells = next(islice(self._numbered(text), row, None))
        return Place(f"{self.path}, line {line}", cells[at])

    def _by_arrow(self, data: bytes, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        import pyarrow
        from pyarrow import csv as arrow_csv

        quotes = data.count(b'"')
        if quotes % 2:
            raise NotRead
        types = {"label": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()), "id": pyarrow.string()}
        try:
            table = arrow_csv.read_csv(
                pyarrow.BufferReader(pyarrow.py_buffer(data)),
                arrow_csv.ReadOptions(column_names=self._unique_names(), skip_rows=self.dialect.lines),
                arrow_csv.ParseOptions(delimiter=self.dialect.separator, newlines_in_values=quotes > 0),
                arrow_csv.ConvertOptions(
                    include_columns=list(wanted),
                    column_types={name: types[kind] for name, kind in wanted.items() if kind in types},
                    null_values=[""],
                    decimal_point=self.dialect.decimal,
                ),
            )
            return {name: of_arrow(table.column(name), kind) for name, kind in wanted.items()}
        except pyarrow.ArrowException as error:
            raise NotRead from error

    def _by_python(self, data: bytes, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        if self.whole:
            with opened_text(self.path) as text:
                return self._parsed(text, wanted)
        with io.StringIO(data.decode("utf-8-sig", "replace"), newline="") as text:
            return self._parsed(text, wanted)

    def _parsed(self, text: Any, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        lines, cells = [], []
        places = [list(self.names).index(name) for name in wanted]
        for line, row in self._numbered(text):
            lines.append(line)
            cells.append([row[place] for place in places])
        columns = list(zip(*cells, strict=True)) or [()] * len(wanted)
        return {
            name: self._column(name, kind, column, lines)
            for (name, kind), column in zip(wanted.items(), columns, strict=True)
        }

    def _column(self, name: str, kind: Kind, cells: Sequence[str], lines: Sequence[int]) -> Column:
        try:
            return of_cells(cells, kind, self.dialect.decimal)
        except BadCell as bad:
            where = f"{self.path}, line {lines[bad.index]}, field {name}"
            raise SlosimError(f"{where}: {shown_cell(cells[bad.index])} is not {bad.expected}") from None

    def _numbered(self, text: Any) -> Iterator[tuple[int, list[str]]]:
        """Give each row that is not blank with the line on which it ends; SlosimError at one of another width."""
        for _ in range(self.dialect.lines):
            text.readline()
        rows = csv.reader(text, delimiter=self.dialect.separator, strict=True)  # strict: an open quote ends in an error
        begins, width = self.dialect.lines + 1, len(self.names)
        try:
            for row in rows:
                line = self.dialect.lines + rows.line_num
                if row and len(row) != width:
                    told = f"{len(row)} fields, expected {width} as in the first line: {self._joined(row)}"
                    raise SlosimError(f"{self.path}, line {line}: {told}")
                begins = line + 1
                if row:
                    yield line, row
        except csv.Error as error:
            raise SlosimError(f"{self.path}, line {begins}: not CSV ({error})") from error

    def _joined(self, row: Sequence[str]) -> str:
        return repr(self.dialect.separator.join(row)[:200])

    def _unique_names(self) -> list[str]:
        return [name or f"\0{place}" for place, name in enumerate(self.names)]


def _separator(line: str) -> str:
    return max(_SEPARATORS, key=re.sub(r'"[^"]*"', "", line).count)


def _names(path: Path, rows: Any, line: int) -> tuple[str, ...]:
    try:
        names = tuple(name.strip() for name in next(rows))
    except (csv.Error, StopIteration) as error:
        raise SlosimError(f"{path}, line {line}: not CSV ({error})") from error
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise SlosimError(
            f"{path}, line {line}: two columns are called {listed(twice[:1])}; rename or remove one of them"
        )
    return names


def _decimal(rows: Any, separator: str) -> str:
    """Say whether numbers have a comma: some cell of the sample does, and none has a full stop."""
    if separator == ",":
        return "."
    try:
        cells = [cell for row in islice(rows, 100) for cell in row]
    except csv.Error:
        return "."
    comma = any(_DECIMAL_COMMA.fullmatch(cell.strip()) for cell in cells)
    return "," if comma and not any(_FULL_STOP.fullmatch(cell.strip()) for cell in cells) else "."
