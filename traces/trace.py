"""A workload as columns: cheap at ten million requests, read as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traces.checks import Locate, checked_objectives, checked_times, checked_tokens, row_number, same_length
from traces.columns import checked_codes, digest, encoded, gathered
from traces.errors import SlosimError
from traces.reading import Reading, counted
from traces.types import SLO, TraceRow

if TYPE_CHECKING:
    import pandas

__all__ = ["Trace"]

_ROWS_AT_ONCE = 8192
_NONE_PROMISED = SLO()


class _Arrivals(Protocol):
    def times(self, requests: int, seed: int = 0) -> NDArray[np.float64]: ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace:
    """Requests in order of arrival, held as numpy columns of one length (16 bytes a request, 24 more with SLOs).

    Make one with `Trace.from_rows` or `Trace.from_columns`, which check, or with `traces.load`. Iterating gives
    `TraceRow`s, an index gives one row; a slice, mask or list of indices gives a trace. Slices share memory with their
    source, and nobody can write to the columns.

    >>> trace = Trace.from_rows([TraceRow(0.0, 100, 20), TraceRow(0.5, 30, 200)])
    >>> len(trace), trace[1].output_tokens, trace[trace.prompt_tokens > 50]
    (2, 200, <Trace 1 request>)
    """

    arrived_at: NDArray[np.float64]
    """Seconds, never decreasing."""
    prompt_tokens: NDArray[np.int32]
    """At least 1."""
    output_tokens: NDArray[np.int32]
    """At least 1."""
    ttft: NDArray[np.float64] | None = None
    """First-token objectives in seconds; None means that no request has one (as for the next two)."""
    tbt: NDArray[np.float64] | None = None
    """Between-token objectives."""
    jct: NDArray[np.float64] | None = None
    """Completion objectives."""
    application_codes: NDArray[np.int16] | None = None
    """Each request's index into `applications`; None means that no request has a label."""
    applications: tuple[str, ...] = ()
    """The labels."""
    ids: Sequence[str] | None = None
    """What the requests are called in their source, if anything."""
    name: str = ""
    """What the trace is called in tables and files."""
    reading: Reading | None = None
    """What was read from the file that it came from; None for traces that came from none."""

    @classmethod
    def from_rows(cls, rows: Iterable[TraceRow | tuple[Any, ...]], *, name: str = "", sort: bool = False) -> Trace:
        """Gather rows, or tuples in the order of a row's fields; raise SlosimError at the first impossible one."""
        return cls.from_columns(**gathered(rows), name=name, sort=sort)

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
        reading: Reading | None = None,
    ) -> Trace:
        """Check columns and make a trace of them, copying none that has the right type already.

        `arrived_at` None puts every request at 0. Labels come either as `application`, one word per request, or as
        `application_codes` into `applications`. `sort` orders the requests by arrival (stably) where a wrong order
        would be refused. `locate` puts a row's index into words. Raises SlosimError naming row, field and value.
        """
        if application is not None:
            applications, application_codes = encoded(application)
        prompts = checked_tokens(prompt_tokens, "prompt_tokens", locate)
        trace = cls(
            np.zeros(len(prompts)) if arrived_at is None else checked_times(arrived_at, "arrived_at", locate),
            prompts,
            checked_tokens(output_tokens, "output_tokens", locate),
            checked_objectives(ttft, "ttft", locate),
            checked_objectives(tbt, "tbt", locate),
            checked_objectives(jct, "jct", locate),
            checked_codes(application_codes, applications),
            tuple(applications),
            ids,
            name,
            reading,
        )
        same_length(**trace._columns(), ids=ids)
        return trace._ordered(sort, locate)._read_only()

    def __len__(self) -> int:
        return len(self.arrived_at)

    def __iter__(self) -> Iterator[TraceRow]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from self._rows(slice(start, start + _ROWS_AT_ONCE))

    @overload
    def __getitem__(self, which: int | np.integer[Any]) -> TraceRow: ...
    @overload
    def __getitem__(self, which: slice | NDArray[Any] | Sequence[int]) -> Trace: ...
    def __getitem__(self, which: int | np.integer[Any] | slice | NDArray[Any] | Sequence[int]) -> TraceRow | Trace:
        if isinstance(which, int | np.integer):
            position = range(len(self))[which]
            return next(self._rows(slice(position, position + 1)))
        if isinstance(which, slice):
            return self._taken(which)._ordered()
        chosen = np.asarray(which)
        return self._taken(chosen if chosen.size else chosen.astype(np.intp))._ordered()._read_only()

    def __repr__(self) -> str:
        told = f"; {self.reading.describe()}" if self.reading else ""
        return f"<Trace {self.name + ': ' if self.name else ''}{counted(len(self), 'request')}{told}>"

    def head(self, count: int) -> Trace:
        """Return the first `count` requests."""
        return self[: max(count, 0)]

    def named(self, name: str) -> Trace:
        """Return the same requests under another name."""
        return replace(self, name=name)

    def with_arrivals(self, times: ArrayLike | _Arrivals, seed: int = 0) -> Trace:
        """Return the same requests in the same order, coming at these times (s) or as this process has it.

        >>> from traces import Poisson
        >>> Trace.from_rows([(0, 100, 20), (0, 30, 200)]).with_arrivals(Poisson(8.0), seed=1)
        <Trace 2 requests>
        """
        given = times.times(len(self), seed) if hasattr(times, "times") else times
        return self._with(arrived_at=checked_times(given, "arrived_at"))

    def with_slos(
        self, *, ttft: ArrayLike | None = None, tbt: ArrayLike | None = None, jct: ArrayLike | None = None
    ) -> Trace:
        """Return the same requests with these objectives (s) and no others; a single number holds for all."""
        return self._with(
            ttft=self._objective(ttft, "ttft"), tbt=self._objective(tbt, "tbt"), jct=self._objective(jct, "jct")
        )

    def labelled(self, application: str) -> Trace:
        """Return the same requests, all of one application."""
        return self._with(application_codes=np.zeros(len(self), dtype=np.int16), applications=(application,))

    def clipped(self, *, prompt_tokens: int | None = None, output_tokens: int | None = None) -> Trace:
        """Return the same requests with longer prompts and outputs cut to these lengths, at least 1."""
        limits = {"prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
        given = {field: limit for field, limit in limits.items() if limit is not None}
        for field, limit in given.items():
            if limit < 1:
                raise SlosimError(f"{field}: cannot cut lengths to {limit}; give 1 or more")
        return self._with(**{field: np.minimum(getattr(self, field), limit) for field, limit in given.items()})

    def application_labels(self) -> NDArray[np.object_]:
        """Return one label per request; "" where there is none."""
        if self.application_codes is None:
            return np.full(len(self), "", dtype=object)
        return np.array(self.applications, dtype=object)[self.application_codes]

    @property
    def digest(self) -> str:
        """The sha256 (hex) of what the requests are, whatever the trace is called; computed when asked for."""
        columns = {field: column for field, column in self._columns().items() if field != "application_codes"}
        held = {field: column for field, column in columns.items() if column is not None}
        finite = {
            field: column for field, column in held.items() if field not in SLO._fields or np.isfinite(column).any()
        }
        return digest(finite, self.application_codes, self.applications, self.ids)

    def summary(self) -> dict[str, float]:
        """Return counts, rate and length statistics as numbers (see `traces.summary`)."""
        from traces.summary import summary

        return summary(self)

    def describe(self) -> str:
        """Return the summary as a few lines of text."""
        from traces.summary import describe

        return describe(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per request; objectives are called slo_ttft, slo_tbt and slo_jct."""
        from traces.storage import to_pandas

        return to_pandas(self)

    def save(self, path: str | Path, **metadata: str) -> Path:
        """Write a .parquet, .csv or .csv.gz file that `traces.load` reads back; a Parquet footer keeps the metadata."""
        from traces.storage import save

        return save(self, Path(path), metadata)

    def _rows(self, where: slice) -> Iterator[TraceRow]:
        columns = (self.arrived_at, self.prompt_tokens, self.output_tokens)
        return map(TraceRow, *(column[where].tolist() for column in columns), self._slos(where), self._labels(where))

    def _slos(self, where: slice) -> Iterator[SLO]:
        columns = (self.ttft, self.tbt, self.jct)
        if all(column is None for column in columns):
            return repeat(_NONE_PROMISED)
        return map(SLO, *(repeat(np.inf) if column is None else column[where].tolist() for column in columns))

    def _labels(self, where: slice) -> Iterator[str]:
        if self.application_codes is None:
            return repeat("")
        return map(self.applications.__getitem__, self.application_codes[where].tolist())

    def _columns(self) -> dict[str, NDArray[Any] | None]:
        fields = ("arrived_at", "prompt_tokens", "output_tokens", "ttft", "tbt", "jct", "application_codes")
        return {field: getattr(self, field) for field in fields}

    def _objective(self, values: ArrayLike | None, field: str) -> NDArray[np.float64] | None:
        full = None if values is None else np.broadcast_to(values, np.shape(values) or (len(self),))
        return checked_objectives(full, field)

    def _taken(self, which: slice | NDArray[Any]) -> Trace:
        taken = {field: column[which] for field, column in self._columns().items() if column is not None}
        return self._replaced(**taken, ids=_taken_ids(self.ids, which))

    def _ordered(self, sort: bool = False, locate: Locate = row_number) -> Trace:
        earlier = self.arrived_at[1:] < self.arrived_at[:-1]
        if not earlier.any():
            return self
        if sort:
            return self._taken(np.argsort(self.arrived_at, kind="stable"))
        index = int(np.argmax(earlier)) + 1
        before, here = self.arrived_at[index - 1 : index + 1].tolist()
        wrong = f"{locate(index)}, field arrived_at: {here!r} comes before the previous {before!r}"
        raise SlosimError(f"{wrong}; order the requests by arrival, or ask for sort=True")

    def _with(self, **fields: Any) -> Trace:
        columns = {field: values for field, values in fields.items() if isinstance(values, np.ndarray)}
        same_length(requests=self.arrived_at, **columns)
        return self._replaced(**fields)._ordered()._read_only()

    def _replaced(self, **fields: Any) -> Trace:
        return replace(self, **fields)

    def _read_only(self) -> Trace:
        views = {field: column.view() for field, column in self._columns().items() if column is not None}
        for view in views.values():
            view.flags.writeable = False
        return self._replaced(**views)


def _taken_ids(ids: Sequence[str] | None, which: slice | NDArray[Any]) -> Sequence[str] | None:
    if ids is None:
        return None
    if isinstance(which, slice):
        return ids[which]
    return [ids[index] for index in np.arange(len(ids))[which].tolist()]
