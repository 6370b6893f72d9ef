"""Who is first in line, and how often others were let pass."""

from __future__ import annotations

from bisect import insort
from operator import attrgetter

from sim.batch import Batch
from sim.request import Phase, Request
from sim.server import Server

_id = attrgetter("id")


class Turns:
    """Counts later arrivals that were admitted before whoever is first, so that nobody starves."""

    def __init__(self, server: Server, most: int) -> None:
        self.server = server
        self.most = most
        self.swapped = sorted(server.swapped, key=_id)
        """Requests that are swapped out, the oldest first."""
        self._passed: dict[Request, int] = {}

    def first(self) -> Request | None:
        """The oldest of those swapped out, or else the first that waits."""
        return self.swapped[0] if self.swapped else next(iter(self.server.waiting), None)

    def may_pass(self) -> bool:
        """Whether later arrivals may still be admitted before the first in line."""
        first = self.first()
        return first is None or self._passed.get(first, 0) < self.most

    def ended(self, batch: Batch) -> None:
        """Notes who returned or passed; who lives with a host took nothing that the first waits for."""
        for request in batch.preempted:
            if request.phase is Phase.SWAPPED:
                insort(self.swapped, request, key=_id)
        for request in batch.resumed:
            self.swapped.remove(request)
        for request in (*batch.resumed, *batch.admitted, *batch.rejected):
            self._passed.pop(request, None)
        if batch.admitted and (first := self.first()):
            passed = sum(request.id > first.id and request not in batch.hosts for request in batch.admitted)
            self._passed[first] = self._passed.get(first, 0) + passed
