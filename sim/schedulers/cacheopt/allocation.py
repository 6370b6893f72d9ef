"""One decision of CacheOPT: whom it admits, with how much cache, and at whose expense (section 3.3)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.batch import Batch
from sim.request import Request
from sim.schedulers.cacheopt.rationing import Rationing

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.allocator import Allocator


class Chosen(NamedTuple):
    """A critical newcomer that is sure of its least."""

    request: Request
    tokens: int
    least: int
    """Blocks."""


class Allocation(Rationing):
    """A batch in the making."""

    def __init__(self, bound: Allocator) -> None:
        super().__init__(bound)
        self.places = self.policy.max_num_seqs - self.server.running_count
        self.promised = 0
        """Tokens of the batch that are spoken for."""
        self.size = self.server.block_size

    def decide(self) -> Batch:
        """Whole prompts come before decodes, as in vLLM V0; chunks after them."""
        batch, waiting = self.batch, self.server.waiting.size
        if self.policy.chunked_prefill:
            self.run()
            if waiting and not batch.preempted:
                self._admit()
            return batch
        if waiting:
            self._admit()
        if not batch.prefills:
            batch.tokens_left = 1 << 62  # decodes are not counted against a budget
            self.run()
        return batch

    def _admit(self) -> None:
        """The critical ones first; then the others in line by their demand, until one does not fit. Those behind it may
        still live with a host: they take nothing that it waits for."""
        policy, batch = self.policy, self.batch
        if policy.critical_first:
            self._admit_critical()
        if not policy.chunked_prefill:
            self.top_up(self.server.pool.blocks_needed)
        self._admit_in_line()
        if batch.admitted:
            self.give_ahead()

    def _admit_in_line(self) -> None:
        batch, budget = self.batch, self.bound.needs.budget
        blocked = self.server.swapped or batch.preempted
        for request in () if blocked else batch.waiting():
            if self.places <= 0 or batch.tokens_left <= 0:
                return
            if not self.policy.chunked_prefill and request.known_tokens > budget:
                batch.reject(request, f"its {request.known_tokens} tokens exceed the {budget} of one batch")
            elif not (self._lodge(request) or self._settle(request)):
                break
        if self.policy.embedding:
            self._lodge_behind()

    def _lodge_behind(self) -> None:
        """Of the first who wait, those who can live with a host."""
        batch, largest, front = self.batch, self.hosts.largest, self.bound.needs.front()
        for request in [request for request, room in front.rooms if room <= largest] if front.least <= largest else ():
            if self.places > 0 and request not in batch.admitted and request not in batch.rejected:
                self._lodge(request)

    def _tokens(self, request: Request) -> int:
        """Tokens of its prompt that are computed at once: all, or in chunked mode what the budget leaves; or none."""
        left, known = self.batch.tokens_left - self.promised, request.known_tokens
        if self.policy.chunked_prefill:
            return min(known, left)
        return known if known <= left else 0

    # -- with a host (section 3.3.1) ---------------------------------------------------------------------------------

    def _lodge(self, request: Request) -> bool:
        """Admits it into what the best host has allocated and not used."""
        if not self.policy.embedding:
            return False
        need = self.bound.needs.of(request)
        if need.room > self.hosts.largest or (tokens := self._tokens(request)) <= 0:
            return False
        host = self.hosts.find(need.room)
        if host is None or not self.batch.admit(request, tokens, need.blocks * self.size - tokens, host):
            return False
        self.hosts = self.hosts.lending(host, need.blocks)
        self.places -= 1
        return True

    # -- in unallocated cache ------------------------------------------------------------------------------------------

    def _settle(self, request: Request) -> bool:
        """Admits it with cache for its demand; for less if nobody else is there, or everybody's is cut."""
        batch, server, kept = self.batch, self.server, self.bound.needs.kept
        tokens, need = self._tokens(request), self.bound.needs.of(request)
        room, blocks = batch.blocks_left - batch.watermark, need.blocks
        if not (server.running_count or batch.admitted):
            blocks = min(blocks, room)
        elif self.policy.cuts == "all":
            blocks = min(blocks, max(room - self.aside, need.least))
        else:
            blocks = min(blocks, max(server.total_blocks - kept, server.blocks_for(request.known_tokens)))
        if tokens <= 0 or not self.fits(blocks, room):
            return False
        if not batch.admit(request, tokens, blocks * self.size - tokens):
            return False
        batch.watermark = kept
        self.places -= 1
        return True

    # -- the critical (section 3.3.2) --------------------------------------------------------------------------------

    def _admit_critical(self) -> None:
        """Their least for all of them, by remaining time, then what is left up to their demands, in the same order."""
        batch, bound = self.batch, self.bound
        chosen, left = self._choose()
        self.promised = 0
        for request, tokens, least in chosen:
            more = max(0, min(bound.needs.of(request).blocks - least, left - self.aside))
            if batch.admit(request, tokens, (least + more) * self.size - tokens):
                left -= more
                self.places -= 1
        if chosen:
            batch.watermark = bound.needs.kept

    def _choose(self) -> tuple[list[Chosen], int]:
        """Critical newcomers that get their least, and the blocks that are left then."""
        batch, bound, policy = self.batch, self.bound, self.policy
        chosen: list[Chosen] = []
        left = batch.blocks_left - bound.needs.kept
        passing, pliable = bound.turns.may_pass(), bound.deadlines.pliable
        largest = self.hosts.largest if policy.embedding else -inf
        if policy.late and self.server.running_count and not pliable:
            least, room = bound.needs.smallest(bound.deadlines)
            if least > left and room > largest:
                return chosen, left  # none of them can start
        for number, request in enumerate(bound.deadlines.near()):
            if self.places <= len(chosen) or number >= policy.candidates:
                self.unsure = self.unsure or not policy.late  # else the same come first the next time
                break
            _, least, room = bound.needs.of(request)
            alone = not (self.server.running_count or batch.admitted or chosen)
            if least > left and room > largest and not (pliable or alone):
                continue
            tokens = self._tokens(request)
            if tokens <= 0 or self._lodge(request) or not (passing or request is bound.turns.first()):
                continue
            if least > left and pliable:
                left += self.force(least + self.aside - left)
            if self.fits(least, left) or (alone and least <= batch.blocks_left):
                chosen.append(Chosen(request, tokens, least))
                left -= least
                self.promised += tokens
        return chosen, left
