"""When a decision of CacheOPT need not be made anew: all decode, and nobody else can."""

from __future__ import annotations

from itertools import islice, repeat
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.batch import Batch
from sim.request import Request

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.allocator import Allocator
    from sim.server import Server


class Quiet(NamedTuple):
    """A state in which everybody decodes and nobody else can, and how it may end without anybody leaving.

    Who was not admitted will not be: what is free, and what hosts have to spare, only shrinks. By the clock, requests
    become critical.
    """

    versions: tuple[int, int, int]
    """Of queue and pool, and requests finished."""
    arrivals: int
    steps: int
    until: float
    """Seconds."""
    largest: int
    """The most that a host had to spare then, tokens; a step more, a token less."""
    least_free: int

    @classmethod
    def after(cls, bound: Allocator, batch: Batch) -> Quiet | None:
        """What follows a decision: nothing if the next may differ."""
        server, policy = bound.server, bound.policy
        if not batch.everyone or batch.changes or batch.prefills or server.paused or server.prefilling:
            return None
        until, largest = inf, 0
        if server.waiting.size:
            largest = bound.hosts().largest if policy.embedding else 0
            if policy.critical_first:
                if not _no_longer(server):
                    return None
                until = bound.deadlines.next_near()
        arrivals, steps = server.history.arrivals, server.pool.steps
        return cls(_versions(server), arrivals, steps, until, largest, batch.least_free)

    def still(self, bound: Allocator) -> Quiet | None:
        """The same as of now, if it is as quiet as before; requests may have arrived that cannot start now either."""
        server = bound.server
        arrivals = server.history.arrivals
        new, (version, *others) = arrivals - self.arrivals, _versions(server)
        if (version - new, *others) != self.versions or server.now >= self.until:
            return None
        if server.pool.blocks_needed + self.least_free > server.free_blocks:
            return None
        if not new:
            return self
        if server.waiting.size == new or new > len(bound.latest):
            return None
        places = range(server.waiting.size, 0, -1)
        until = min(map(self._hopeless_until, islice(reversed(bound.latest), new), places, repeat(bound)))
        if until <= server.now:
            return None
        return self._replace(versions=_versions(server), arrivals=arrivals, until=min(until, self.until))

    def room(self, bound: Allocator) -> float:
        """Newcomers with longer prompts than this (tokens) cannot start: they find no host, nor the least that the
        critical need; nobody else goes before the first in line."""
        policy, server = bound.policy, bound.server
        if policy.critical_first:
            free = max(0, server.free_blocks - bound.needs.kept) * server.block_size
            return inf if bound.deadlines.pliable else max(free, self.largest)
        return 0 if server.waiting.size > policy.candidates else self.largest

    def _hopeless_until(self, request: Request, place: int, bound: Allocator) -> float:
        """Until when a new request at this place in line, from 1, cannot start by what is known; seconds."""
        policy, server, need = bound.policy, bound.server, bound.needs.of(request)
        largest = self.largest - (server.pool.steps - self.steps)
        if need.room <= largest and place <= policy.candidates + 1:
            return -inf
        at = bound.deadlines.of(request)
        if at - bound.deadlines.window > server.now:
            return at - bound.deadlines.window
        if at == inf or (at < server.now and not policy.late):
            return inf
        room = server.free_blocks - bound.needs.kept
        return -inf if bound.deadlines.pliable or need.room <= largest or need.least <= room else inf


def _versions(server: Server) -> tuple[int, int, int]:
    return server.waiting.version, server.pool.version, server.history.finished


def _no_longer(server: Server) -> bool:
    """Whether no decode step to come is the longest iteration so far."""
    if server.decode_line is None:
        return False
    fixed, slope = server.decode_line(server.pool.size)
    return bool(fixed + slope * server.total_blocks * server.block_size <= server.history.longest_iteration)
