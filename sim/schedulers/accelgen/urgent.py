"""Who gets a place by force: requests whose SLO breaks unless they run now, and who yields to them (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Literal

from sim.queues import PriorityQueue
from sim.request import Phase, Request
from sim.schedulers.accelgen.chunking import longest_chunk
from sim.schedulers.accelgen.decision import Candidate, Decision
from sim.schedulers.accelgen.slack import Slack

Victim = Literal["deferrable", "loosest", "longest", "largest", "newest"]
"""Which request yields first: the largest remaining time (the paper's for the urgent); the loosest SLO of the next
token; the most output still to come by the prediction, so that nearly finished ones stay; the most cache; the newest
(vLLM's)."""


def reluctance(slack: Slack, request: Request, victim: Victim) -> tuple[float, int]:
    """The key by which the victim is the greatest; ties go to the newest."""
    if victim == "deferrable":
        return slack.remaining(request), request.id
    if victim == "loosest":
        return slack.iteration_slo(request), request.id
    if victim == "longest":
        return slack.outputs_left(request) + request.prefill_left, request.id
    if victim == "largest":
        return request.blocks, request.id
    return 0.0, request.id


class Urgent(Decision):
    """The first part of a decision: the urgent are placed."""

    _reach = inf
    """Blocks that are free at most if all deferrable requests yield; what is placed only lessens them."""

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
                self._free_at_most(server.pool.blocks_needed)
                self._overflow()
            batch.tokens_left = room
            if batch.decode_all():
                self.tightest = min(self.tightest, tightest)
            return
        self._list_decodes()
        for candidate in self.decodes:
            if candidate.remaining > limit:
                break
            self._place_decode(candidate.request)

    def _list_decodes(self) -> None:
        if not self.alike:
            self.decodes = sorted(self.candidates(self.server.decoding), key=self.order)

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
        if request not in self.batch.preempted and self.room_for(request) > 0:
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
        self._list_decodes()
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
                    if self.slack.remaining(request) <= self.limit:
                        yield request
                    elif not self.bound.returns_first(request):
                        return

    def _place_newcomer(self, request: Request) -> None:
        batch, room = self.batch, self.room_for(request)
        if room < 1:
            return
        tokens = request.known_tokens
        if self.policy.admission == "chunk":
            tokens = longest_chunk(self, request, min(room, tokens))
        blocks = self.server.blocks_for(tokens) + batch.watermark
        if self.exclusive(request) and self.keeps(request) and self._free(blocks):
            self.admit(request)

    def _place_prompt(self, request: Request) -> None:
        if request in self.batch.preempted:
            return
        room = min(self.room_for(request), request.prefill_left)
        if room > 0:
            self._free(self.batch.shortage(request, longest_chunk(self, request, room)))
            self.grant(request, room)

    # -- who yields ---------------------------------------------------------------------------------------------------

    def _free(self, blocks: int) -> bool:
        """Preempts requests that are not urgent, the most deferrable first, until ``blocks`` are free (stated).

        Returns whether they are. Where all of these requests together do not free enough, none is preempted.
        """
        batch = self.batch
        if batch.blocks_left < blocks <= self._reach:
            yielding = list(self._deferrable())
            self._reach = batch.blocks_left + sum([request.blocks for request in yielding])
            if blocks <= self._reach:
                self._preempt_until(blocks, yielding)
        return batch.blocks_left >= blocks

    def _free_at_most(self, blocks: int) -> None:
        """The same for many decodes, each of which can use a freed block: preempts even if the sum is not enough."""
        self._preempt_until(blocks, list(self._deferrable()))

    def _preempt_until(self, blocks: int, yielding: list[Request]) -> None:
        batch = self.batch
        yielding.sort(key=lambda each: reluctance(self.slack, each, self.policy.victim))
        while yielding and batch.blocks_left < blocks:
            batch.preempt(yielding.pop())

    def _deferrable(self) -> Iterator[Request]:
        """The running requests that may yield to an urgent one."""
        if self.policy.preemption == "pause":
            return
        batch = self.batch
        alike = self.candidates(self.server.decoding) if self.alike else ()
        for candidate in [*self.decodes, *alike, *self.started]:
            request = candidate.request
            placed = request in batch.decodes or request in batch.prefills or request in batch.preempted
            if not (placed or self.urgent(candidate)):
                yield request

    def outgrown(self, requests: Iterable[Request]) -> Request:
        """Who goes when the decodes outgrow the cache."""
        return max(requests, key=lambda request: reluctance(self.slack, request, self.policy.overflow))

    def _preempt_for(self, request: Request) -> None:
        """vLLM's own mechanism, on which the paper relies when memory overflows: the newest not yet served goes."""
        batch, self._reach = self.batch, inf
        while batch.growth(request) > batch.blocks_left and request not in batch.preempted:
            served = {*batch.decodes, *batch.prefills, *batch.preempted}
            batch.preempt(self.outgrown(each for each in self.server.running_requests if each not in served))
