"""Cache beyond the next token (CacheOPT section 3.3): the reserve, chunks ahead of time, those who were cut."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sim.request import Phase, Request
from sim.schedulers.accelgen.slack import deadline
from sim.schedulers.cacheopt.embedding import Hosts

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.allocator import Allocator


def by_deadline(request: Request) -> tuple[float, int]:
    """Order of remaining time, as of any moment."""
    return deadline(request), request.id


class Provision:
    """A batch in the making, and what of the free blocks is spoken for."""

    def __init__(self, bound: Allocator) -> None:
        self.bound = bound
        self.policy = bound.policy
        self.server = bound.server
        kept = bound.needs.kept if self.server.running_count else 0
        self.batch = self.server.new_batch(bound.needs.budget, kept)
        self.unsure = False
        """Whether the next decision may differ although nothing happens."""

    @cached_property
    def hosts(self) -> Hosts:
        """Who may take a guest, with what is lent in this batch taken off."""
        hosts = self.bound.hosts()
        for victim in self.batch.preempted:
            hosts = hosts.without(victim)
        return hosts

    def fits(self, blocks: int, room: int) -> bool:
        """Whether so much is there beside what is set aside; if only that is in the way, it may soon be there."""
        if blocks > room:
            return False
        self.unsure = self.unsure or blocks > room - self.aside
        return blocks <= room - self.aside

    # -- proactive allocation (section 3.3.3) ------------------------------------------------------------------------

    @cached_property
    def soon(self) -> list[Request]:
        """Decodes whose allocation ends within the iterations that are looked ahead, and not they before it."""
        batch, left, soon = self.batch, self.bound.lengths.left, []
        ahead, size = self.policy.ahead, self.server.block_size
        for request in self.server.decoding if ahead else ():
            room = request.blocks * size - request.kv_tokens
            if room <= ahead and request not in batch.preempted:
                runs = batch.everyone or request in batch.decodes
                room += (size if runs and not room else 0) - runs
                if room < ahead and not 0 < left(request) - runs <= room:
                    soon.append(request)
        return soon

    @cached_property
    def aside(self) -> int:
        """Blocks that newcomers leave to those: a chunk each, less what is assumed to come free until then (stated)."""
        if not self.soon:
            return 0
        supply = 0
        for request in self.server.decoding:
            if 0 < self.bound.lengths.left(request) <= self.policy.ahead:
                supply += request.blocks
        return max(0, len(self.soon) * self.server.blocks_for(self.bound.needs.chunk) - supply)

    def give_ahead(self) -> None:
        """Now that others were given cache: the next chunk for those who need it soon; if need be from the reserve."""
        for request in sorted(self.soon, key=by_deadline):
            if request not in self.batch.preempted:
                self.batch.extend(request, self.server.blocks_for(self.bound.needs.chunk))

    # -- cuts (section 3.3.2) ----------------------------------------------------------------------------------------

    def top_up(self, due: int = 0) -> None:
        """Who was cut is given more of what is left, after ``due`` blocks."""
        bound, batch = self.bound, self.batch
        if not bound.cut:
            return
        left = max(0, batch.blocks_left - bound.needs.kept - due)
        if not left and self.server.waiting.size:
            return
        here = (Phase.DECODING, Phase.PREFILLING)
        running = [request for request in bound.cut if request.phase in here]
        for request in sorted(running, key=by_deadline):
            lacks = bound.cut[request] - request.blocks - batch.growth(request) - batch.extended.get(request, 0)
            if lacks > 0 and request not in batch.preempted and bound.lengths.left(request) > 0:
                left -= batch.extend(request, min(left, lacks))
                self.unsure = self.unsure or self.server.waiting.size == 0  # then a finish is news to this one alone
