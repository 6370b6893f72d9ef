"""Blocks that do not simply come and go with their request: taken ahead, lent to a guest, or given back late."""

from __future__ import annotations

from sim.request import Request
from sim.server import Server


class Memory(Server):
    """A server whose blocks can be reserved, lent and returned late."""

    def _extend(self, request: Request, blocks: int, host: Request | None) -> None:
        """Blocks beyond those that this iteration fills, lent by ``host`` if there is one."""
        decodes = self.decodes_now and request in self.pool
        due = self.blocks_for(request.kv_tokens + 1) - request.blocks if decodes else 0
        self._resize(request, max(due, 0) + blocks)
        if host is None:
            self.free_blocks -= blocks
        else:
            self._lend(host, request, blocks)

    def _lend(self, host: Request, guest: Request, blocks: int) -> None:
        self.hosts[guest] = host, blocks
        self._resize(host, -blocks)

    def _resize(self, request: Request, by: int) -> None:
        if request in self.pool:
            self.pool.resize(request, request.blocks + by)
        else:
            request._blocks += by

    def _give_back(self, request: Request, blocks: int) -> int:
        """What a guest had of its host returns there, if that still runs; returns the blocks that are free then."""
        host, lent = self.hosts.pop(request)
        if not (host in self.pool or host in self.paused or host in self.prefilling):
            return blocks
        self._resize(host, min(lent, blocks))
        return max(0, blocks - lent)

    def _release(self, started: int) -> None:
        """Frees the blocks of finished requests that were due when the ``started``-th batch starts."""
        while self.late_blocks and self.late_blocks[0][0] <= started:
            self.free_blocks += self.late_blocks.popleft()[1]

    def start_nothing(self) -> bool:
        """A batch of nobody starts and takes no time; returns whether it brought blocks of finished requests nearer."""
        waited = bool(self.late_blocks)
        self.batches += 1
        self._release(self.batches)
        return waited

    def rest(self) -> None:
        """Nobody is here any more: what is due comes free, since an idle engine's loop goes round all the same."""
        if self.late_blocks:
            self._release(self.batches + self.release_delay)
            self.recorder.entries[-2] = self.free_blocks
