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
    from sim.schedulers.cacheopt.deadlines import Deadlines
    from sim.schedulers.cacheopt.policy import CacheOpt


class Need(NamedTuple):
    """What a waiting request asks for."""

    blocks: int
    """For all that it is assumed to hold."""
    least: int
    """Blocks of the minimum: prompt and B (stated), or all if that is less."""
    room: int
    """Tokens that a host must have allocated and not used."""


class Front(NamedTuple):
    """The first who wait, and what a host must have to spare for each, tokens."""

    least: int
    """For any of them."""
    rooms: list[tuple[Request, int]]


class Needs:
    """The needs of those who wait on one server, settled when they begin to wait, and what is the same for all."""

    def __init__(self, policy: CacheOpt, server: Server, lengths: Lengths) -> None:
        self.policy = policy
        self.server = server
        self.lengths = lengths
        self._needs: dict[Request, Need] = {}
        self._front: tuple[int, Front] = (-1, Front(0, []))
        self._smallest = (-1, 0, 0)

    @cached_property
    def kept(self) -> int:
        """Blocks that newcomers leave free."""
        return max(int(self.policy.watermark * self.server.total_blocks), self.policy.reserve_blocks)

    @cached_property
    def budget(self) -> int:
        """Tokens of a batch of prompts."""
        return self.policy.max_num_batched_tokens or (512 if self.policy.chunked_prefill else 1 << 62)

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
        need = self._needs.get(request)
        if need is None:
            need = self._needs[request] = self._settled(request)
        return need

    def forget(self, request: Request) -> None:
        """It waits no more."""
        self._needs.pop(request, None)

    def _settled(self, request: Request) -> Need:
        known, size = request.known_tokens, self.server.block_size
        if self.policy.allocation == "prompt":
            return Need(-(-known // size), -(-known // size), 1 << 62)
        left = self.lengths.left(request)
        output = left if left > 0 else self.chunk
        blocks, least = -(-(known + output) // size), -(-(known + min(output, self.chunk)) // size)
        return Need(blocks, least, room_needed(blocks, size, output, self.policy.buffer))

    def smallest(self, deadlines: Deadlines) -> tuple[int, int]:
        """The fewest blocks and the least room that any of the first by deadline asks for."""
        if self._smallest[0] != deadlines.version:
            needs = [self.of(request) for request in deadlines.first()]
            blocks = min((need.least for need in needs), default=0)
            self._smallest = deadlines.version, blocks, min((need.room for need in needs), default=0)
        return self._smallest[1:]

    def front(self) -> Front:
        """Kept until somebody leaves the line; arrivals join at its end."""
        waiting, size = self.server.waiting, self.policy.candidates + 1
        key = waiting.version - self.server.history.arrivals
        if key != self._front[0] or len(self._front[1].rooms) < size:
            known, of = self._needs.get, self.of
            rooms = [(request, (known(request) or of(request)).room) for request in islice(waiting, size)]
            self._front = key, Front(min((room for _, room in rooms), default=0), rooms)
        return self._front[1]
