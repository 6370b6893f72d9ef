"""Columns as a reader finds them, which remember the line that each row came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.checks import checked_times, checked_tokens
from traces.errors import SlosimError

__all__ = ["BadCell", "Cells", "Parser", "Table", "number", "parsed", "word"]

Parser = Callable[[Sequence[Any]], NDArray[Any]]
"""Turns cells of one column into an array, or raises BadCell at the first that cannot be."""


class BadCell(Exception):
    """A cell that cannot be read: its place among the cells, and what was expected there."""

    def __init__(self, index: int, expected: str) -> None:
        super().__init__(index, expected)
        self.index = index
        self.expected = expected


class Cells(NamedTuple):
    """Some rows of a file, not parsed yet."""

    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a file under the file's own column names."""

    path: Path
    columns: Mapping[str, NDArray[Any]]
    lines: NDArray[np.int64] | None = None
    """The line of each row, from 1; None where there are no lines, and rows are counted from 1 instead."""

    def __contains__(self, field: str) -> bool:
        return field in self.columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def locate(self, index: int) -> str:
        """Say where a row is."""
        where = f"row {index + 1}" if self.lines is None else f"line {self.lines[index]}"
        return f"{self.path}, {where}"

    def tokens(self, field: str) -> NDArray[np.int32]:
        """Return a column of lengths; raise SlosimError at the first that is not a whole number of at least 1."""
        return checked_tokens(self.columns[field], field, self.locate)

    def seconds(self, field: str, unit: float = 1.0) -> NDArray[np.float64]:
        """Return a column of times that are told in units of so many seconds."""
        return checked_times(self.columns[field], field, self.locate) * unit

    def where(self, keep: NDArray[np.bool_]) -> Table:
        """Return some of the rows."""
        lines = None if self.lines is None else self.lines[keep]
        return Table(self.path, {field: column[keep] for field, column in self.columns.items()}, lines)

    def answered(self, *lengths: str, skip_empty: bool = True) -> Table:
        """Return the rows without a length of 0 (a failed request has one), or all; wrong lengths stay, to be told."""
        if not skip_empty:
            return self
        return self.where(np.logical_and.reduce([self.columns[field] != 0 for field in lengths]))


def parsed(path: Path, parsers: Mapping[str, Parser], pieces: Iterable[Cells]) -> Table:
    """Turn cells into columns piece by piece, so that only one piece is held as text; SlosimError at a wrong cell."""
    columns: dict[str, list[NDArray[Any]]] = {field: [parse([])] for field, parse in parsers.items()}
    lines = [np.empty(0, dtype=np.int64)]
    for piece in pieces:
        lines.append(np.array(piece.lines, dtype=np.int64))
        for field, parse in parsers.items():
            columns[field].append(_parsed_piece(path, field, parse, piece))
    return Table(path, {field: np.concatenate(parts) for field, parts in columns.items()}, np.concatenate(lines))


def number(cells: Sequence[Any]) -> NDArray[np.float64]:
    """Read numbers, or words for numbers."""
    try:
        return np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        wrong = next((index for index, cell in enumerate(cells) if not _is_number(cell)), 0)
        raise BadCell(wrong, "a number") from None


def word(cells: Sequence[Any]) -> NDArray[np.object_]:
    """Read words as they are."""
    return np.array([str(cell) for cell in cells], dtype=object)


def _parsed_piece(path: Path, field: str, parse: Parser, piece: Cells) -> NDArray[Any]:
    cells = piece.columns[field]
    try:
        return parse(cells)
    except BadCell as bad:
        where = f"{path}, line {piece.lines[bad.index]}, field {field}"
        raise SlosimError(f"{where}: {repr(cells[bad.index])[:60]} is not {bad.expected}") from None


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
