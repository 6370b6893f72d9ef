"""The linear programme that finds prices: the best fractional schedule of the relaxation, and what its windows cost.

Variables are the shares of requests that are served in time or some time, and when their machine time is spent. The
ratio of good tokens to the time until the end becomes linear by Charnes and Cooper's transform: everything is measured
in units of `opened`, the part that the time until the last edge has in all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.bound.certificate import Question
from experiments.bound.demand import Floats, Integers
from experiments.bound.prices import Prices

SAMPLE = 4000
"""Requests in a programme, at most; of more, every second, third, ... stands for its neighbours."""
SECONDS = 20.0
"""After which the solver gives up; the bound is then a loose one."""


def solved(question: Question, edges: Floats) -> tuple[Prices, float]:
    """Prices of the windows between these edges (and after them, with an open end), and the ratio that they go with.

    Without a solution all prices are nought.
    """
    from scipy.optimize import linprog

    blank = Prices(edges, np.zeros(len(edges) - 1 + question.open_end))
    made = Programme(question, blank)
    value = made.build()
    columns = len(value)
    found = linprog(
        -value,
        A_ub=made.limits.matrix(columns),
        b_ub=np.zeros(made.limits.number),
        A_eq=made.equations.matrix(columns),
        b_eq=np.eye(1, made.equations.number)[0],
        method="highs-ds",
        options={"time_limit": SECONDS},
    )
    if found.status != 0:
        return blank, 0.0
    return Prices(edges, np.maximum(-found.ineqlin.marginals[made.capacity], 0.0)), -float(found.fun) / question.least


@dataclass
class Rows:
    """Rows of a sparse matrix in the making; or its columns, which have no entries."""

    entries: list[tuple[Any, ...]] = field(default_factory=list)
    number: int = 0

    def new(self, number: int) -> Integers:
        """So many more rows."""
        self.number += number
        return np.arange(self.number - number, self.number)

    def add(self, row: Any, column: Any, value: Any) -> None:
        """Entries; those in the same place add up."""
        self.entries.append(tuple(np.ravel(part) for part in np.broadcast_arrays(row, column, value)))

    def matrix(self, columns: int) -> Any:
        """As scipy takes it."""
        from scipy.sparse import csr_array

        row, column, value = (np.concatenate(parts) for parts in zip(*self.entries, strict=True))
        return csr_array((value.astype(np.float64), (row, column)), shape=(self.number, columns))


@dataclass
class Programme:
    """Equations (the first is 1, all others 0), limits (at most 0), and what each variable is worth."""

    question: Question
    blank: Prices
    variables: Rows = field(default_factory=Rows)
    equations: Rows = field(default_factory=Rows)
    limits: Rows = field(default_factory=Rows)
    capacity: Any = None
    """The limits that are the windows'."""
    pool: Any = None
    """The equations of work that waits until some window does it."""

    def build(self) -> Floats:
        """Fills in everything; returns the values."""
        question, demand, goal = self.question, self.question.demand, self.question.goal
        step = -(-len(demand) // SAMPLE)
        sampled = np.arange(len(demand)) % step == 0
        timely = np.flatnonzero(sampled & question.possible)
        some_time = np.flatnonzero(sampled & (question.must | (goal.loose & question.concerned)))
        opened = self._time()
        in_time, any_time = self.variables.new(len(timely)), self.variables.new(len(some_time))
        never, first_out = np.full(len(demand), np.inf), demand.arrived + demand.first_alone
        later_due = np.where(goal.loose, never, goal.later_due)
        for variables, who, work, begin, due in (
            (in_time, timely, demand.first, demand.arrived, goal.first_due),
            (in_time, timely, demand.later, first_out, later_due),
            (any_time, some_time, demand.first, demand.arrived, never),
            (any_time, some_time, demand.later, first_out, never),
        ):
            self._work(variables, step * work[who], begin[who], due[who])
        shares = ((timely, in_time), (some_time, any_time))
        self._choose(self.equations, np.flatnonzero(sampled & question.must), shares, opened)
        self._choose(self.limits, np.flatnonzero(sampled & ~question.must), shares, opened)
        counted = np.bincount(demand.stretches.owner, question.counted, len(demand))
        value = np.zeros(self.variables.number)
        value[in_time] = step * (goal.value + counted)[timely]
        value[any_time] = step * counted[some_time]
        return value

    def _time(self) -> Integers:
        """The end, the windows' capacity, and the pool: what comes into it is used, or carried to the next window."""
        question, edges, windows = self.question, self.blank.edges, len(self.blank.price)
        opened, tail = self.variables.new(1), self.variables.new(int(question.open_end))
        used, carried = self.variables.new(windows), self.variables.new(windows - 1)
        whole = self.equations.new(1)
        self.equations.add(whole, opened, 1.0)
        self.equations.add(whole, tail, 1.0 / question.least)
        self.pool = self.equations.new(windows)
        self.equations.add(self.pool, used, -1.0)
        self.equations.add(self.pool[:-1], carried, -1.0)
        self.equations.add(self.pool[1:], carried, 1.0)
        self.capacity = self.limits.new(windows)
        self.limits.add(self.capacity, used, 1.0)
        self.limits.add(self.capacity[: len(edges) - 1], opened, -question.replicas * np.diff(edges))
        self.limits.add(self.capacity[len(edges) - 1 :], tail, -float(question.replicas))
        return opened

    def _work(self, variables: Integers, work: Floats, begin: Floats, due: Floats) -> None:
        """Work that is done between two times: through the pool if there is no due time, else window by window."""
        first, last = self.blank.first_window(begin), self.blank.last_window(begin, due)
        free = last == len(self.blank.price) - 1
        self.equations.add(self.pool[first[free]], variables[free], work[free])
        first, number = first[~free], (last - first + 1)[~free]
        part = np.repeat(np.arange(len(first)), number)
        window = np.arange(len(part)) - (np.cumsum(number) - number)[part] + first[part]
        done, conserved = self.variables.new(len(part)), self.equations.new(len(first))
        self.equations.add(conserved[part], done, 1.0)
        self.equations.add(conserved, variables[~free], -work[~free])
        self.limits.add(self.capacity[window], done, 1.0)

    def _choose(self, rows: Rows, who: Integers, shares: Any, opened: Integers) -> None:
        """The shares of a request are no more than all of it; or just that, in equations."""
        choice = np.full(len(self.question.demand), -1)
        choice[who] = rows.new(len(who))
        for owner, variables in shares:
            mine = choice[owner] >= 0
            rows.add(choice[owner[mine]], variables[mine], 1.0)
        rows.add(choice[who], opened, -1.0)
