"""The waiting requests as columns, so that a clairvoyant policy looks at all of them in a few array operations."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np
from numpy.typing import NDArray

from sim.request import Request
from sim.schedulers.clairvoyance.plan import Plan

Rows = NDArray[np.int64]

KNOWN, STEPS = range(2)
"""Rows of ``Line.counts``."""
TTFT, JCT = range(2)
"""Rows of ``Line.dues``."""
FEW = 6
"""So many rows are looked at one by one, which takes less time."""


class Line:
    """Who waits, in no order.

    ``counts``: tokens known, and steps to the end. ``dues``: the moments by which the first and the last token are
    due, seconds.
    """

    def __init__(self) -> None:
        self.size = 0
        self.requests: list[Request] = []
        self.counts: Rows = np.zeros((2, 64), np.int64)
        self.dues: NDArray[np.float64] = np.zeros((2, 64))
        self._rows: dict[Request, int] = {}

    def add(self, request: Request, plan: Plan) -> None:
        """Takes a request, in constant time."""
        row = self.size
        if row == self.counts.shape[1]:
            self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)], axis=1)
            self.dues = np.concatenate([self.dues, np.zeros_like(self.dues)], axis=1)
        arrived_at, slo = request.arrived_at, request.slo
        self.counts[KNOWN, row], self.counts[STEPS, row] = request.known_tokens, plan.steps(request)
        self.dues[TTFT, row], self.dues[JCT, row] = arrived_at + slo.ttft, arrived_at + slo.jct
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

    def these(self, plan: Plan, requests: Iterable[Request]) -> list[int]:
        """The rows of those of some requests whom the plan holds, each alone, if its prompt is computed at once."""
        return [row for row in map(self.row, requests) if self.fits(plan, row)]

    def fits(self, plan: Plan, row: int, tokens: float = inf) -> bool:
        """Whether the plan holds one if an iteration has so many prompt tokens for it."""
        known, steps = self.counts[:, row].tolist()
        return plan.holds(known, steps, known <= tokens)

    def fitting(self, plan: Plan, rows: Rows | None = None) -> Rows:
        """Those of some rows (or of all) whom the plan holds, each alone, if its prompt is computed at once.

        Most are out of the question where there is least room, so that is asked first.
        """
        known, steps = self.counts[:, slice(self.size) if rows is None else rows]
        tightest, most = plan.bottleneck()
        near: Rows = ((known <= most) | (steps <= tightest)).nonzero()[0]
        found = near if rows is None else rows[near]
        if not len(near):
            return near
        if len(near) <= FEW:
            return np.array([row for row in found.tolist() if self.fits(plan, row)], np.int64)
        return found[plan.hold(known[near], steps[near])]

    def within(self, plan: Plan, rows: Rows, tokens: int) -> Rows:
        """Those of some fitting rows whom the plan holds, too, if an iteration has so many prompt tokens for each."""
        known, steps = self.counts[:, rows]
        kept: Rows = rows[(known <= tokens) | (known + steps - 1 <= plan.always)]
        return kept
