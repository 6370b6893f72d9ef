"""How AccelGen fills one batch: the urgent first, then by distance from what is available (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from sim.queues import PriorityQueue
from sim.request import Phase, Request
from sim.schedulers.decision import Candidate, Decision
from sim.schedulers.distance import by_distance
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen import BoundAccelGen


class Filling(Decision):
    """One decision of AccelGen, made on construction; ``batch`` is the result."""

    def __init__(self, bound: BoundAccelGen, server: Server) -> None:
        super().__init__(bound, server)
        self._place_urgent_decodes()
        self._place_urgent_prompts()
        self._fill()
        if not self.batch.tokens:
            self._unlock()

    # -- the urgent ---------------------------------------------------------------------------------------------

    def _place_urgent_decodes(self) -> None:
        """Decodes that would miss their SLO by waiting. They go before urgent prompts, which can be cut (inferred)."""
        server, batch, policy = self.server, self.batch, self.policy
        tightest, loosest, steady = self.bound.decode_slos()
        alike = steady and not server.paused and server.pool.last_step_at == server.now
        room = self.budget(tightest)
        if policy.slo_ordering and alike and loosest - self.slack.longest <= self.limit and server.pool.size <= room:
            if server.pool.blocks_needed > batch.blocks_left:
                self._free(server.pool.blocks_needed)
            batch.tokens_left = room
            if batch.decode_all():
                self.tightest = tightest
            return
        self.decodes = sorted(self.candidates(server.decoding), key=self.order)
        for remaining, request in self.decodes:
            if remaining > self.limit:
                break
            if request not in batch.preempted:
                if not self._free(batch.growth(request)):
                    self._preempt_newest(request)
                if request not in batch.preempted:
                    self.grant(request, 1)

    def _urgent(self, candidate: Candidate) -> bool:
        """Whether its SLO breaks unless it runs now. A late prompt's is broken; a decode's next token has its own."""
        remaining, request = candidate
        return remaining <= self.limit and (request.phase is Phase.DECODING or self.on_time(request))

    def _place_urgent_prompts(self) -> None:
        """Prompts that would miss their SLO by waiting: started ones, then newcomers, by remaining time."""
        for candidate in self.started:
            if self._urgent(candidate) and candidate.request not in self.batch.preempted:
                self._place_prompt(candidate.request)
        for request in islice(self._fresh(), self.policy.candidates):
            if self.slack.remaining(request) > self.limit:
                break
            if self.exclusive(request):
                self._place_newcomer(request)

    def _place_newcomer(self, request: Request) -> None:
        tokens = request.known_tokens if self.policy.admission == "prompt" else max(0, self.room_for(request))
        blocks = self.server.blocks_for(min(tokens, request.known_tokens)) + self.batch.watermark
        if blocks <= self.server.total_blocks and self._free(blocks):
            self.grant(request, 1 << 62)

    def _place_prompt(self, request: Request) -> None:
        room = min(self.room_for(request), request.prefill_left)
        if room > 0:
            self._free(self.batch.shortage(request, room))
            self.grant(request, room)

    def _free(self, blocks: int) -> bool:
        """Preempts who is not urgent, the most deferrable first, until ``blocks`` are free (stated)."""
        batch = self.batch
        while batch.blocks_left < blocks:
            victim = max(self._deferrable(), key=self.order, default=None)
            if victim is None:
                return False
            batch.preempt(victim.request)
        return True

    def _deferrable(self) -> Iterator[Candidate]:
        for candidate in [*self.decodes, *self.started]:
            chosen = candidate.request in self.batch.decodes or candidate.request in self.batch.prefills
            if not (chosen or self._urgent(candidate) or candidate.request in self.batch.preempted):
                yield candidate

    def _preempt_newest(self, request: Request) -> None:
        """vLLM's own mechanism, on which the paper relies when memory overflows: the newest not yet served goes."""
        batch = self.batch
        while batch.growth(request) > batch.blocks_left and request not in batch.preempted:
            served = {*batch.decodes, *batch.prefills, *batch.preempted}
            batch.preempt(max((r for r in self.server.running_requests if r not in served), key=lambda r: r.id))

    # -- the others ---------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Windows of alike remaining time, one after the other, until GPU or cache is full."""
        if self.batch.blocks_left <= self.batch.watermark and not self.started and not self.decodes:
            return  # the common case of a full cache: all decodes run, and nobody else can
        queue = self._others()
        while queue and self.batch.tokens < self.budget(self.tightest):
            reach = queue[0].remaining + self.policy.gamma
            number = next((n for n, candidate in enumerate(queue) if candidate.remaining > reach), len(queue))
            window, queue = [candidate.request for candidate in queue[:number]], queue[number:]
            if self.policy.multi_resource and number > 1:
                by_distance(self, window)
            else:
                for request in window:
                    self.offer(request)

    def _unlock(self) -> None:
        """Nobody could move for lack of memory: vLLM's mechanism makes room for the one of least remaining time."""
        running = [
            c
            for c in sorted(self.candidates(self.server.running), key=self.order)
            if c.request not in self.batch.preempted
        ]
        if running:
            first = running[0].request
            for request in sorted((c.request for c in running[1:]), key=lambda request: -request.id):
                if self.batch.shortage(first, 1) <= self.batch.blocks_left:
                    break
                self.batch.preempt(request)
            self.grant(first, 1 << 62)

    def _others(self) -> list[Candidate]:
        """Whoever was not placed yet, by remaining time: a started long prompt goes first (ERA)."""
        batch = self.batch
        for _, request in self.started:
            if (
                self.policy.exclusive
                and request.known_tokens > self.bound.long_prompt
                and request not in batch.prefills
            ):
                self.offer(request)
        placed = {**batch.prefills, **batch.decodes, **batch.preempted}
        decodes = [] if batch.everyone else self.decodes
        others = [candidate for candidate in [*decodes, *self.started] if candidate.request not in placed]
        others += self.candidates(self._newcomers())
        return sorted(others, key=self.order) if len(others) > 1 else others

    def _newcomers(self) -> Iterator[Request]:
        """Waiting requests that the cache has room for; like vLLM, none in a step that preempted."""
        room = self.batch.blocks_left - self.batch.watermark
        if room < 1 or self.batch.preempted or not self.server.waiting.size:
            return iter(())
        head, least = self.bound.head()
        if least > room:
            return iter(())
        return (request for blocks, request in head if blocks <= room and request not in self.batch.prefills)

    def _fresh(self) -> Iterator[Request]:
        """Waiting requests whose SLO is not broken yet, by remaining time."""
        waiting = self.server.waiting
        return iter(waiting.fresh) if isinstance(waiting, PriorityQueue) else iter(())
