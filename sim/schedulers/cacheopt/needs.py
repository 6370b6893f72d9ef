"""What requests need of the cache by what is assumed of their outputs: for all, at least, and of a host."""

from __future__ import annotations

from functools import cached_property
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.request import Request
from sim.schedulers.cacheopt.embedding import room_needed
from sim.schedulers.cacheopt.eviction import crossover
from sim.schedulers.cacheopt.lengths import Lengths
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.policy import CacheOpt


class Need(NamedTuple):
    """What a waiting request asks for."""

    blocks: int
    """For all that it is assumed to hold."""
    least: int
    """Blocks of the minimum: prompt and B (stated), or all if that is less."""
    room: int
    """Tokens that a host must have allocated and not used."""


class Needs:
    """The needs of those who wait on one server, settled when they begin to wait, and what is the same for all."""

    def __init__(self, policy: CacheOpt, server: Server, lengths: Lengths) -> None:
        self.policy = policy
        self.server = server
        self.lengths = lengths
        self._needs: dict[Request, Need] = {}
        self._front: tuple[int, list[tuple[Request, int]]] = (-1, [])

    @cached_property
    def kept(self) -> int:
        """Blocks that newcomers leave free."""
        return max(int(self.policy.watermark * self.server.total_blocks), self.policy.reserve_blocks)

    @cached_property
    def chunk(self) -> int:
        """B in tokens."""
        return self.policy.chunk or self.server.block_size

    @cached_property
    def sweet_spot(self) -> float:
        """Context length from which on victims are swapped, tokens."""
        if self.policy.preemption != "crossover":
            return inf if self.policy.preemption == "recompute" else 0.0
        return crossover(self.server.cost_model, self.server.total_blocks * self.server.block_size)

    def of(self, request: Request) -> Need:
        """Of a waiting request; a chunk more than it has where it outlived what was assumed."""
        return self._needs.get(request) or self._settled(request)

    def add(self, request: Request) -> None:
        """It begins to wait."""
        self._needs[request] = self._settled(request)

    def remove(self, request: Request) -> Need:
        """It waits no more."""
        return self._needs.pop(request)

    def _settled(self, request: Request) -> Need:
        known, size = request.known_tokens, self.server.block_size
        if self.policy.allocation == "prompt":
            return Need(-(-known // size), -(-known // size), 1 << 62)
        left = self.lengths.left(request)
        output = left if left > 0 else self.chunk
        blocks, least = -(-(known + output) // size), -(-(known + min(output, self.chunk)) // size)
        return Need(blocks, least, room_needed(blocks, size, output, self.policy.buffer))

    def front(self) -> list[tuple[Request, int]]:
        """The first who wait, behind the very first, and what a host must have to spare for each. Kept until somebody
        leaves the line; arrivals join at its end."""
        waiting, size = self.server.waiting, self.policy.candidates + 1
        key = waiting.version - self.server.history.arrivals
        if key != self._front[0] or len(self._front[1]) < size:
            self._front = key, [(request, self.of(request).room) for request in islice(waiting, size)]
        return self._front[1]
