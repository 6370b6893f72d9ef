"""Parquet files by column name, and the digest that a saved trace carries in its footer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from traces.errors import SlosimError
from traces.readers.cells import BadCell, Column, Kind, NotRead, of_arrow, of_cells
from traces.readers.files import parquet_source
from traces.readers.rows import Place, listed, shown_cell
from traces.storage import FOOTER_KEY, arrow

__all__ = ["ParquetRows", "parquet_columns", "parquet_names", "parquet_records"]

_ROWS_AT_ONCE = 4096
_OF_DAMAGE = (IndexError, ValueError, KeyError, OverflowError, MemoryError, NotImplementedError)
"""What libraries raise on contents that no writer makes."""
_EXPECTED = {"number": "a number", "time": "a number or a time", "objective": "a number"}


class ParquetRows:
    """The rows of a Parquet file."""

    whole = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: Sequence[str] = parquet_names(path)
        twice = next((name for name in self.names if list(self.names).count(name) > 1), None)
        if twice is not None:
            raise SlosimError(f"{path}: two columns are called {listed([twice])}; rename or remove one of them")

    @property
    def about(self) -> Mapping[str, Any]:
        """The facts in the footer of a trace that this project saved; empty for others."""
        with _opened(self.path) as file:
            told = (file.schema_arrow.metadata or {}).get(FOOTER_KEY, b"{}")
        try:
            about = json.loads(told)
        except ValueError as error:
            raise SlosimError(f"{self.path}: the footer is damaged ({error}); save the trace again") from error
        return about if isinstance(about, dict) else {}

    def read(self, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Return these columns."""
        columns, _ = parquet_columns(self.path, list(wanted))
        try:
            return {name: self._column(name, kind, columns[name]) for name, kind in wanted.items()}
        except SlosimError:
            raise
        except _OF_DAMAGE as error:
            raise SlosimError(f"{self.path}: the file is damaged ({str(error).splitlines()[0]})") from error

    def place(self, row: int, name: str) -> Place:
        """Find a value again."""
        columns, _ = parquet_columns(self.path, [name])
        return Place(f"{self.path}, row {row + 1}", columns[name][row].as_py())

    def _column(self, name: str, kind: Kind, column: Any) -> Column:
        try:
            return of_arrow(column, kind)
        except (NotRead, arrow().ArrowException) as error:
            if column.null_count and kind != "objective":
                missing = column.is_null().to_numpy().argmax() + 1
                raise SlosimError(f"{self.path}, row {missing}, field {name}: a value is missing") from None
            if arrow().types.is_string(column.type) or arrow().types.is_large_string(column.type):
                return self._texts(name, kind, column)
            why = (
                str(error).splitlines()[0] if str(error) else f"{column.type}, expected {_EXPECTED.get(kind, 'a text')}"
            )
            raise SlosimError(f"{self.path}, field {name}: cannot be read ({why})") from error

    def _texts(self, name: str, kind: Kind, column: Any) -> Column:
        cells = column.to_pylist()
        try:
            return of_cells(cells, kind)
        except BadCell as bad:
            where = f"{self.path}, row {bad.index + 1}, field {name}"
            raise SlosimError(f"{where}: {shown_cell(cells[bad.index])} is not {bad.expected}") from None


def parquet_columns(
    path: Path, required: Sequence[str], optional: Iterable[str] = ()
) -> tuple[dict[str, Any], Mapping[bytes, bytes]]:
    """Return Arrow columns by name and the footer's metadata; SlosimError when a required one is missing."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        missing = [name for name in required if name not in names]
        if missing:
            raise SlosimError(f"{path}: no column {listed(missing)} among {listed(names)}")
        table = file.read([name for name in names if name in {*required, *optional}])
        return {name: table.column(name) for name in table.column_names}, file.schema_arrow.metadata or {}


def parquet_records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Give the rows of these columns as Python values, a few thousand at a time."""
    with _opened(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns)):
                yield from batch.to_pylist()
        except (UnicodeDecodeError, OverflowError) as error:
            raise SlosimError(f"{path}: cannot read as Parquet: a value is damaged ({error})") from error


def parquet_names(path: Path) -> list[str]:
    """Return the column names of a Parquet file."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pyarrow = arrow()
    try:
        with pyarrow.parquet.ParquetFile(parquet_source(path), page_checksum_verification=True) as file:
            yield file
    except SlosimError:
        raise
    except (OSError, pyarrow.ArrowException, *_OF_DAMAGE) as error:
        raise SlosimError(f"{path}: cannot read as Parquet: {(str(error) or 'damaged').splitlines()[0]}") from error
