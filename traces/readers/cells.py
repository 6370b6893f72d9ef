"""Columns of a file as numpy: from Arrow, or from Python's cells where an exact error is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from traces.columns import encoded
from traces.readers.times import nanoseconds, zone_of

__all__ = ["BadCell", "Column", "Kind", "NotRead", "of_arrow", "of_cells", "on_one"]

Kind = Literal["number", "time", "label", "id", "objective"]
"""What a column is read as: a time is a number or a date, an objective a number of which some may be missing."""


class BadCell(Exception):
    """A cell that cannot be read: its place among the cells, and what was expected there."""

    def __init__(self, index: int, expected: str) -> None:
        super().__init__(index, expected)
        self.index = index
        self.expected = expected


class NotRead(Exception):
    """Arrow could not read a column as it should be; the slow way finds out where."""


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one column."""

    values: NDArray[Any]
    """Numbers; nanoseconds since 1970 where `dates`; codes where there are labels; texts where it is an id."""
    labels: tuple[str, ...] | None = None
    dates: bool = False
    zone: str = ""
    """Z for dates with a zone, which are in UTC here."""

    def where(self, keep: NDArray[Any] | slice) -> Column:
        """Return the column of some of the rows."""
        return replace(self, values=self.values[keep])


def of_arrow(column: Any, kind: Kind) -> Column:
    """Return an Arrow column as numpy; raise NotRead where a value is missing or of another kind."""
    import pyarrow

    if kind == "objective":
        column = column.cast("float64").fill_null(np.inf)
    if column.null_count:
        raise NotRead
    if kind == "label":
        return _labels(column)
    if kind == "id":
        return Column(np.array([str(name) for name in column.to_pylist()], dtype=object))
    if kind == "time" and pyarrow.types.is_temporal(column.type):
        return _dates(column)
    if not (pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)):
        raise NotRead
    return Column(_numpy(column))


def of_cells(cells: Sequence[Any], kind: Kind, decimal: str = ".") -> Column:
    """Return Python's cells as numpy; raise BadCell at the first that cannot be read."""
    if kind == "id":
        return Column(np.array([str(cell) for cell in cells], dtype=object))
    if kind == "label":
        labels, codes = encoded(np.array(["" if cell is None else str(cell) for cell in cells], dtype=object))
        return Column(codes, labels)
    if kind == "objective":
        cells = ["inf" if cell is None or cell == "" else cell for cell in cells]
    if decimal != ".":
        cells = [cell.replace(decimal, ".") if isinstance(cell, str) else cell for cell in cells]
    if kind == "time" and cells and isinstance(cells[0], str) and not _is_number(cells[0]):
        return Column(nanoseconds(cells, lambda at: BadCell(at, _A_TIME)), dates=True, zone=zone_of(cells[0]))
    return Column(_numbers(cells))


def on_one(columns: Sequence[Column]) -> Column:
    """Return the columns of several files as one."""
    if columns[0].labels is None:
        if len({(column.dates, column.zone) for column in columns}) > 1:
            raise NotRead
        return Column(
            np.concatenate([column.values for column in columns]), dates=columns[0].dates, zone=columns[0].zone
        )
    labels = sorted({label for column in columns for label in column.labels or ()})
    place = {label: at for at, label in enumerate(labels)}
    codes = [np.array([place[label] for label in column.labels or ()] or [0])[column.values] for column in columns]
    return Column(np.concatenate(codes), tuple(labels))


_A_TIME = "a time such as 2023-11-16 18:15:46.6805900 (all with a zone, or all without), or a number"


def _numbers(cells: Sequence[Any]) -> NDArray[Any]:
    try:
        if any(isinstance(cell, bool) for cell in cells):
            raise ValueError("true is not a number")
        if cells and all(type(cell) is int for cell in cells):
            return np.array(cells, dtype=np.int64)
        return np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        wrong = next((index for index, cell in enumerate(cells) if not _is_number(cell)), 0)
        raise BadCell(wrong, "a number") from None


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(cell, bool)


def _numpy(column: Any) -> NDArray[Any]:
    """Return numbers without gaps as numpy; Arrow's own `to_numpy` would import pandas, a second of CPU time."""
    parts = [np.from_dlpack(chunk) for chunk in column.chunks if len(chunk)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)


def _labels(column: Any) -> Column:
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        column = column.cast("string").dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pyarrow.array([], column.type)
    words = [str(word) for word in column.dictionary.to_pylist()]
    labels = sorted(set(words))
    place = {label: at for at, label in enumerate(labels)}
    codes = np.array([place[word] for word in words] or [0], dtype=np.int64)
    return Column(codes[np.from_dlpack(column.indices)], tuple(labels))


def _dates(column: Any) -> Column:
    import pyarrow

    zone = getattr(column.type, "tz", None)
    stamps = column.cast(pyarrow.timestamp("ns", zone)).cast("int64")
    return Column(_numpy(stamps), dates=True, zone="Z" if zone else "")
