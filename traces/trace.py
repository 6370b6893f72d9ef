"""A workload as columns: cheap at ten million requests, read as rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traces.checks import (
    Locate,
    checked_objectives,
    checked_times,
    checked_tokens,
    in_order,
    row_number,
    same_length,
)
from traces.errors import SlosimError
from traces.types import SLO, TraceRow

if TYPE_CHECKING:
    import pandas

__all__ = ["Trace"]

_ROWS_AT_ONCE = 8192
_OBJECTIVES = ("ttft", "tbt", "jct")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace:
    """Requests in order of arrival, held as numpy columns of one length.

    Make one with `Trace.from_rows`, `Trace.from_columns` (which check) or `traces.load`. Iterating gives `TraceRow`s,
    an index one row, a slice, mask or list of indices another trace; slices share memory with their source.

    >>> trace = Trace.from_rows([TraceRow(0.0, 100, 20), TraceRow(0.5, 30, 200)])
    >>> len(trace), trace[1].output_tokens, len(trace[trace.prompt_tokens > 50])
    (2, 200, 1)
    """

    arrived_at: NDArray[np.float64]
    """Seconds, never decreasing."""
    prompt_tokens: NDArray[np.int32]
    """At least 1."""
    output_tokens: NDArray[np.int32]
    """At least 1."""
    ttft: NDArray[np.float64] | None = None
    """Objectives in seconds; None means that no request has one."""
    tbt: NDArray[np.float64] | None = None
    jct: NDArray[np.float64] | None = None
    application_codes: NDArray[np.int16] | None = None
    """Index into `applications`; None means that no request has a label."""
    applications: tuple[str, ...] = ()
    ids: Sequence[str] | None = None
    """Names of the requests in their source, if they have any."""
    name: str = ""

    @classmethod
    def from_rows(cls, rows: Iterable[TraceRow | tuple[Any, ...]], *, name: str = "", sort: bool = False) -> Trace:
        """Gather rows (or plain tuples in a row's order) into a trace; raise SlosimError at the first impossible one."""
        source = (row if isinstance(row, TraceRow) else TraceRow(*row) for row in rows)
        pieces = list(iter(lambda: _columns_of(list(islice(source, _ROWS_AT_ONCE))), None))
        if not pieces:
            return cls.from_columns([], [], [], name=name)
        joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
        return cls.from_columns(**joined, name=name, sort=sort)

    @classmethod
    def from_columns(
        cls,
        arrived_at: ArrayLike | None,
        prompt_tokens: ArrayLike,
        output_tokens: ArrayLike,
        *,
        ttft: ArrayLike | None = None,
        tbt: ArrayLike | None = None,
        jct: ArrayLike | None = None,
        application: ArrayLike | None = None,
        application_codes: ArrayLike | None = None,
        applications: Sequence[str] = (),
        ids: Sequence[str] | None = None,
        name: str = "",
        sort: bool = False,
        locate: Locate = row_number,
    ) -> Trace:
        """Check columns and make a trace of them; no column is copied that has the right type already.

        `arrived_at` None puts every request at 0. Labels come either as `application`, one word per request, or as
        `application_codes` into `applications`. `sort` orders the requests by arrival (stably) instead of refusing a
        wrong order. `locate` turns a row's index into words for errors. Raises SlosimError naming row, field and value.
        """
        prompts = checked_tokens(prompt_tokens, "prompt_tokens", locate)
        times = np.zeros(len(prompts)) if arrived_at is None else checked_times(arrived_at, "arrived_at", locate)
        if application is not None:
            applications, application_codes = _encoded(application)
        trace = cls(
            times,
            prompts,
            checked_tokens(output_tokens, "output_tokens", locate),
            checked_objectives(ttft, "ttft", locate),
            checked_objectives(tbt, "tbt", locate),
            checked_objectives(jct, "jct", locate),
            _checked_codes(application_codes, applications),
            tuple(applications),
            ids,
            name,
        )
        same_length(**trace._columns())
        return trace._ordered(sort, locate)._read_only()

    def __len__(self) -> int:
        return len(self.arrived_at)

    def __iter__(self) -> Iterator[TraceRow]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from self._rows(slice(start, start + _ROWS_AT_ONCE))

    @overload
    def __getitem__(self, which: int) -> TraceRow: ...
    @overload
    def __getitem__(self, which: slice | NDArray[Any] | Sequence[int]) -> Trace: ...
    def __getitem__(self, which: int | slice | NDArray[Any] | Sequence[int]) -> TraceRow | Trace:
        if isinstance(which, int | np.integer):
            position = range(len(self))[which]
            return next(self._rows(slice(position, position + 1)))
        if not isinstance(which, slice):
            which = np.asarray(which)
            which = which if which.dtype == np.bool_ else which.astype(np.intp)
        return self._taken(which)._ordered(sort=False)

    def __repr__(self) -> str:
        return f"<Trace {self.name + ': ' if self.name else ''}{len(self)} requests>"

    def head(self, count: int) -> Trace:
        """Return the first `count` requests."""
        return self[:count]

    def named(self, name: str) -> Trace:
        """Return the same requests under another name."""
        return replace(self, name=name)

    def with_arrivals(self, times: ArrayLike) -> Trace:
        """Return the same requests, in the same order, arriving at other times (seconds, never decreasing)."""
        return self._with(arrived_at=checked_times(times, "arrived_at"))

    def with_slos(
        self, *, ttft: ArrayLike | None = None, tbt: ArrayLike | None = None, jct: ArrayLike | None = None
    ) -> Trace:
        """Return the same requests with these objectives, in seconds, and no others; a scalar holds for all."""
        given = {"ttft": ttft, "tbt": tbt, "jct": jct}
        full = {
            key: None if value is None else np.broadcast_to(np.asarray(value, float), np.shape(value) or len(self))
            for key, value in given.items()
        }
        return self._with(**{key: checked_objectives(value, key) for key, value in full.items()})

    def application_labels(self) -> NDArray[np.object_]:
        """Return one label per request; "" where there is none."""
        if self.application_codes is None:
            return np.full(len(self), "", dtype=object)
        return np.array(self.applications, dtype=object)[self.application_codes]

    @property
    def digest(self) -> str:
        """The sha256 (hex) of what the requests are: columns, labels and ids, whatever the trace's name."""
        state = hashlib.sha256()
        for key, column in self._canonical().items():
            state.update(f"{key}:{'none' if column is None else len(column)};".encode())
            state.update(b"" if column is None else np.ascontiguousarray(column).tobytes())
        state.update("\0".join(self.ids or ()).encode())
        state.update("\0".join(sorted(self._used_applications())).encode())
        return state.hexdigest()

    def summary(self) -> dict[str, float]:
        """Return counts, rate and length statistics as numbers (see `traces.summary`)."""
        from traces.summary import summary

        return summary(self)

    def describe(self) -> str:
        """Return the summary as a few lines of text."""
        from traces.summary import describe

        return describe(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the columns as a data frame; objectives are called slo_ttft, slo_tbt, slo_jct."""
        from traces.storage import to_pandas

        return to_pandas(self)

    def save(self, path: str | Path, **metadata: str) -> Path:
        """Write a .parquet, .csv or .csv.gz file that `traces.load` reads back; Parquet carries the metadata too."""
        from traces.storage import save

        return save(self, Path(path), metadata)

    def _rows(self, where: slice) -> Iterator[TraceRow]:
        numbers = (
            self.arrived_at[where].tolist(),
            self.prompt_tokens[where].tolist(),
            self.output_tokens[where].tolist(),
        )
        return map(TraceRow, *numbers, self._slos(where), self._labels(where))

    def _slos(self, where: slice) -> Iterator[SLO]:
        columns = [getattr(self, key) for key in _OBJECTIVES]
        if all(column is None for column in columns):
            return repeat(SLO())
        return map(SLO, *(repeat(np.inf) if column is None else column[where].tolist() for column in columns))

    def _labels(self, where: slice) -> Iterator[str]:
        if self.application_codes is None:
            return repeat("")
        return map(self.applications.__getitem__, self.application_codes[where].tolist())

    def _columns(self) -> dict[str, Any]:
        keys = ("arrived_at", "prompt_tokens", "output_tokens", *_OBJECTIVES, "application_codes", "ids")
        return {key: getattr(self, key) for key in keys}

    def _canonical(self) -> dict[str, NDArray[Any] | None]:
        columns = {key: column for key, column in self._columns().items() if key != "ids"}
        for key in _OBJECTIVES:
            columns[key] = checked_objectives(columns[key], key)
        if self.application_codes is not None:
            rank = {label: place for place, label in enumerate(sorted(self._used_applications()))}
            order = np.array([rank.get(label, -1) for label in self.applications], dtype=np.int16)
            columns["application_codes"] = order[self.application_codes] if len(rank) > 1 or "" not in rank else None
        return columns

    def _used_applications(self) -> list[str]:
        if self.application_codes is None:
            return []
        used = [self.applications[code] for code in np.unique(self.application_codes)]
        return used if used != [""] else []

    def _taken(self, which: Any) -> Trace:
        columns = {
            key: column if column is None or key == "ids" else column[which] for key, column in self._columns().items()
        }
        if self.ids is not None:
            columns["ids"] = self.ids[which] if isinstance(which, slice) else list(np.array(self.ids, object)[which])
        return replace(self, **columns)

    def _ordered(self, sort: bool, locate: Locate = row_number) -> Trace:
        if in_order(self.arrived_at):
            return self
        if sort:
            return self._taken(np.argsort(self.arrived_at, kind="stable"))
        index = int(np.argmax(self.arrived_at[1:] < self.arrived_at[:-1])) + 1
        before, here = self.arrived_at[index - 1].item(), self.arrived_at[index].item()
        raise SlosimError(
            f"{locate(index)}, field arrived_at: {here!r} comes before the previous {before!r}; "
            "order the requests by arrival, or ask for sort=True"
        )

    def _with(self, **columns: NDArray[Any] | None) -> Trace:
        same_length(requests=self.arrived_at, **columns)
        return replace(self, **columns)._ordered(sort=False)._read_only()

    def _read_only(self) -> Trace:
        frozen = {key: column.view() for key, column in self._columns().items() if isinstance(column, np.ndarray)}
        for column in frozen.values():
            column.flags.writeable = False
        return replace(self, **frozen)


def _columns_of(rows: list[TraceRow]) -> dict[str, NDArray[Any]] | None:
    if not rows:
        return None
    arrived_at, prompts, outputs, slos, labels = zip(*rows, strict=True)
    numbers = {"arrived_at": arrived_at, "prompt_tokens": prompts, "output_tokens": outputs}
    objectives = dict(zip(_OBJECTIVES, zip(*slos, strict=True), strict=True))
    return {key: np.array(values) for key, values in (numbers | objectives | {"application": labels}).items()}


def _encoded(labels: ArrayLike) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    names, codes = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True)
    return tuple(names.tolist()), codes.astype(np.int16)


def _checked_codes(codes: ArrayLike | None, names: Sequence[str]) -> NDArray[np.int16] | None:
    if codes is None or tuple(names) == ("",):
        return None
    numbers = np.asarray(codes, dtype=np.int16)
    if len(numbers) and not (0 <= numbers.min() and numbers.max() < len(names)):
        raise SlosimError(f"application_codes: expected 0 to {len(names) - 1}, got {numbers.min()} to {numbers.max()}")
    return numbers
