"""Bounds on the goodput of every schedule: of those that serve the same requests, and of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.bound.certificate import Question, certified
from experiments.bound.demand import Demand, Floats
from experiments.bound.goals import Goal, good_requests, good_tokens
from experiments.bound.programme import solved

WINDOWS = 48
"""Into which the time of a question is cut, at most."""
GROWTH = 1.25
"""Between the least and the largest end that are looked at together."""
GOALS: tuple[Callable[[Demand], Goal], ...] = (good_tokens, good_requests)

Booleans = NDArray[np.bool_]


class Goodput(NamedTuple):
    """Per second, from the first arrival to the last token; nan where no request has an SLO."""

    tokens: float
    requests: float


UNDEFINED = Goodput(float("nan"), float("nan"))
"""Of requests without any SLO."""


def of_serving(
    demand: Demand,
    finished: Booleans,
    begun: Booleans,
    replicas: int = 1,
    least: float = 0.0,
    most: float = np.inf,
) -> Goodput:
    """Of schedules that finish these requests (rows of the demand) and of the others compute for those `begun` only."""
    if not demand.promised.any():
        return UNDEFINED
    if not begun.any():
        return Goodput(0.0, 0.0)
    least = max(least, shortest(demand, finished, replicas), soonest(demand))
    return Goodput(*(_highest(demand, goal(demand), finished, begun, replicas, least, most) for goal in GOALS))


def of_any(demand: Demand, least: float, most: float = np.inf, replicas: int = 1) -> Goodput:
    """Of all schedules whose last token comes in these seconds after the first arrival, whomever they turn away."""
    if not demand.promised.any():
        return UNDEFINED
    none, all_of_them = np.zeros(len(demand), bool), np.ones(len(demand), bool)
    least = max(least, soonest(demand))
    return Goodput(*(_highest(demand, goal(demand), none, all_of_them, replicas, least, most) for goal in GOALS))


def at_most(demand: Demand, replicas: int = 1) -> Goodput:
    """Good tokens and good requests, not per second: of all schedules, however long they take."""
    if not demand.promised.any():
        return UNDEFINED
    none, all_of_them = np.zeros(len(demand), bool), np.ones(len(demand), bool)
    found = []
    for goal in (each(demand) for each in GOALS):
        due = np.concatenate([demand.arrived, goal.first_due, goal.later_due, [1.0]])
        end = float(due[np.isfinite(due)].max() + (demand.first + demand.later + demand.alone).sum())
        found.append(end * _highest(demand, goal, none, all_of_them, replicas, end, end))
    return Goodput(*found)


def shortest(demand: Demand, served: Booleans, replicas: int = 1) -> float:
    """Seconds from the first arrival within which no schedule finishes these requests.

    Each takes its time alone; and what arrives from some moment on takes its machine time after that moment.
    """
    work = np.where(served, demand.first + demand.later, 0.0)
    after = np.cumsum(work[::-1])[::-1] / replicas
    ends = np.where(served, np.maximum(demand.arrived + demand.alone, demand.arrived + after), 0.0)
    return float(ends.max(initial=0.0))


def soonest(demand: Demand) -> float:
    """Seconds from the first arrival before which no schedule has a token."""
    return float((demand.arrived + demand.first_alone).min(initial=np.inf))


def _highest(
    demand: Demand, goal: Goal, must: Booleans, may: Booleans, replicas: int, least: float, most: float
) -> float:
    """The largest bound over all ends from `least` to `most`, some at a time, until none can be larger any more."""
    highest, low, everything = 0.0, least, _everything(demand, goal, may)
    while everything / low > highest:
        high = min(low * GROWTH, most)
        question = Question(demand, goal, must, may, replicas, low, high)
        highest = max(highest, certified(question, *solved(question, edges(question))))
        if not low < high < most:
            break
        low = high
    return float(highest)


def _everything(demand: Demand, goal: Goal, may: Booleans) -> float:
    counted = np.bincount(demand.stretches.owner, goal.counted, len(demand))
    return float(np.where(may, np.where(goal.possible, goal.value, 0.0) + counted, 0.0).sum())


def edges(question: Question) -> Floats:
    """Edges of windows, from the first arrival to `least`: where requests come and are due, thinned out."""
    demand, goal, least = question.demand, question.goal, question.least
    events = np.concatenate([demand.arrived, goal.first_due, goal.later_due])
    events = np.unique(events[(events > 0) & (events < least)])
    if len(events) >= WINDOWS:
        events = np.quantile(events, np.arange(1, WINDOWS) / WINDOWS)
    return np.concatenate([[0.0], np.unique(events), [least]])
