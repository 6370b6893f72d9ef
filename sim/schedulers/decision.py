"""What AccelGen decides with: the budget of the tightest member, remaining times, and who may start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.request import Phase, Request
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen import BoundAccelGen


class Candidate(NamedTuple):
    """A request and its remaining time, seconds."""

    remaining: float
    request: Request


class Decision:
    """A batch in the making, with the SLO of its tightest member."""

    def __init__(self, bound: BoundAccelGen, server: Server) -> None:
        self.bound = bound
        self.policy = bound.policy
        self.server = server
        self.slack = bound.slack()
        self.tightest = inf
        self._budgets: dict[float, int] = {}
        self.batch = server.new_batch(1 << 62, int(self.policy.watermark * server.total_blocks))
        self.limit = self.policy.urgency * self.slack.longest if self.policy.slo_ordering else -inf
        self.started = sorted(self.candidates(server.prefilling), key=self.order) if server.prefilling else []
        self.decodes: list[Candidate] = []
        """Decodes by remaining time; empty where all are urgent."""

    def room_for(self, request: Request) -> int:
        """Tokens that the batch may still take if ``request`` is a member: the tightest member sets the budget."""
        return self.budget(min(self.tightest, self.slo_of(request))) - self.batch.tokens

    def budget(self, tightest: float) -> int:
        budget = self._budgets.get(tightest)
        if budget is None:
            budget = self._budgets[tightest] = self.bound.budget(self.server, tightest)
        return budget

    def slo_of(self, request: Request) -> float:
        """The request's say in the budget: none if it is a prompt whose SLO is broken already."""
        if request.phase is Phase.DECODING or self.on_time(request):
            return self.slack.iteration_slo(request)
        return inf

    def on_time(self, request: Request) -> bool:
        return self.bound.deadline(request) >= self.slack.now

    def grant(self, request: Request, tokens: int) -> int:
        """Gives a request up to ``tokens``, whatever its phase; it then is a member."""
        batch = self.batch
        batch.tokens_left = min(tokens, self.room_for(request))
        if batch.tokens_left < 1:
            return 0
        if request.phase is Phase.DECODING:
            granted = batch.decode(request)
        elif request.phase is Phase.PREFILLING:
            granted = batch.prefill(request)
        else:
            granted = batch.admit(request)
        if granted:
            self.tightest = min(self.tightest, self.slo_of(request))
        return granted

    def order(self, candidate: Candidate) -> tuple[float, int]:
        return (candidate.remaining if self.policy.slo_ordering else 0.0, candidate.request.id)

    def offer(self, request: Request) -> bool:
        if request in self.batch.preempted or (request.phase is Phase.WAITING and not self.may_start(request)):
            return False
        return self.grant(request, 1 << 62) > 0

    def candidates(self, requests: Iterable[Request]) -> Iterator[Candidate]:
        return (Candidate(self.slack.remaining(request), request) for request in requests)

    def may_start(self, request: Request) -> bool:
        """Whether the cache and ERA let a newcomer in."""
        return self.holds(request) and self.exclusive(request)

    def holds(self, request: Request) -> bool:
        """Whether the cache has room for what must fit."""
        batch = self.batch
        tokens = request.known_tokens if self.policy.admission == "prompt" else 1
        return self.server.blocks_for(tokens) + batch.watermark <= batch.blocks_left

    def exclusive(self, request: Request) -> bool:
        """ERA: a new long prompt waits for the unfinished one, which gets all the budget and frees its cache early."""
        if not self.policy.exclusive or request.known_tokens <= self.bound.long_prompt:
            return True
        started = [r for r in self.server.prefilling if r not in self.batch.preempted] + list(self.batch.admitted)
        return sum(r.known_tokens > self.bound.long_prompt for r in started) < self.policy.long_prompts
