"""What counts as good, for each of the two goodputs, and by when what has to be done for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.bound.demand import Demand, Floats

TOLERANCE = 1e-9
"""Of times, relative and in seconds: the simulator's clock adds floating-point numbers."""


@dataclass(frozen=True, eq=False)
class Goal:
    """One row per request of a demand; times in seconds after the first arrival.

    A request is in time if its first token comes by `first_due` and its last by `later_due`; that brings `value`. Of
    `loose` requests the later tokens count one by one, whatever becomes of the first: those of `counted`.
    """

    possible: NDArray[np.bool_]
    """Whether it would be in time if nobody else were there."""
    value: Floats
    first_due: Floats
    later_due: Floats
    loose: NDArray[np.bool_]
    counted: Floats
    """One row per stretch: later tokens that count."""


def good_tokens(demand: Demand) -> Goal:
    """A first token counts in time, a later one if an iteration can be as short as its gap; with a JCT SLO all do or
    none; of requests without an SLO none does (`sim.verdicts`)."""
    whole = np.isfinite(demand.jct)
    stretches = demand.stretches
    counts = _within(stretches.gap, demand.tbt[stretches.owner]) & (demand.promised & ~whole)[stretches.owner]
    first_due = np.where(whole, demand.jct, demand.ttft)
    return Goal(
        demand.promised & np.where(whole, _within(demand.alone, demand.jct), _within(demand.first_alone, demand.ttft)),
        np.where(whole, demand.output, 1.0),
        _due(demand, first_due),
        _due(demand, np.where(whole, demand.jct, np.inf)),
        ~whole,
        np.where(counts, stretches.tokens, 0.0),
    )


def good_requests(demand: Demand) -> Goal:
    """A request with an SLO counts if it meets its TTFT, its JCT and, on the mean of its gaps, its TBT."""
    reading = np.where(demand.output > 1, demand.tbt * np.maximum(demand.output - 1, 1), np.inf)
    first_limit = np.minimum(demand.ttft, demand.jct)
    last_limit = np.minimum(demand.ttft + reading, demand.jct)
    possible = _within(demand.first_alone, demand.ttft) & _within(demand.later_alone, reading)
    none = np.zeros(len(demand), bool)
    return Goal(
        demand.promised & possible & _within(demand.alone, demand.jct),
        np.ones(len(demand)),
        _due(demand, first_limit),
        _due(demand, last_limit),
        none,
        np.zeros(len(demand.stretches.owner)),
    )


def _within(seconds: Floats, limit: Floats) -> NDArray[np.bool_]:
    return np.asarray(seconds <= limit * (1 + TOLERANCE) + TOLERANCE)


def _due(demand: Demand, limit: Floats) -> Floats:
    due = demand.arrived + limit
    return due + TOLERANCE * (1 + np.where(np.isfinite(due), due, 0.0))
