"""From rows of a file to a trace: which column is which, which rows count, when each came, what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.checks import LENGTH, MOST_TOKENS
from traces.distributions import Distribution
from traces.errors import SlosimError, asked_by
from traces.pairs import drawn
from traces.readers.cells import Column, Kind
from traces.readers.delimited import CsvRows
from traces.readers.files import is_parquet
from traces.readers.headers import (
    FIELDS,
    NOTHING,
    checked_columns,
    column_of,
    looks_like_time,
    mapping_hint,
    plain,
    timed_hint,
    unlike,
)
from traces.readers.json_lines import JsonRows
from traces.readers.parquet import ParquetRows
from traces.readers.rows import Rows, Shards, first_character, shards, shown_cell
from traces.readers.times import DATES, UNITS, Clock, TooFew, clock, shown, since_first
from traces.reading import Reading, counted
from traces.storage import OBJECTIVES
from traces.trace import Trace

__all__ = ["Asked", "Layout", "opened_rows", "trace_of"]

_KINDS: dict[str, Kind] = {
    "arrived_at": "time",
    "prompt_tokens": "number",
    "output_tokens": "number",
    "application": "label",
    "id": "id",
    **dict.fromkeys(OBJECTIVES.values(), "objective"),
}
_LENGTHS = ("prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Layout:
    """What a format says about its files."""

    required: Mapping[str, str]
    """Fields of a trace, and the columns that hold them."""
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further fields, and the columns that may hold them, the first that is there."""
    unit: str | None = "s"
    """The unit of arrivals by the format's definition; None: to be found out."""
    sort: bool = True
    """Whether rows may stand in any order."""
    redundant: tuple[str, ...] = ()
    """Columns that repeat others; they are ignored without a note."""
    failed: str = "no tokens (a length of 0)"
    """Why a row with a length of 0 is left out."""
    chosen: tuple[str, str] | None = None
    """A field and its value that rows must have."""


class Asked(NamedTuple):
    """What a user asked of a reader."""

    skip_empty: bool = False
    columns: str | Mapping[str, str] | None = None
    time_unit: str | None = None
    keep_start: bool = False
    requests: int | None = None
    sort: bool = False
    outputs: int | Distribution | None = None
    seed: int = 0


def opened_rows(path: Path, requests: int | None = None) -> Rows:
    """Return the rows of a file, or of all files of a folder; with `requests`, about so many where that is faster."""
    if path.is_dir():
        parts, _ = shards(path)
        if not parts:
            raise SlosimError(f"{path}: the folder has no CSV, JSON Lines or Parquet file")
        return Shards(path, [opened_rows(part) for part in parts])
    if is_parquet(path):
        return ParquetRows(path)
    first = first_character(path)
    if not first:
        raise SlosimError(f"{path}: the file is empty; expected rows with named columns")
    return (JsonRows if first in ("{", "[") else CsvRows)(path, requests)


def trace_of(rows: Rows, layout: Layout, asked: Asked) -> Trace:
    """Read a trace; raises SlosimError naming line, field and value of what is wrong."""
    if asked.time_unit is not None and asked.time_unit not in UNITS:
        raise SlosimError(f"{asked_by(time_unit=asked.time_unit)}: there is no such unit; known are {', '.join(UNITS)}")
    try:
        trace = _Table.read(rows, layout, asked).trace()
        if rows.whole or (len(trace) >= (asked.requests or 0) and _in_order(trace)):
            return trace
    except TooFew:
        pass
    return _Table.read(opened_rows(rows.path), layout, asked).trace()


def _in_order(trace: Trace) -> bool:
    return trace.reading is None or not any("order" in fact for fact in trace.reading.facts)


