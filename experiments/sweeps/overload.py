"""Whether a run's machine was overloaded: whether the requests in it grew in number for as long as requests came."""

from __future__ import annotations

import numpy as np

from experiments.replications import CONFIDENCE
from sim.recorder import REJECTED
from sim.result import RunResult
from sim.tokens import Floats

WINDOWS = 20
"""Moments of the arrivals' time, equally far apart, at which requests are counted (inferred)."""
WARMUP = 4
"""Of them left out at the beginning, while an empty system fills (inferred)."""
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
    return grows((came - gone).astype(np.float64))


def grows(values: Floats, confidence: float = CONFIDENCE) -> bool:
    """Whether the slope of a straight line through equally spaced values is above nought, by Student's t."""
    from scipy.special import stdtrit

    number = len(values)
    at = np.arange(number) - (number - 1) / 2
    slope = float(at @ values / (at @ at))
    rest = values - values.mean() - slope * at
    error = np.sqrt(rest @ rest / (number - 2) / (at @ at))
    return bool(slope > stdtrit(number - 2, (1 + confidence) / 2) * error)
