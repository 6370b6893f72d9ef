"""FastServe's first come first served on one server: a batch that stays together; the swapped come before the new."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from sim.batch import Batch
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.fastserve.policy import FastServe


@dataclass(eq=False, slots=True)
class Turn:
    """What is decided for one step, or before it: who leaves, or who joins."""

    members: list[Request]
    """The batch, in its order."""
    host_free: float
    outs: dict[Request, bool] = field(default_factory=dict)
    """Who leaves the device, and whether to the host."""
    joins: list[Request] = field(default_factory=list)


class InTurn(Scheduler):
    """The policy on one server; its memory changes in ``arrived`` and ``ended`` only.

    The batch is sorted in place, prompts first, so that newcomers stand before older requests; the victim is the last.
    """

    def __init__(self, policy: FastServe, server: Server) -> None:
        self.policy = policy
        self.members: list[Request] = []
        self.swapped: deque[Request] = deque()
        """Who left the device (the dropped too), in the order of leaving."""
        self.queue: deque[Request] = deque()
        self.host_free = policy.host_blocks(server)

    def __repr__(self) -> str:
        return repr(self.policy)

    def arrived(self, request: Request) -> None:
        self.queue.append(request)

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1 << 60)
        members = [request for request in self.members if request.phase is Phase.DECODING]
        batch.memo = turn = Turn(members, self.host_free)
        room = server.free_blocks - server.pool.blocks_needed
        if room < 0:
            self._make_room(server, turn, -room)
            for request, swap in turn.outs.items():
                batch.preempt(request, swap)
            return batch
        self._join(server, batch, room)
        batch.decode_all()
        for request in turn.joins:
            if request.phase is Phase.SWAPPED:
                turn.host_free += request.host_blocks
                batch.resume(request)
            else:
                batch.admit(request, request.known_tokens)
        prompts = [request for request in turn.joins if not request.generated]
        turn.members = [*prompts, *members, *(request for request in turn.joins if request.generated)]
        batch.hold(head_of_line=True)
        return batch

    def _make_room(self, server: Server, turn: Turn, short: int) -> None:
        """The last of the batch leave, in a batch of their own: the real engine may let one back at once."""
        while short > 0:
            request = turn.members.pop()
            swap = turn.outs[request] = request.blocks <= turn.host_free
            turn.host_free -= request.blocks if swap else 0
            short -= server.blocks_for(request.known_tokens)

    def _join(self, server: Server, batch: Batch, room: int) -> None:
        """Those that left before the new, until one does not fit."""
        turn: Turn = batch.memo
        places = self.policy.max_num_seqs - len(turn.members)
        left = self.policy.budget - len(turn.members)
        for request in chain(self.swapped, self.queue):
            known = request.known_tokens
            if why := self.policy.too_long(request.prompt_tokens):
                batch.reject(request, why)
                continue
            cost = 1 if request.phase is Phase.SWAPPED else self.policy.anew(known)
            alone = cost > self.policy.budget and not turn.joins
            blocks = server.blocks_for(known)
            if len(turn.joins) == places or (cost > left and not alone) or blocks > room:
                return
            turn.joins.append(request)
            left -= cost
            room -= blocks

    def ended(self, server: Server, batch: Batch) -> None:
        turn: Turn = batch.memo
        for _ in (*turn.joins, *batch.rejected):
            (self.swapped or self.queue).popleft()
        self.swapped.extend(turn.outs)
        self.host_free = turn.host_free
        self.members = turn.members