class _Table:
    """Rows under the names of a trace's fields, some of them left out."""

    def __init__(
        self, rows: Rows, layout: Layout, asked: Asked, names: dict[str, str], columns: dict[str, Column]
    ) -> None:
        self.rows = rows
        self.layout = layout
        self.asked = asked
        self.names = names
        self.columns = columns
        self.all = len(next(iter(columns.values())).values)
        self.which: NDArray[np.int64] | None = None
        """The rows that are kept; None: all."""
        self.left_out: dict[str, int] = {}

    @classmethod
    def read(cls, rows: Rows, layout: Layout, asked: Asked) -> _Table:
        """Read the columns that are needed."""
        names = _named(rows, layout, asked)
        read = rows.read({names[field]: _KINDS[field] for field in names})
        return cls(rows, layout, asked, names, {field: read[names[field]] for field in names})

    def trace(self) -> Trace:
        """Return the requests."""
        if not self.all:
            raise SlosimError(f"{self.rows.path}: the file has no request")
        self._keep()
        lengths = [self._tokens(field) for field in _LENGTHS if field in self.columns]
        prompts = lengths[0]
        outputs = lengths[1] if self.asked.outputs is None else drawn(self.asked.outputs, len(prompts), self.asked.seed)
        seconds, reading = self._arrivals(float(prompts.sum(dtype=np.int64)) + float(np.sum(outputs, dtype=np.int64)))
        labels = self.columns.get("application")
        ids = self.columns.get("id")
        order = None if seconds is None else self._order(seconds)
        return Trace.from_columns(
            seconds,
            prompts,
            outputs,
            ttft=self._objective("slo_ttft"),
            tbt=self._objective("slo_tbt"),
            jct=self._objective("slo_jct"),
            application_codes=None if labels is None else labels.values,
            applications=() if labels is None else labels.labels or (),
            ids=None if ids is None else ids.values.tolist(),
            reading=replace(reading, facts=(*reading.facts, *([order] if order else []))),
            sort=True,
        )

    def _keep(self) -> None:
        """Leave out the rows of other models, and those without tokens."""
        if self.layout.chosen is not None:
            field, value = self.layout.chosen
            column = self.columns[field]
            code = (column.labels or ()).index(value) if value in (column.labels or ()) else -1
            self._leave_out(column.values == code, f"of another {self.names[field].lower()} than {value}")
            self._look_further()
            if not self._count():
                raise SlosimError(f"{self.rows.path}: the file has no request of model {value!r}")
        if not self.asked.skip_empty:
            return
        given = [self.columns[field].values != 0 for field in _LENGTHS if field in self.columns]
        before = self._count()
        self._leave_out(np.logical_and.reduce(given), self.layout.failed)
        self._look_further()
        if not self._count():
            raise SlosimError(f"{self.rows.path}: all {before:,} requests {_as_verb(self.layout.failed)}")

    def _look_further(self) -> None:
        if not self._count() and not self.rows.whole:
            raise TooFew

    def _count(self) -> int:
        return len(next(iter(self.columns.values())).values)

    def _leave_out(self, keep: NDArray[np.bool_], why: str) -> None:
        if keep.all():
            return
        self.left_out[why] = int(len(keep) - keep.sum())
        self.which = (np.arange(len(keep)) if self.which is None else self.which)[keep]
        self.columns = {field: column.where(keep) for field, column in self.columns.items()}

    def _tokens(self, field: str) -> NDArray[np.int32]:
        numbers = self.columns[field].values
        good = (numbers >= 1) & (numbers <= MOST_TOKENS)
        if numbers.dtype.kind == "f":
            good &= numbers == np.floor(numbers)
        hint = f"; {asked_by(skip_empty=True)} leaves out requests without tokens"
        self._demand(good, field, LENGTH, hint if (numbers[~good][:1] == 0).any() else "")
        return numbers.astype(np.int32)

    def _objective(self, column: str) -> NDArray[np.float64] | None:
        if column not in self.columns:
            return None
        values = self.columns[column].values
        self._demand(values > 0, column, "seconds above 0, or inf for no objective")
        return values.astype(np.float64)

    def _arrivals(self, tokens: float) -> tuple[NDArray[np.float64] | None, Reading]:
        facts = () if self.rows.whole else (f"only the first {self.all:,} rows were read",)
        reading = Reading(
            facts=facts,
            rows=self.all,
            left_out=self.left_out,
            ignored=self._ignored(),
            start_kept=self.asked.keep_start,
        )
        if "arrived_at" not in self.columns:
            return None, reading
        column = self.columns["arrived_at"]
        if not column.dates:
            good = np.isfinite(column.values) & (column.values >= 0)
            self._demand(good, "arrived_at", "a time since the start, 0 or more")
        told = self._clock(column, tokens)
        if told.unit == DATES and self.asked.keep_start:
            raise SlosimError(
                f"{self.rows.path}: has dates, not times since a start: leave out {asked_by(keep_start=True)}"
            )
        first = shown(column.values.min(), told.unit, column.zone)
        reading = replace(reading, time_unit=told.unit, time_evidence=told.evidence, first_arrival=first)
        return since_first(column.values, told.unit, self.asked.keep_start), reading

    def _clock(self, column: Column, tokens: float) -> Clock:
        name = self.names["arrived_at"]
        if column.dates:
            if self.asked.time_unit is not None:
                told = f"{name} holds dates, which have no unit: leave out {asked_by(time_unit=self.asked.time_unit)}"
                raise SlosimError(f"{self.rows.path}: {told}")
            return Clock(DATES, name)
        if self.asked.time_unit is not None:
            return Clock(self.asked.time_unit, "as asked")
        defined = (
            self.layout.unit
            if name == self.layout.required.get("arrived_at", "arrived_at") or self._is_own(name)
            else None
        )
        return clock(column.values, tokens, defined, name, str(self.rows.path), self.rows.whole)

    def _is_own(self, name: str) -> bool:
        known = (self.layout.required.get("arrived_at"), *self.layout.optional.get("arrived_at", ()))
        return any(column is not None and plain(column) == plain(name) for column in known)

    def _order(self, seconds: NDArray[np.float64]) -> str | None:
        """Refuse rows out of order where the format wants them ordered; else say that they were sorted."""
        earlier = seconds[1:] < seconds[:-1]
        if not earlier.any():
            return None
        at = int(np.argmax(earlier)) + 1
        if self.layout.sort or self.asked.sort or isinstance(self.rows, Shards):
            return f"{counted(int(earlier.sum()), 'row')} out of order, sorted by arrival"
        before, here = (self.rows.place(self._row(index), self.names["arrived_at"]) for index in (at - 1, at))
        told = f"{here.where}, field {self.names['arrived_at']}: {here.value} comes before the previous {before.value}"
        raise SlosimError(f"{told}; order the requests by arrival, or ask for {asked_by(sort=True)}")

    def _ignored(self) -> tuple[str, ...]:
        used = {*self.names.values(), *self.layout.redundant}
        return tuple(name for name in self.rows.names if name and name not in used)

    def _row(self, index: int) -> int:
        return index if self.which is None else int(self.which[index])

    def _demand(self, good: NDArray[np.bool_], field: str, expected: str, hint: str = "") -> None:
        if good.all():
            return
        place = self.rows.place(self._row(int(np.argmin(good))), self.names[field])
        told = place.value.strip() if isinstance(place.value, str) else ""
        value = told if told and told.isprintable() and len(told) <= 60 else shown_cell(place.value)
        raise SlosimError(f"{place.where}, field {self.names[field]}: {value} is not {expected}{hint}")


