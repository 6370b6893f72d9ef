"""How a run went over time, in windows of equal length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.tokens import Floats
from sim.utilization import time_mean, utilization
from traces.errors import SlosimError

if TYPE_CHECKING:
    from sim.result import RunResult


class Series(NamedTuple):
    """One value per window; the last window may reach beyond the end of the run."""

    start: Floats
    """Where each window begins, seconds."""
    window: float
    """Length of a window, seconds."""
    throughput: Floats
    """Output tokens per second."""
    goodput: Floats
    """Output tokens per second that met their own SLO, of requests that have one; nan if none has."""
    requests_per_second: Floats
    """Finished requests per second."""
    waiting: Floats
    """Mean length of the queue, over time; idle time counts as nought."""
    running: Floats
    """Mean number of requests with cache on the device."""
    utilization: dict[str, Floats]
    """Shares as in `sim.utilization`."""


def series(result: RunResult, window: float = 1.0) -> Series:
    """The run from its first arrival to its end; raises SlosimError if `window` (seconds) is not positive.

    A token at the very edge of two windows belongs to the later one, but for the end of the run.
    """
    if not window > 0:
        raise SlosimError(f"window: expected a positive number of seconds, got {window!r}")
    begin = result.first_arrival
    number = max(int(np.ceil((result.end - begin) / window)), 1)
    edges = begin + window * np.arange(number + 1, dtype=np.float64)

    def per_second(at: NDArray[Any], weights: NDArray[Any] | None = None) -> Floats:
        places = np.clip(((at - begin) / window).astype(np.int64), 0, number - 1)
        return np.bincount(places, weights, number) / window

    at, tokens = result.tokens.moments()
    good = np.concatenate([result.verdicts.good_inner, result.verdicts.good_single])
    goodput = per_second(at, good) if result.verdicts.promised[result.arrived].any() else np.full(number, np.nan)
    finished = result.requests["finished_at"]
    return Series(
        edges[:-1],
        window,
        per_second(at, tokens),
        goodput,
        per_second(finished[~np.isnan(finished)]),
        time_mean(result, "waiting", edges),
        time_mean(result, "running", edges),
        utilization(result, edges),
    )
