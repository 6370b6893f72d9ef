"""Who is critical (CacheOPT section 3.3.2): whose SLO breaks if it waits an iteration more."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from sim.request import Request
from sim.schedulers.accelgen.slack import deadline
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.policy import CacheOpt


class Deadlines:
    """Waiting requests in a line sorted by deadline (seconds), then id; those without an SLO are not in it."""

    def __init__(self, policy: CacheOpt, server: Server) -> None:
        self.policy = policy
        self.server = server
        self._line: list[tuple[float, int, Request]] = []
        self._at: dict[Request, float] = {}
        self.version = 0
        """Changes whenever the first ``candidates`` do."""
        self._loosest: tuple[int, float] = (-1, inf)

    @property
    def window(self) -> float:
        """Seconds to its deadline within which a request is critical: the longest iteration so far (stated), and
        ``urgency`` times more."""
        return (1 + self.policy.urgency) * self.server.history.longest_iteration

    # -- of those who run ----------------------------------------------------------------------------------------------

    def critical(self, request: Request) -> bool:
        """Whether a request is: by the remaining time to its next token, or to its end."""
        return deadline(request) - self.server.now <= self.window

    @property
    def tight(self) -> bool:
        """Whether the window is so long that whoever runs is critical at any time."""
        server, pool = self.server, self.server.pool
        if self._loosest[0] != pool.version:
            slos = [request.slo for request in pool]
            self._loosest = pool.version, max([inf if slo.jct < inf else slo.tbt for slo in slos], default=0.0)
        return self._loosest[1] <= self.window and not server.paused and not server.prefilling

    @property
    def pliable(self) -> bool:
        """Whether a decode could be preempted for a critical newcomer, being not critical itself."""
        return self.policy.critical_preempts and not self.tight

    # -- of those who wait ---------------------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """It begins to wait; its deadline stands until it does not any more."""
        if (at := deadline(request)) < inf:
            self._at[request] = at
            place = bisect_left(self._line, (at, request.id))
            self._line.insert(place, (at, request.id, request))
            self.version += place < self.policy.candidates

    def remove(self, request: Request) -> None:
        """It waits no more."""
        if (at := self._at.pop(request, None)) is not None:
            place = bisect_left(self._line, (at, request.id))
            del self._line[place]
            self.version += place < self.policy.candidates

    def first(self) -> list[Request]:
        """The first ``candidates``, critical or not."""
        return [request for _, _, request in self._line[: self.policy.candidates]]

    def of(self, request: Request) -> float:
        """Seconds; infinity without an SLO."""
        return self._at.get(request, inf)

    def near(self) -> Iterator[Request]:
        """The critical ones, the earliest deadline first; with those whose SLO is broken already only if ``late``."""
        line, now, window = self._line, self.server.now, self.window
        for number in range(0 if self.policy.late else bisect_left(line, (now,)), len(line)):
            at, _, request = line[number]
            if at - window > now:
                break
            yield request

    def next_near(self) -> float:
        """When the next of them comes within the window, seconds; by the same arithmetic as ``near``."""
        line, now, window = self._line, self.server.now, self.window
        number = bisect_right(line, (now + window, inf))
        while number and line[number - 1][0] - window > now:
            number -= 1
        while number < len(line) and line[number][0] - window <= now:
            number += 1
        return line[number][0] - window if number < len(line) else inf
