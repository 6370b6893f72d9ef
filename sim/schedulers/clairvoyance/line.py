"""The waiting requests as columns, so that a clairvoyant policy looks at all of them in a few array operations."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from sim.request import Request
from sim.schedulers.clairvoyance.plan import Plan

Rows = NDArray[np.int64]

KNOWN, STEPS, FIRST, LAST = range(4)
"""Rows of ``Line.counts``."""
TTFT, JCT = range(2)
"""Rows of ``Line.dues``."""
SLICE = 64
"""Rows looked at together, where a few are sought."""


class Line:
    """Who waits, in no order.

    ``counts``: tokens known, steps to the end, blocks held in the first and in the last of them. ``dues``: the moments
    by which the first and the last token are due, seconds.
    """

    def __init__(self, plan: Plan) -> None:
        self.size = 0
        self.table = plan.table
        self.requests: list[Request] = []
        self.counts: Rows = np.zeros((4, 64), np.int64)
        self.dues: NDArray[np.float64] = np.zeros((2, 64))
        self._rows: dict[Request, int] = {}

    def add(self, request: Request, plan: Plan) -> None:
        """Takes a request, in constant time."""
        row = self.size
        if row == self.counts.shape[1]:
            self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)], axis=1)
            self.dues = np.concatenate([self.dues, np.zeros_like(self.dues)], axis=1)
        known, steps = request.known_tokens, plan.steps(request)
        self.counts[:, row] = known, steps, plan.table[known], plan.table[known + steps - 1]
        self.dues[:, row] = request.arrived_at + request.slo.ttft, request.arrived_at + request.slo.jct
        self._rows[request] = row
        self.requests.append(request)
        self.size += 1

    def remove(self, request: Request) -> None:
        """Gives a request up; the last one takes its row."""
        row, last = self._rows.pop(request), self.requests.pop()
        self.size -= 1
        if last is not request:
            self.requests[row] = last
            self._rows[last] = row
            self.counts[:, row] = self.counts[:, self.size]
            self.dues[:, row] = self.dues[:, self.size]

    def row(self, request: Request) -> int:
        """Where it stands."""
        return self._rows[request]

    def fits(self, plan: Plan, row: int, tokens: float = inf) -> bool:
        """Whether the plan holds one if an iteration has so many prompt tokens for it."""
        known, steps = self.counts[: STEPS + 1, row].tolist()
        return plan.holds(known, steps, known <= tokens)

    def hopeful(self, plan: Plan, rows: Rows | None = None, tokens: float = inf) -> Rows:
        """Those of some rows (or of all) whom the plan may hold, if an iteration has so many prompt tokens for each:
        at the end of each, and where there is least room, it does."""
        known, steps, first, last = self.counts[:, slice(self.size) if rows is None else rows]
        now_free, tops = plan.free(1)[0], plan.tops()
        tightest, least = tops.tightest - plan.now, tops.least
        kept = (first <= now_free) & ((last <= least) | (known <= tokens))
        kept &= (self.table[known + np.minimum(tightest, steps - 1)] <= least) | (steps <= tightest)
        hopeful: Rows = kept.nonzero()[0] if rows is None else rows[kept]
        return hopeful

    def fitting(self, plan: Plan, rows: Rows) -> Rows:
        """Those of some hopeful rows whom the plan holds, each alone."""
        if not len(rows):
            return rows
        steps, last = self.counts[STEPS][rows], self.counts[LAST][rows]
        tops, room, _, least = plan.tops()
        rows = rows[(last <= least) | (last <= plan.free(int(steps.max()))[steps - 1])]
        return rows[(self.needs(rows, tops - plan.now) <= room).all(axis=1)]

    def first_fitting(self, plan: Plan, rows: Rows, number: int) -> tuple[Rows, Rows]:
        """The first hopeful rows whom the plan holds, each alone, up to so many; and the rows after them."""
        found = rows[:0]
        while len(rows) and len(found) < number:
            some, rows = rows[:SLICE], rows[SLICE:]
            found = np.concatenate([found, self.fitting(plan, some)])
        return found[:number], np.concatenate([found[number:], rows])

    def needs(self, rows: Rows, steps: Rows) -> Rows:
        """Blocks that some rows would hold at some steps, [row, step], if all started at once."""
        known, last = self.counts[KNOWN][rows][:, None], self.counts[STEPS][rows][:, None] - 1
        return np.where(steps <= last, self.table[known + np.minimum(steps, last)], 0)
