"""What AccelGen decides with: the budget of the tightest member, remaining times, and who may start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sim.request import Phase, Request
from sim.schedulers.accelgen.chunking import longest_chunk
from sim.schedulers.accelgen.reservation import Reservation
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen.bound import BoundAccelGen


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
        self.batch = server.new_batch(1 << 62, bound.kept)
        forced = self.policy.slo_ordering and self.policy.urgent
        self.limit = self.policy.urgency * self.slack.longest if forced else -inf
        """Remaining time up to which a request is urgent."""
        self.decode_limit = self.limit if self.policy.stalls else inf
        """The same of decodes."""
        self.started = sorted(self.candidates(server.prefilling), key=self.order) if server.prefilling else []
        self.alike = self.decode_limit < inf and bound.crowd
        """Whether no decode has an SLO, so that they are equal candidates but for the block that some need."""
        self.decodes: list[Candidate] = []
        """Decodes by remaining time; empty where all are urgent, or alike."""

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
        return self.bound.on_time(request)

    def grant(self, request: Request, tokens: int) -> int:
        """Gives a request up to ``tokens``, whatever its phase; it then is a member."""
        batch = self.batch
        room = min(tokens, self.room_for(request))
        if room < 1:
            return 0
        if request.phase is Phase.DECODING:
            batch.tokens_left = room
            granted = batch.decode(request)
        else:
            batch.tokens_left = longest_chunk(self, request, room)
            granted = batch.prefill(request) if request.phase is Phase.PREFILLING else batch.admit(request)
        if granted:
            self.tightest = min(self.tightest, self.slo_of(request))
        return granted

    def order(self, candidate: Candidate) -> tuple[bool, float, int]:
        """Sort key: the smaller goes first."""
        request = candidate.request
        return self.put_off(request), candidate.remaining if self.policy.slo_ordering else 0.0, request.id

    def put_off(self, request: Request) -> bool:
        """Whether it comes after all requests that can be on time: it waits for its first token, which is overdue."""
        late_last = self.policy.overdue == "last" and request.phase is Phase.WAITING and not request.generated
        return late_last and not self.on_time(request)

    def offer(self, request: Request) -> None:
        """Gives a request what it can get."""
        if request.phase is not Phase.WAITING:
            if request not in self.batch.preempted:
                self.grant(request, 1 << 62)
        elif self.may_start(request):
            self.admit(request)

    def admit(self, request: Request) -> None:
        """Gives a newcomer what it can get, and a place to its predicted end if that is asked for."""
        if self.grant(request, 1 << 62) and self.policy.admission == "output":
            self.reservation.add(request)

    def candidates(self, requests: Iterable[Request]) -> Iterator[Candidate]:
        return (Candidate(self.slack.remaining(request), request) for request in requests)

    # -- who may start ------------------------------------------------------------------------------------------------

    def may_start(self, request: Request) -> bool:
        """Whether the cache and ERA let a newcomer in."""
        return self.holds(request) and self.exclusive(request)

    def holds(self, request: Request) -> bool:
        """Whether the cache has room for what must fit."""
        batch = self.batch
        tokens = 1 if self.policy.admission == "chunk" else request.known_tokens
        return self.server.blocks_for(tokens) + batch.watermark <= batch.blocks_left and self.keeps(request)

    def keeps(self, request: Request) -> bool:
        """Whether the cache has room to its predicted end, if that is asked for."""
        return self.policy.admission != "output" or self.reservation.holds(request)

    @cached_property
    def reservation(self) -> Reservation:
        """What those that run, and those admitted, will hold."""
        stay = [request for request in self.server.running_requests if request not in self.batch.preempted]
        return Reservation(self.server, self.slack, stay)

    def exclusive(self, request: Request) -> bool:
        """ERA: a new long prompt waits for the unfinished one, which gets all the budget and frees its cache early."""
        if not self.policy.exclusive or request.known_tokens <= self.bound.long_prompt:
            return True
        started = [r for r in self.server.prefilling if r not in self.batch.preempted] + list(self.batch.admitted)
        return sum(r.known_tokens > self.bound.long_prompt for r in started) < self.policy.long_prompts