def _named(rows: Rows, layout: Layout, asked: Asked) -> dict[str, str]:
    """Return which column holds which field."""
    mapped = checked_columns(asked.columns)
    found = {role: _given(rows, column) for role, column in mapped.items() if column.lower() != NOTHING}
    for role, column in layout.required.items():
        if role not in mapped and not (role == "output_tokens" and asked.outputs is not None):
            found[role] = _required(rows, column, asked, found)
    for role, columns in layout.optional.items():
        there = (column_of(column, rows.names) for column in columns)
        name = next((name for name in there if name is not None), None)
        if role not in mapped and name is not None and name not in found.values():
            found[role] = name
    if asked.outputs is not None:
        found.pop("output_tokens", None)
    if "arrived_at" not in {*found, *mapped}:
        _refuse_unused_times(rows, found)
    return {role: found[role] for role in FIELDS if role in found}


def _given(rows: Rows, column: str) -> str:
    name = column_of(column, rows.names)
    if name is None:
        raise SlosimError(f"{rows.path}: {unlike(column, rows.names)}")
    return name


def _required(rows: Rows, column: str, asked: Asked, found: Mapping[str, str]) -> str:
    name = column_of(column, rows.names)
    if name is not None:
        return name
    hint = mapping_hint(rows.names) if asked.columns is None else ""
    hint = f"say which column is which: {hint}" if hint else ""
    if not hint and column == "output_tokens":
        hint = f"give the outputs a length or a distribution, such as {asked_by(outputs=200)}"
    free = [] if hint else [name for name in rows.names if name not in found.values()]
    raise SlosimError(f"{rows.path}: {unlike(column, rows.names, free)}" + (f"; {hint}" if hint else ""))


def _refuse_unused_times(rows: Rows, found: Mapping[str, str]) -> None:
    name = next((name for name in rows.names if looks_like_time(name) and name not in found.values()), None)
    if name is None:
        return
    told = f"the column {name} looks like arrival times and is not used"
    use, leave = timed_hint({"arrived_at": name}), asked_by(columns={"arrived_at": NOTHING})
    raise SlosimError(f"{rows.path}: {told}; use it with {use}, or leave it out with {leave}")


def _as_verb(reason: str) -> str:
    return reason if reason.startswith("failed") else f"have {reason}"
