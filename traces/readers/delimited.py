"""CSV files by column name, a hundred thousand rows at a time."""

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from traces.errors import SlosimError
from traces.readers.files import opened_text
from traces.readers.table import Cells, Parser, Table, parsed

__all__ = ["header", "read_csv"]

_ROWS_AT_ONCE = 100_000


def header(path: Path) -> list[str]:
    """Return the column names of a CSV file; raise SlosimError when it is empty."""
    with opened_text(path) as text:
        return _names(path, csv.reader(text))


def read_csv(path: Path, required: Mapping[str, Parser], optional: Mapping[str, Parser] | None = None) -> Table:
    """Read the required columns, and the optional ones that are there; blank lines do not count.

    Raises SlosimError naming the missing columns, or the line, field and value that cannot be read.
    """
    with opened_text(path) as text:
        rows = csv.reader(text, strict=True)  # else a quote that nobody closes would swallow the rows behind it
        names = _names(path, rows)
        missing = [name for name in required if name not in names]
        if missing:
            raise SlosimError(f"{path}, line 1: no column {', '.join(missing)} among {', '.join(names)}")
        parsers = {**required, **{name: parse for name, parse in (optional or {}).items() if name in names}}
        return parsed(path, parsers, _pieces(path, rows, len(names), {name: names.index(name) for name in parsers}))


def _names(path: Path, rows: Any) -> list[str]:
    try:
        return [name.strip() for name in next(rows)]
    except StopIteration:
        raise SlosimError(f"{path}: the file is empty; expected a line with column names") from None
    except csv.Error as error:
        raise SlosimError(f"{path}, line 1: not CSV ({error})") from error


def _pieces(path: Path, rows: Any, width: int, positions: Mapping[str, int]) -> Iterator[Cells]:
    numbered = ((rows.line_num, row) for row in _whole_rows(path, rows) if row)
    while piece := list(islice(numbered, _ROWS_AT_ONCE)):
        lines, cells = zip(*piece, strict=True)
        wrong = next((index for index, row in enumerate(cells) if len(row) != width), None)
        if wrong is not None:
            told = f"{len(cells[wrong])} fields, expected {width} as in the first line: {','.join(cells[wrong])!r}"
            raise SlosimError(f"{path}, line {lines[wrong]}: {told}")
        yield Cells({name: [row[place] for row in cells] for name, place in positions.items()}, lines)


def _whole_rows(path: Path, rows: Any) -> Iterator[list[str]]:
    begins = rows.line_num + 1
    try:
        for row in rows:
            begins = rows.line_num + 1
            yield row
    except csv.Error as error:
        raise SlosimError(f"{path}, line {begins}: not CSV ({error})") from error
