"""Waiting queues: first come first served in constant time, or by priority in logarithmic time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, merge
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Any, Protocol

from sortedcontainers import SortedKeyList

from sim.request import Request


class Front:
    """The first of some waiting requests, and how much of their prompts is left, tokens."""

    __slots__ = ("least", "left", "requests")

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.left = [request.prefill_left for request in requests]
        self.least = min(self.left, default=inf)

    def up_to(self, most: float) -> list[Request]:
        """Those that have no more than so many tokens left."""
        if self.least > most:
            return []
        return [request for request, left in zip(self.requests, self.left, strict=True) if left <= most]


class WaitingQueue(Protocol):
    """Requests that wait, in the order in which a scheduler should consider them."""

    version: int
    """Changes whenever the members or their order do."""
    size: int
    """Members."""

    def add(self, request: Request) -> None: ...
    def put_back(self, request: Request) -> None: ...
    def remove(self, request: Request) -> None: ...
    def fronts(self, number: int) -> tuple[Front, ...]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Request]: ...


class ArrivalQueue:
    """Order of arrival, but for preempted requests, which return to the front."""

    def __init__(self) -> None:
        self.version = 0
        self.size = 0
        self._queue: OrderedDict[Request, None] = OrderedDict()
        self._fronts: tuple[tuple[int, int], tuple[Front, ...]] = (-1, 0), ()

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

    def fronts(self, number: int) -> tuple[Front, ...]:
        """The first so many. Kept until somebody comes or goes."""
        if self._fronts[0] != (self.version, number):
            self._fronts = (self.version, number), (Front([*islice(self._queue, number)]),)
        return self._fronts[1]

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        return iter(self._queue)


class Line:
    """Part of a queue, sorted by priority. Its front is kept while only others come and go."""

    def __init__(self) -> None:
        self._sorted = SortedKeyList(key=attrgetter("_key"))
        self._number = 0
        self._front: Front | None = None

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._sorted)

    def add(self, request: Request) -> None:
        self._touch(request)
        self._sorted.add(request)

    def remove(self, request: Request) -> None:
        self._touch(request)
        self._sorted.remove(request)

    def front(self, number: int) -> Front:
        """The first so many."""
        if self._front is None or self._number != number:
            self._number, self._front = number, Front([*islice(self._sorted, number)])
        return self._front

    def reorder(self) -> None:
        """Sorts anew, for keys have changed: O(n log n)."""
        self._front = None
        self._sorted = SortedKeyList(self._sorted, key=attrgetter("_key"))

    def _touch(self, request: Request) -> None:
        """Forgets the front if the request comes before its end."""
        front = self._front
        if front and (len(front.requests) < self._number or request._key <= front.requests[-1]._key):
            self._front = None


class PriorityQueue:
    """Order of (priority, arrival). Requests whose deadline has passed are kept apart, as ``overdue``.

    ``priority`` and ``deadline`` are the scheduler's; ``fresh`` and ``overdue`` are each sorted by priority.
    """

    def __init__(self, priority: Callable[[Request], Any], deadline: Callable[[Request], float]) -> None:
        self.version = 0
        self.size = 0
        self._priority = priority
        self._deadline = deadline
        self.fresh = Line()
        self.overdue = Line()
        self._deadlines: list[tuple[float, int, Request]] = []
        self._fresh_until: dict[Request, float] = {}

    def add(self, request: Request) -> None:
        """Takes a request in O(log n)."""
        self.version += 1
        self.size += 1
        request._key = (self._priority(request), request.id)
        deadline = self._deadline(request)
        self._fresh_until[request] = deadline
        self.fresh.add(request)
        if deadline != inf:
            heappush(self._deadlines, (deadline, request.id, request))

    def put_back(self, request: Request) -> None:
        """Takes a preempted request: its priority decides its place."""
        self.add(request)

    def remove(self, request: Request) -> None:
        """Gives a request up in O(log n)."""
        self.version += 1
        self.size -= 1
        fresh = self._fresh_until.pop(request, None) is not None
        (self.fresh if fresh else self.overdue).remove(request)

    def fronts(self, number: int) -> tuple[Front, ...]:
        """The first so many overdue, and of the others."""
        return self.overdue.front(number), self.fresh.front(number)

    def expire(self, now: float) -> None:
        """Moves the requests whose deadline lies before ``now`` to ``overdue``."""
        while self._deadlines and self._deadlines[0][0] < now:
            deadline, _, request = heappop(self._deadlines)
            if self._fresh_until.get(request) == deadline:
                self.version += 1
                del self._fresh_until[request]
                self.fresh.remove(request)
                self.overdue.add(request)

    @property
    def next_expiry(self) -> float:
        """A time before which no deadline passes, seconds."""
        return self._deadlines[0][0] if self._deadlines else inf

    def reorder(self) -> None:
        """Asks every priority anew: O(n log n)."""
        self.version += 1
        for part in (self.fresh, self.overdue):
            for request in part:
                request._key = (self._priority(request), request.id)
            part.reorder()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Request]:
        return iter(self.fresh) if not self.overdue else merge(self.overdue, self.fresh, key=attrgetter("_key"))
