"""The load that a machine bears: the highest arrival rate at which enough of its SLOs are still met."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isnan, nan


def supported(rates: Sequence[float], attained: Sequence[float], share: float) -> float:
    """The highest of all rates at which a share is attained, straight between the loads that were run (ascending).

    nan if it is attained at none of them, or at the highest still, or if one load has no number: then these loads do
    not tell.

    >>> supported([1.0, 2.0, 4.0], [0.9, 0.6, 0.2], 0.5)
    2.5
    """
    if any(map(isnan, attained)) or attained[-1] >= share:
        return nan
    runs = list(zip(rates, attained, strict=True))
    falls = [(low, high) for low, high in pairwise(runs) if low[1] >= share > high[1]]
    if not falls:
        return nan
    (rate, above), (next_rate, below) = falls[-1]
    return rate + (next_rate - rate) * (above - share) / (above - below)
