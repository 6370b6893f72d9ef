"""Waiting queues: first come first served in constant time, or by priority in logarithmic time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, merge
from operator import attrgetter
from typing import Any, Protocol

from sortedcontainers import SortedKeyList

from sim.request import Request


class WaitingQueue(Protocol):
    """Requests that wait, in the order in which a scheduler should consider them."""

    version: int
    """Changes whenever the members or their order do."""
    size: int
    """Members."""

    def add(self, request: Request) -> None: ...
    def put_back(self, request: Request) -> None: ...
    def remove(self, request: Request) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Request]: ...


class ArrivalQueue:
    """Order of arrival, but for preempted requests, which return to the front."""

    def __init__(self) -> None:
        self.version = 0
        self.size = 0
        self._queue: OrderedDict[Request, None] = OrderedDict()

    def add(self, request: Request) -> None:
        """Takes a new request, at the back."""
        self.version += 1
        self.size += 1
        self._queue[request] = None

    def put_back(self, request: Request) -> None:
        """Takes a preempted request, at the front, as the real engines do."""
        self.version += 1
        self.size += 1
        self._queue[request] = None
        self._queue.move_to_end(request, last=False)

    def remove(self, request: Request) -> None:
        """Gives a request up."""
        self.version += 1
        self.size -= 1
        del self._queue[request]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        return iter(self._queue)


class PriorityQueue:
    """Order of (priority, arrival). Requests whose deadline has passed are kept apart, as ``overdue``.

    ``priority`` and ``deadline`` are the scheduler's; ``fresh`` and ``overdue`` are each sorted by priority.
    """

    def __init__(self, priority: Callable[[Request], Any], deadline: Callable[[Request], float]) -> None:
        self.version = 0
        self.size = 0
        self._priority = priority
        self._deadline = deadline
        self.fresh: SortedKeyList = SortedKeyList(key=attrgetter("_key"))
        self.overdue: SortedKeyList = SortedKeyList(key=attrgetter("_key"))
        self._deadlines: list[tuple[float, int, Request]] = []
        self._waiting_until: dict[Request, float] = {}

    def add(self, request: Request) -> None:
        """Takes a request in O(log n)."""
        self.version += 1
        self.size += 1
        request._key = (self._priority(request), request.id)
        deadline = self._deadline(request)
        self._waiting_until[request] = deadline
        self.fresh.add(request)
        if deadline != float("inf"):
            heappush(self._deadlines, (deadline, request.id, request))

    def put_back(self, request: Request) -> None:
        """Takes a preempted request: its priority decides its place."""
        self.add(request)

    def remove(self, request: Request) -> None:
        """Gives a request up in O(log n)."""
        self.version += 1
        self.size -= 1
        del self._waiting_until[request]
        (self.fresh if request in self.fresh else self.overdue).remove(request)

    def expire(self, now: float) -> None:
        """Moves the requests whose deadline lies before ``now`` to ``overdue``."""
        while self._deadlines and self._deadlines[0][0] < now:
            deadline, _, request = heappop(self._deadlines)
            if self._waiting_until.get(request) == deadline and request in self.fresh:
                self.version += 1
                self.fresh.remove(request)
                self.overdue.add(request)

    def reorder(self) -> None:
        """Asks every priority anew: O(n log n)."""
        self.version += 1
        for part in (self.fresh, self.overdue):
            members = list(part)
            part.clear()
            for request in members:
                request._key = (self._priority(request), request.id)
            part.update(members)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        return iter(self.fresh) if not self.overdue else merge(self.overdue, self.fresh, key=attrgetter("_key"))
