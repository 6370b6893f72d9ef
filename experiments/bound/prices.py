"""Windows of time, each with a price for machine time: what the certificate is made with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiments.bound.demand import Floats, Integers


@dataclass(frozen=True, eq=False)
class Prices:
    """Windows from one edge to the next and, if there is one price more than these, from the last edge on."""

    edges: Floats
    """Seconds after the first arrival, from 0, ascending."""
    price: Floats
    """Good tokens (or requests) that a second of machine time is worth, nought or more."""

    def first_window(self, begin: Floats) -> Integers:
        """The window in which a time is."""
        return np.clip(np.searchsorted(self.edges, begin, side="right") - 1, 0, len(self.price) - 1)

    def last_window(self, begin: Floats, end: Floats) -> Integers:
        """The last window that begins before `end`, but at least that of `begin`."""
        last = np.minimum(np.searchsorted(self.edges, end, side="left") - 1, len(self.price) - 1)
        return np.maximum(last, self.first_window(begin))

    def lowest(self, begin: Floats, end: Floats) -> Floats:
        """The lowest price between two times, for each row."""
        first, last = self.first_window(begin), self.last_window(begin, end)
        level = np.frexp(last - first + 1)[1] - 1
        return np.asarray(np.minimum(self._lowest[level, first], self._lowest[level, last - (1 << level) + 1]))

    @cached_property
    def _lowest(self) -> Floats:
        """Row n: the lowest of the 2^n prices from each window on."""
        rows = [self.price]
        while 1 << len(rows) <= len(self.price):
            ahead = np.append(rows[-1][1 << (len(rows) - 1) :], np.full(1 << (len(rows) - 1), np.inf))
            rows.append(np.minimum(rows[-1], ahead))
        return np.array(rows)
