"""The events of a result, request by request in the order of time, with their places in a course."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.attribution.course import Course
from sim.result import RunResult
from sim.tokens import Booleans, Integers
from traces.errors import SlosimError

NEVER = int(np.iinfo(np.int64).max)
"""A place beyond all."""


@dataclass(frozen=True, eq=False)
class Events:
    """Chunks, admissions and evictions, one row each; see `RunResult.events`."""

    request: Integers
    place: Integers
    tokens: Integers
    blocks: Integers

    @classmethod
    def of(cls, result: RunResult, course: Course) -> Events:
        """Of a result; raises SlosimError if it has none because an older slosim wrote it."""
        if not result.events:
            raise SlosimError(
                f"{result!r} does not say when prompts were computed, so delays have no causes: run it anew"
            )
        columns = {name: np.asarray(column, np.int64) for name, column in result.events.items()}
        return cls(columns["request"], course.place[columns["iteration"]], columns["tokens"], columns["blocks"])

    @property
    def computed(self) -> Booleans:
        """Which are chunks."""
        return np.asarray(self.tokens > 0)

    @property
    def dropped(self) -> Booleans:
        """Which lost a cache."""
        return np.asarray(self.tokens < 0)

    @property
    def swapped_out(self) -> Booleans:
        """Which moved a cache to the host."""
        return np.asarray(self.tokens == 0)

    def latest(self, chosen: Booleans, requests: int) -> Integers:
        """The last chosen row (a mask) of each request, -1 without one."""
        rows = np.flatnonzero(chosen)
        found = np.full(requests, -1)
        found[self.request[rows]] = rows
        return found

    def evicted_after(self, request: Integers, place: Integers) -> Integers:
        """Where each request is first evicted after a place; ``NEVER`` without an eviction."""
        rows = np.flatnonzero(self.tokens <= 0)
        if not len(rows):
            return np.full(len(request), NEVER)
        width = int(max(self.place.max(), place.max(initial=0))) + 2
        found = np.searchsorted(self.request[rows] * width + self.place[rows], request * width + place, side="right")
        row = rows[np.minimum(found, len(rows) - 1)]
        return np.where((self.request[row] == request) & (self.place[row] > place), self.place[row], NEVER)
