"""The bound itself: what a schedule can earn at most when it pays for machine time.

Whatever the prices of the windows are, a schedule's good tokens are what it earns less what it pays, plus what it
pays; it pays no more than the price of all the time there is, and no request can earn more than by the best of its
options at the lowest price of the windows that are open to it. So the sum of both is a bound for any prices: that
they come from a linear programme, which may be coarse and solved inexactly, decides only how tight it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.bound.demand import Demand, Floats
from experiments.bound.goals import TOLERANCE, Goal
from experiments.bound.prices import Prices

ROUNDING = 1 + 1e-9
"""Factor on every bound: sums of floating-point numbers."""


@dataclass(frozen=True, eq=False)
class Question:
    """How many good tokens (or requests) per second, of schedules whose last token comes `least` to `most` seconds
    after the first arrival."""

    demand: Demand
    goal: Goal
    must: NDArray[np.bool_]
    """Requests that are served to the end."""
    may: NDArray[np.bool_]
    """Requests that get anything at all, those that must among them."""
    replicas: int
    least: float
    most: float

    @property
    def open_end(self) -> bool:
        """Whether the end is part of what a schedule decides."""
        return self.most > self.least

    @property
    def concerned(self) -> NDArray[np.bool_]:
        """Requests that can get something before the end."""
        return np.asarray(self.may & (self.demand.arrived + self.demand.first_alone <= self._end))

    @property
    def possible(self) -> NDArray[np.bool_]:
        """Requests that can be in time before the end; loose ones with their first token only."""
        demand = self.demand
        needs = np.where(self.goal.loose, demand.first_alone, demand.alone)
        return np.asarray(self.goal.possible & self.may & (demand.arrived + needs <= self._end))

    @property
    def counted(self) -> Floats:
        """Later tokens of each stretch that can come before the end."""
        stretches = self.demand.stretches
        left = self._end - self.demand.arrived[stretches.owner] - stretches.begins
        fitting = np.floor(np.maximum(left, 0.0) / np.maximum(stretches.gap, 1e-300) + TOLERANCE)
        return np.where(self.concerned[stretches.owner], np.minimum(self.goal.counted, fitting), 0.0)

    @property
    def _end(self) -> float:
        return self.most * (1 + TOLERANCE) + TOLERANCE


def certified(question: Question, prices: Prices, ratio: float) -> float:
    """A bound on good tokens per second, from any prices; `ratio`, any number, is what the time after `least` costs.

    With an open end the schedule's own end M is paid for: at `ratio` per second it is worth no more than what the
    certificate subtracts, so that the larger of `ratio` and of the rest per second of `least` is a bound (docs).
    """
    if question.open_end:
        prices = replace(prices, price=np.append(prices.price[:-1], ratio / question.replicas))
    known = len(prices.edges) - 1
    paid = question.replicas * float(np.dot(np.diff(prices.edges), prices.price[:known]))
    bound = (paid + earned(question, prices)) / question.least
    return ROUNDING * (max(bound, ratio) if question.open_end else bound)


def earned(question: Question, prices: Prices) -> float:
    """The most that all requests together can earn less what they pay."""
    demand, goal = question.demand, question.goal
    begin, first_out = demand.arrived, demand.arrived + demand.first_alone
    never = np.full(len(demand), np.inf)
    good = goal.value - demand.first * prices.lowest(begin, goal.first_due)
    good = np.where(question.possible, good, -np.inf)
    late = -demand.first * prices.lowest(begin, never)
    per_later_second = prices.lowest(first_out, np.where(goal.loose, never, goal.later_due))
    late_later = demand.later * prices.lowest(first_out, never)
    tokens = question.counted
    counted = np.bincount(demand.stretches.owner, tokens, len(demand))
    bundle = good - demand.later * per_later_second
    served = counted + np.maximum(bundle, late - late_later)
    piecemeal = np.maximum(good, late) + _by_stretch(question, tokens, per_later_second)
    free = np.maximum(np.where(goal.loose, piecemeal, bundle), 0.0)
    return float(np.where(question.must, served, np.where(question.concerned, free, 0.0)).sum())


def _by_stretch(question: Question, tokens: Floats, price: Floats) -> Floats:
    """What later tokens earn, one by one as long as they are worth their machine time; of each request."""
    stretches = question.demand.stretches
    here = price[stretches.owner]
    whole = (here * stretches.most <= 1) & (tokens == stretches.tokens)
    each = np.maximum(1 - here * stretches.least, 0.0)
    earned = np.where(whole, tokens - here * stretches.seconds, tokens * each)
    return np.bincount(stretches.owner, earned, len(question.demand)).astype(np.float64)
