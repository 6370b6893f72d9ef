"""Waiting queues: first come first served in constant time, or by priority in a sorted list."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, merge
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Any, Protocol

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
        self._entries: list[tuple[Any, int, Request]] = []
        """Priority, id and request. Up to ten thousand, a list of them is quicker than a tree, though it is shifted."""
        self._number = 0
        self._front: Front | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Request]:
        return (request for _, _, request in self._entries)

    def add(self, request: Request) -> None:
        place = bisect_left(self._entries, request._key)
        self._entries.insert(place, (*request._key, request))
        if place < self._number:
            self._front = None

    def remove(self, request: Request) -> None:
        place = bisect_left(self._entries, request._key)
        if self._entries[place : place + 1] != [(*request._key, request)]:
            raise KeyError(request)
        del self._entries[place]
        if place < self._number:
            self._front = None

    def front(self, number: int) -> Front:
        """The first so many."""
        if self._front is None or self._number != number:
            self._number, self._front = number, Front([request for _, _, request in self._entries[:number]])
        return self._front

    def reorder(self) -> None:
        """Sorts anew, for keys have changed: O(n log n)."""
        self._entries = sorted((*request._key, request) for request in self)
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
        """Takes a request, in O(log n) comparisons."""
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
        """Gives a request up, in O(log n) comparisons."""
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
