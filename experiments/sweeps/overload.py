"""Whether a run's machine was overloaded: whether the requests in it grew in number for as long as requests came."""

from __future__ import annotations

import numpy as np

from experiments.replications import CONFIDENCE, Interval
from sim.recorder import REJECTED
from sim.result import RunResult
from sim.tokens import Floats

WINDOWS = 20
"""Moments of the arrivals' time, equally far apart, at which requests are counted (inferred)."""
WARMUP = 4
"""Of them left out at the beginning, while an empty system fills (inferred)."""
LEAST = 0.25
"""Of their mean number, by which it must grow: less is no matter (inferred)."""
ENOUGH = 100
"""Requests below which nothing is said (inferred)."""


def overloaded(result: RunResult) -> bool:
    """Whether the requests in the system grew along a straight line, beyond chance; False with too few to tell.

    GuideLLM's rule for over-saturation without its second half, that TTFT grows as well: a policy that serves newcomers
    first hides the queue from it.
    """
    rows = result.requests
    arrived = rows["arrived_at"][result.arrived]
    first, last = result.first_arrival, float(np.max(arrived, initial=0.0))
    if len(arrived) < ENOUGH or not last > first:
        return False
    moments = np.linspace(first, last, WINDOWS + 1)[1 + WARMUP :]
    left = np.where(rows["status"] == REJECTED, rows["arrived_at"], rows["finished_at"])[result.arrived]
    came, gone = (np.searchsorted(np.sort(each), moments, side="right") for each in (arrived, left))
    inside = (came - gone).astype(np.float64)
    rise = growth(inside)
    return rise.mean > max(rise.half, LEAST * float(inside.mean()))


def growth(values: Floats, confidence: float = CONFIDENCE) -> Interval:
    """How far a straight line through equally spaced values rises from the first to the last, by Student's t."""
    from scipy.special import stdtrit

    number = len(values)
    at = np.arange(number) - (number - 1) / 2
    slope = at @ values / (at @ at)
    rest = values - values.mean() - slope * at
    error = np.sqrt(rest @ rest / (number - 2) / (at @ at))
    half = stdtrit(number - 2, (1 + confidence) / 2) * error
    return Interval(float(slope) * (number - 1), float(half) * (number - 1))
