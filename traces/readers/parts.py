"""Parts of traces: the requests that arrive between two times, and several files as one trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError, asked_by
from traces.readers.times import DATES, UNITS, date_of, is_epoch, zone_of
from traces.reading import Reading
from traces.trace import Trace

__all__ = ["joined", "windowed"]

_NANOSECOND = 1e-9


def windowed(trace: Trace, start: float | str | None, end: float | str | None, keep_start: bool = False) -> Trace:
    """Return the requests that arrive at `start` or later and before `end`; time starts at the first of them.

    Both are seconds from the first arrival, or dates if the file has them (without a zone: in UTC, or as the file has
    them). Raises SlosimError for a window without requests.
    """
    if start is None and end is None:
        return trace
    reading = trace.reading or Reading(rows=len(trace))
    times = trace.arrived_at - (trace.arrived_at[0] if len(trace) else 0.0)
    begins = 0.0 if start is None else _seconds(start, "start", reading)
    ends = float("inf") if end is None else _seconds(end, "end", reading)
    if reading.time_unit is None:
        raise SlosimError(f"{reading.path or 'the trace'}: the file records no arrivals, so it has no window of time")
    kept = trace[(times >= begins) & (times < ends)]
    if not len(kept):
        span = f"{times[-1]:,.6g} s" if len(times) else "no time"
        raise SlosimError(
            f"no request arrives in the window from {begins:,.6g} to {ends:,.6g} s; the trace takes {span}"
        )
    until = "on" if np.isinf(ends) else f"to {ends:,.6g} s"
    told = f"{len(kept):,} of {len(trace):,} requests, from {begins:,.6g} s {until} after the first arrival"
    kept = replace(kept, reading=replace(reading, facts=(*reading.facts, told)))
    return kept if keep_start else kept.with_arrivals(kept.arrived_at - kept.arrived_at[0])


def joined(traces: Sequence[Trace]) -> Trace:
    """Return the requests of several files as one trace, in order of arrival, and what was read of all of them."""
    objectives = {
        kind: _together([getattr(trace, kind) for trace in traces], [len(trace) for trace in traces])
        for kind in ("ttft", "tbt", "jct")
    }
    known = all(trace.ids is not None for trace in traces)
    return Trace.from_columns(
        np.concatenate([trace.arrived_at for trace in traces]),
        np.concatenate([trace.prompt_tokens for trace in traces]),
        np.concatenate([trace.output_tokens for trace in traces]),
        application=np.concatenate([trace.application_labels() for trace in traces]),
        ids=[name for trace in traces for name in trace.ids or ()] if known else None,
        name=traces[0].name,
        sort=True,
        reading=_all_read([trace.reading or Reading(rows=len(trace)) for trace in traces]),
        **objectives,
    )


def _together(columns: Sequence[NDArray[np.float64] | None], lengths: Sequence[int]) -> Any:
    filled = (np.full(length, np.inf) if one is None else one for one, length in zip(columns, lengths, strict=True))
    return np.concatenate(list(filled))


def _all_read(readings: Sequence[Reading]) -> Reading:
    left_out: Counter[str] = Counter()
    for reading in readings:
        left_out.update(reading.left_out)
    return replace(
        readings[0],
        rows=sum(reading.rows for reading in readings),
        left_out=dict(left_out),
        ignored=_each_once(reading.ignored for reading in readings),
        facts=_each_once(reading.facts for reading in readings),
        notes=_each_once(reading.notes for reading in readings),
    )


def _each_once(several: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for texts in several for text in texts))


def _seconds(given: float | str, argument: str, reading: Reading) -> float:
    if not isinstance(given, str):
        return float(given)
    try:
        return float(given)
    except ValueError:
        pass
    what = asked_by(**{argument: given})
    asked, first = date_of(given, what), _first_date(reading)
    if first is None:
        raise SlosimError(f"{what}: the file has no dates; give seconds from the first arrival")
    if zone_of(given) and reading.time_unit == DATES and not zone_of(str(reading.first_arrival)):
        raise SlosimError(f"{what}: the dates of the file have no zone; leave out {zone_of(given)} or the offset")
    return (asked - first) * _NANOSECOND


def _first_date(reading: Reading) -> int | None:
    """Return the first arrival of the file in nanoseconds since 1970, if it says that."""
    if reading.time_unit == DATES:
        return date_of(str(reading.first_arrival), "first arrival")
    unit, first = reading.time_unit or "s", reading.first_arrival
    if not isinstance(first, int | float) or not is_epoch(first, unit):
        return None
    return int(first * (UNITS["ns"] // UNITS[unit]))
