"""A run as a timeline for ui.perfetto.dev: Chrome trace events as .json.gz.

Perfetto opens the file as it is. It draws whole runs of some ten thousand requests; of longer ones, write a window.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.files import replacing, without_nan
from experiments.trace_events import alive, events
from sim.result import RunResult
from traces.errors import SlosimError

MOST_EVENTS = 1_000_000
"""Browsers open so many; the file has some ten megabytes."""
PER_ITERATION, PER_REQUEST = 4, 14
"""Events that an iteration and a request take, about."""


class Timeline(NamedTuple):
    """What was written."""

    path: Path
    events: int
    begin: float
    """The part of the run that is shown, seconds."""
    end: float
    cut: bool
    """Whether the part asked for had too many events."""


def write_timeline(
    result: RunResult,
    path: str | Path,
    window: tuple[float, float] | None = None,
    max_events: int = MOST_EVENTS,
) -> Timeline:
    """Writes the run, or the `window` (seconds from, to) of it; a part with too many events is cut at its end.

    Raises SlosimError if the window is empty, no event fits or the file cannot be written.
    """
    begin, wanted = window or (result.first_arrival, result.end)
    if not begin < wanted:
        raise SlosimError(f"timeline window {begin:g}:{wanted:g}: it must begin before it ends")
    end = _affordable_end(result, begin, wanted, max_events)
    if not end > begin:
        raise SlosimError(f"timeline: not even the start at {begin:g} s fits into {max_events} events; allow more")
    number = 0
    with replacing(Path(path)) as draft, draft.open("wb") as raw, _text(raw) as file:
        file.write('{"displayTimeUnit": "ms", "otherData": ')
        file.write(json.dumps(without_nan(dict(result.about)), default=str))
        file.write(', "traceEvents": [')
        for event in events(result, begin, end):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(event))
            number += 1
        file.write("\n]}\n")
    return Timeline(Path(path), number, begin, end, end < wanted)


def _affordable_end(result: RunResult, begin: float, end: float, most: int) -> float:
    """How far from `begin` the events fit into so many."""
    rows = result.iterations
    started = rows["start"][(rows["end"] > begin) & (rows["start"] < end)]
    came = np.maximum(result.requests["arrived_at"][alive(result, begin, end)], begin)
    when = np.concatenate([started, came])
    order = np.argsort(when, kind="stable")
    weights = np.concatenate([np.full(len(started), PER_ITERATION), np.full(len(came), PER_REQUEST)])[order]
    over = np.searchsorted(np.cumsum(weights), most, side="right")
    return end if over == len(when) else float(when[order[over]])


def _text(raw: Any) -> io.TextIOWrapper:
    """A compressed text file whose bytes depend on nothing but the text."""
    return io.TextIOWrapper(gzip.GzipFile("", "wb", 6, raw, mtime=0), "utf-8")
