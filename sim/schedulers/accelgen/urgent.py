"""Who gets a place by force: requests whose SLO breaks unless they run now, and who yields to them (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf

from sim.queues import PriorityQueue
from sim.request import Phase, Request
from sim.schedulers.accelgen.decision import Candidate, Decision
from sim.schedulers.accelgen.victims import reluctance


class Urgent(Decision):
    """The first part of a decision: the urgent are placed."""

    def place_urgent(self) -> None:
        """Places the urgent: decodes, which cannot be cut, before prompts, or all by remaining time (inferred)."""
        if self.policy.first == "remaining":
            self._place_urgent_in_order()
        else:
            self._place_urgent_decodes()
            self._place_urgent_prompts()

    def _place_urgent_decodes(self) -> None:
        """Decodes that would miss their SLO by waiting."""
        server, batch = self.server, self.batch
        tightest, loosest, steady = self.bound.decode_slos()
        alike = steady and not server.paused and server.pool.last_step_at == server.now
        room = self.budget(min(self.tightest, tightest))
        limit = self.decode_limit
        if limit > -inf and alike and loosest - self.slack.longest <= limit and server.pool.size <= room:
            if server.pool.blocks_needed > batch.blocks_left:
                self._free(server.pool.blocks_needed)
                self._overflow()
            batch.tokens_left = room
            if batch.decode_all():
                self.tightest = min(self.tightest, tightest)
            return
        self.decodes = sorted(self.candidates(server.decoding), key=self.order)
        for candidate in self.decodes:
            if candidate.remaining > limit:
                break
            self._place_decode(candidate.request)

    def _overflow(self) -> None:
        """Preempts until the decodes of the others fit, where it is not vLLM's choice (``decode_all``'s) who goes."""
        if self.policy.overflow == "newest":
            return
        pool, batch = self.server.pool, self.batch
        need = pool.blocks_needed
        while need > batch.blocks_left:
            victim = self.outgrown(r for r in self.server.running_requests if r not in batch.preempted)
            need -= batch.growth(victim) if victim.phase is Phase.DECODING else 0
            batch.preempt(victim)

    def _place_decode(self, request: Request) -> None:
        """Gives an urgent decode its token, if need be at the cost of another."""
        if request not in self.batch.preempted:
            if not self._free(self.batch.growth(request)):
                self._preempt_for(request)
            if request not in self.batch.preempted:
                self.grant(request, 1)

    def urgent(self, candidate: Candidate) -> bool:
        """Whether its SLO breaks unless it runs now. A late prompt's is broken; a decode's next token has its own."""
        remaining, request = candidate
        if request.phase is Phase.DECODING:
            return remaining <= self.decode_limit
        return remaining <= self.limit and self.on_time(request)

    def _place_urgent_prompts(self) -> None:
        """Prompts that would miss their SLO by waiting: started ones, then newcomers, by remaining time."""
        for candidate in self.started:
            if self.urgent(candidate):
                self._place_prompt(candidate.request)
        for request in self._urgent_newcomers():
            self._place_newcomer(request)

    def _place_urgent_in_order(self) -> None:
        """The urgent of all kinds, by remaining time."""
        self.decodes = sorted(self.candidates(self.server.decoding), key=self.order)
        ready = [*self.decodes, *self.started, *self.candidates(self._urgent_newcomers())]
        place = {
            Phase.DECODING: self._place_decode,
            Phase.PREFILLING: self._place_prompt,
            Phase.WAITING: self._place_newcomer,
        }
        for candidate in sorted(filter(self.urgent, ready), key=self.order):
            place[candidate.request.phase](candidate.request)

    def _urgent_newcomers(self) -> Iterator[Request]:
        """Waiting requests whose SLO is not broken yet but would be, by remaining time."""
        waiting = self.server.waiting
        if self.limit > -inf and isinstance(waiting, PriorityQueue):
            for request in waiting.fresh.front(self.policy.candidates).requests:
                if self.on_time(request):
                    if self.slack.remaining(request) > self.limit:
                        return
                    yield request

    def _place_newcomer(self, request: Request) -> None:
        batch, whole = self.batch, self.policy.admission != "chunk"
        tokens = request.known_tokens if whole else min(max(0, self.room_for(request)), request.known_tokens)
        blocks = self.server.blocks_for(tokens) + batch.watermark
        if blocks > batch.blocks_left and (blocks > self.server.total_blocks or not (self.decodes or self.started)):
            return  # nobody who could yield
        if self.exclusive(request) and self.keeps(request) and self._free(blocks):
            self.admit(request)

    def _place_prompt(self, request: Request) -> None:
        if request in self.batch.preempted:
            return
        room = min(self.room_for(request), request.prefill_left)
        if room > 0:
            self._free(self.batch.shortage(request, room))
            self.grant(request, room)

    # -- who yields ---------------------------------------------------------------------------------------------------

    def _free(self, blocks: int) -> bool:
        """Preempts who is not urgent, the most deferrable first (``victim``), until ``blocks`` are free (stated)."""
        batch = self.batch
        while batch.blocks_left < blocks:
            deferrable = list(self._deferrable())
            if not deferrable:
                return False
            batch.preempt(max(deferrable, key=lambda each: reluctance(self.slack, each, self.policy.victim)))
        return True

    def _deferrable(self) -> Iterator[Request]:
        batch = self.batch
        for candidate in [*self.decodes, *self.started]:
            request = candidate.request
            placed = request in batch.decodes or request in batch.prefills or request in batch.preempted
            if not (placed or self.urgent(candidate)):
                yield request

    def outgrown(self, requests: Iterable[Request]) -> Request:
        """Who goes when the decodes outgrow the cache."""
        return max(requests, key=lambda request: reluctance(self.slack, request, self.policy.overflow))

    def _preempt_for(self, request: Request) -> None:
        """vLLM's own mechanism, on which the paper relies when memory overflows: the newest not yet served goes."""
        batch = self.batch
        while batch.growth(request) > batch.blocks_left and request not in batch.preempted:
            served = {*batch.decodes, *batch.prefills, *batch.preempted}
            batch.preempt(self.outgrown(each for each in self.server.running_requests if each not in served))
