"""How AccelGen fills one batch: the urgent first, then by distance from what is available (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.queues import PriorityQueue
from sim.request import Phase, Request
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen import BoundAccelGen


class Candidate(NamedTuple):
    """A request and its remaining time, seconds."""

    remaining: float
    request: Request


class Filling:
    """One decision of AccelGen, made on construction; ``batch`` is the result."""

    def __init__(self, bound: BoundAccelGen, server: Server) -> None:
        self.bound = bound
        self.policy = bound.policy
        self.server = server
        self.slack = bound.slack()
        self.tightest = inf
        self._budgets: dict[float, int] = {}
        self.batch = server.new_batch(1 << 62, int(self.policy.watermark * server.total_blocks))
        self.limit = self.policy.urgency * self.slack.longest if self.policy.slo_ordering else -inf
        self.started = sorted(self._candidates(server.prefilling), key=self._order) if server.prefilling else []
        self.decodes: list[Candidate] = []
        """Decodes by remaining time; empty where all are urgent."""
        self._place_urgent_decodes()
        self._place_urgent_prompts()
        self._fill()
        if not self.batch.tokens:
            self._unlock()

    # -- budget -------------------------------------------------------------------------------------------------

    def _room(self, request: Request) -> int:
        """Tokens that the batch may still take if ``request`` is a member: the tightest member sets the budget."""
        return self._budget(min(self.tightest, self._slo(request))) - self.batch.tokens

    def _budget(self, tightest: float) -> int:
        budget = self._budgets.get(tightest)
        if budget is None:
            budget = self._budgets[tightest] = self.bound.budget(self.server, tightest)
        return budget

    def _slo(self, request: Request) -> float:
        """The request's say in the budget: none if it is a prompt whose SLO is broken already."""
        if request.phase is Phase.DECODING or self._on_time(request):
            return self.slack.iteration_slo(request)
        return inf

    def _on_time(self, request: Request) -> bool:
        return self.bound.deadline(request) >= self.slack.now

    def _grant(self, request: Request, tokens: int) -> int:
        """Gives a request up to ``tokens``, whatever its phase; it then is a member."""
        batch = self.batch
        batch.tokens_left = min(tokens, self._room(request))
        if batch.tokens_left < 1:
            return 0
        if request.phase is Phase.DECODING:
            granted = batch.decode(request)
        elif request.phase is Phase.PREFILLING:
            granted = batch.prefill(request)
        else:
            granted = batch.admit(request)
        if granted:
            self.tightest = min(self.tightest, self._slo(request))
        return granted

    # -- the urgent ---------------------------------------------------------------------------------------------

    def _place_urgent_decodes(self) -> None:
        """Decodes that would miss their SLO by waiting. They go before urgent prompts, which can be cut (inferred)."""
        server, batch, policy = self.server, self.batch, self.policy
        tightest, loosest = self.bound.decode_slos()
        alike = not server.paused and server.pool.last_step_at == server.now and loosest < inf
        room = self._budget(tightest)
        if policy.slo_ordering and alike and loosest - self.slack.longest <= self.limit and server.pool.size <= room:
            if server.pool.blocks_needed > batch.blocks_left:
                self._free(server.pool.blocks_needed)
            batch.tokens_left = room
            if batch.decode_all():
                self.tightest = tightest
            return
        self.decodes = sorted(self._candidates(server.decoding), key=self._order)
        for remaining, request in self.decodes:
            if remaining > self.limit:
                break
            if request not in batch.preempted:
                if not self._free(batch.growth(request)):
                    self._preempt_newest(request)
                if request not in batch.preempted:
                    self._grant(request, 1)

    def _urgent(self, candidate: Candidate) -> bool:
        """Whether its SLO breaks unless it runs now. That of a late prompt is broken; a decode's next token has its own."""
        remaining, request = candidate
        return remaining <= self.limit and (request.phase is Phase.DECODING or self._on_time(request))

    def _place_urgent_prompts(self) -> None:
        """Prompts that would miss their SLO by waiting: started ones, then newcomers, each in order of remaining time."""
        for candidate in self.started:
            if self._urgent(candidate) and candidate.request not in self.batch.preempted:
                self._place_prompt(candidate.request)
        for request in islice(self._fresh(), self.policy.candidates):
            if self.slack.remaining(request) > self.limit:
                break
            if self._exclusive(request):
                self._place_newcomer(request)

    def _place_newcomer(self, request: Request) -> None:
        tokens = request.known_tokens if self.policy.admission == "prompt" else max(0, self._room(request))
        blocks = self.server.blocks_for(min(tokens, request.known_tokens)) + self.batch.watermark
        if blocks <= self.server.total_blocks and self._free(blocks):
            self._grant(request, 1 << 62)

    def _place_prompt(self, request: Request) -> None:
        room = min(self._room(request), request.prefill_left)
        if room > 0:
            self._free(self.batch.shortage(request, room))
            self._grant(request, room)

    def _free(self, blocks: int) -> bool:
        """Preempts running requests that are not urgent, the most deferrable first, until ``blocks`` are free (stated)."""
        batch = self.batch
        while batch.blocks_left < blocks:
            victim = max(self._deferrable(), key=self._order, default=None)
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
        queue = self._others()
        while queue and self.batch.tokens < self._budget(self.tightest):
            reach = queue[0].remaining + self.policy.gamma
            number = next((n for n, candidate in enumerate(queue) if candidate.remaining > reach), len(queue))
            window, queue = [candidate.request for candidate in queue[:number]], queue[number:]
            if self.policy.multi_resource and number > 1:
                self._by_distance(window)
            else:
                for request in window:
                    self._offer(request)

    def _unlock(self) -> None:
        """Nobody could move for lack of memory: vLLM's mechanism makes room for the one of least remaining time."""
        running = [c for c in sorted(self._candidates(self.server.running), key=self._order) if c.request not in self.batch.preempted]
        if running:
            first = running[0].request
            for request in sorted((c.request for c in running[1:]), key=lambda request: -request.id):
                if self.batch.shortage(first, 1) <= self.batch.blocks_left:
                    break
                self.batch.preempt(request)
            self._grant(first, 1 << 62)

    def _others(self) -> list[Candidate]:
        """Whoever was not placed yet, by remaining time: a started long prompt goes first (ERA)."""
        batch = self.batch
        for _, request in self.started:
            if self.policy.exclusive and request.known_tokens > self.bound.long_prompt and request not in batch.prefills:
                self._offer(request)
        placed = {**batch.prefills, **batch.decodes, **batch.preempted}
        decodes = [] if batch.everyone else self.decodes
        others = [candidate for candidate in [*decodes, *self.started] if candidate.request not in placed]
        others += self._candidates(self._newcomers())
        return sorted(others, key=self._order) if len(others) > 1 else others

    def _newcomers(self) -> Iterator[Request]:
        """Waiting requests that the cache has room for; like vLLM, none in a step that preempted."""
        room = self.batch.blocks_left - self.batch.watermark
        if room < 1 or self.batch.preempted or not self.server.waiting.size:
            return iter(())
        head, least = self.bound.head()
        if least > room:
            return iter(())
        return (request for blocks, request in head if blocks <= room and request not in self.batch.prefills)

    def _order(self, candidate: Candidate) -> tuple[float, int]:
        return (candidate.remaining if self.policy.slo_ordering else 0.0, candidate.request.id)

    def _offer(self, request: Request) -> bool:
        if request in self.batch.preempted or request.phase is Phase.WAITING and not self._may_start(request):
            return False
        return self._grant(request, 1 << 62) > 0

    def _by_distance(self, window: list[Request]) -> None:
        """Repeatedly whoever comes nearest to what is available: argmin of (A_c - D_c)^2 + (A_m - D_m)^2."""
        while window:
            distances = [self._distance(request) for request in self._distinct(window)]
            nearest = min(distances, default=inf)
            if nearest == inf:
                return
            chosen = self._distinct(window)[distances.index(nearest)]
            window.remove(chosen)
            self._offer(chosen)

    def _distinct(self, window: list[Request]) -> list[Request]:
        """The window with only the first of the decodes that need a block, and of those that do not: their demands are equal."""
        seen: set[int] = set()
        distinct = []
        for request in window:
            kind = self.batch.growth(request) if request.phase is Phase.DECODING else -1
            if kind < 0 or kind not in seen:
                distinct.append(request)
            seen.add(kind)
        return distinct

    def _distance(self, request: Request) -> float:
        """How far a request's demand is from the available tokens and cache; infinite if it cannot be met."""
        batch, size = self.batch, self.server.block_size
        if request.phase is Phase.WAITING and not self._may_start(request):
            return inf
        room, cache = self._room(request), batch.blocks_left * size
        if request.phase is Phase.DECODING:
            tokens, blocks = 1, batch.growth(request)
        else:
            left = request.prefill_left
            tokens = min(left, room, (request.blocks + batch.blocks_left) * size - request.kv_tokens)
            blocks = batch.shortage(request, tokens)
        if tokens < 1 or tokens > room or blocks > batch.blocks_left:
            return inf
        free = self._budget(self.tightest) - batch.tokens
        if self.policy.normalized:
            return ((free - tokens) / max(free, 1)) ** 2 + ((cache - blocks * size) / max(cache, 1)) ** 2
        return float((free - tokens) ** 2 + (cache - blocks * size) ** 2)

    # -- who there is -------------------------------------------------------------------------------------------

    def _candidates(self, requests: Iterator[Request] | dict[Request, None]) -> Iterator[Candidate]:
        return (Candidate(self.slack.remaining(request), request) for request in requests)

    def _fresh(self) -> Iterator[Request]:
        """Waiting requests whose SLO is not broken yet, by remaining time."""
        waiting = self.server.waiting
        return iter(waiting.fresh) if isinstance(waiting, PriorityQueue) else iter(())

    def _may_start(self, request: Request) -> bool:
        """Whether the cache and ERA let a newcomer in."""
        return self._holds(request) and self._exclusive(request)

    def _holds(self, request: Request) -> bool:
        """Whether the cache has room for what must fit."""
        batch = self.batch
        tokens = request.known_tokens if self.policy.admission == "prompt" else 1
        return self.server.blocks_for(tokens) + batch.watermark <= batch.blocks_left

    def _exclusive(self, request: Request) -> bool:
        """ERA: a new long prompt waits for the unfinished one; that gets all of the budget, and frees its cache early."""
        if not self.policy.exclusive or request.known_tokens <= self.bound.long_prompt:
            return True
        started = [r for r in self.server.prefilling if r not in self.batch.preempted] + list(self.batch.admitted)
        return sum(r.known_tokens > self.bound.long_prompt for r in started) < self.policy.long_prompts
