"""What EconoServe remembers of one server: which generations wait, and how long each request is taken to be."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from math import ceil, inf
from typing import Any

from sim.batch import Batch
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.schedulers.econoserve.decision import Decision, Moves
from sim.schedulers.econoserve.policy import EconoServe
from sim.server import Server


class TwoQueues(Scheduler):
    """Prompts wait in the server's queue; generations here, with their prompt's cache."""

    def __init__(self, policy: EconoServe, server: Server) -> None:
        self.policy = policy
        self.server = server
        self.queued: dict[Request, None] = {}
        """Requests whose prompt is done, or that stopped generating for lack of cache."""
        self.outputs: dict[Request, int] = {}
        """Output tokens that each is taken to generate, settled when it arrived; of some that left, too."""
        self._settled: object = None

    def __repr__(self) -> str:
        return repr(self.policy)

    @property
    def first_come_first_served(self) -> bool:
        return not self.policy.ordering

    # -- sizes --------------------------------------------------------------------------------------------------------

    @cached_property
    def forward_size(self) -> int:
        """Tokens up to which prompts are added."""
        return self.server.machine.pivot_of(self.policy.forward_size)[0]

    @cached_property
    def bucket(self) -> int:
        """Tokens to a multiple of which lengths are rounded up."""
        return self.policy.length_bucket or self.server.block_size

    @cached_property
    def kept(self) -> int:
        """Blocks that whoever starts leaves free."""
        return int(self.policy.reserve * self.server.total_blocks)

    def output(self, request: Request) -> int:
        """Output tokens in all: what is predicted, padded and rounded up."""
        known = self.outputs.get(request)
        if known is not None:
            return known
        told = request.predicted_output
        if told is None:
            told = self.server.history.mean_output or self.policy.default_output
        return max(1, ceil(told * (1 + self.policy.padding) / self.bucket)) * self.bucket

    def steps(self, request: Request) -> int:
        """Output tokens for which it needs cache: those to come, or some more if it has outlived its prediction."""
        left = self.output(request) - request.generated
        return left if left > 0 else self.policy.extra or self.bucket

    def tokens(self, request: Request) -> int:
        """Cached tokens when it is done, at most what leaves the reserve free: the last output is never cached."""
        steps = self.steps(request) if self.policy.exact_allocation else 1
        most = max(self.server.total_blocks - self.kept, 1) * self.server.block_size
        return max(request.known_tokens, min(request.known_tokens - 1 + steps, most))

    def lack(self, request: Request) -> int:
        """Blocks that a generation needs beyond those it holds to start."""
        return max(0, self.server.blocks_for(self.tokens(request)) - request.blocks)

    # -- order --------------------------------------------------------------------------------------------------------

    def priority(self, request: Request) -> Any:
        """Range of its deadline, then more cache first, then the longer prompt or generation first."""
        if not self.policy.ordering:
            return request.arrived_at
        decodes = request.phase is Phase.DECODING
        length = self.steps(request) if decodes else request.known_tokens
        width, at = self.policy.deadline_range, self.due(request)
        return at // width if width else at, -request.blocks, -length

    def due(self, request: Request) -> float:
        """When its next token, or its end if that is sooner, is due; seconds. The same as long as it waits."""
        slo = request.slo
        token = request.last_token_at + slo.tbt if request.generated else request.arrived_at + slo.ttft
        at = min(token, request.arrived_at + slo.jct)
        return at if at < inf else request.arrived_at + self.policy.no_slo

    def line(self) -> list[Request]:
        """The generations that wait, as they should start: with the first of a length all others of it."""
        ordered = sorted(self.queued, key=lambda request: (self.priority(request), request.id))
        if not self.policy.same_length:
            return ordered
        groups: dict[int, list[Request]] = {}
        for request in ordered:
            groups.setdefault(-(-self.steps(request) // self.bucket), []).append(request)
        return list(chain.from_iterable(groups.values()))

    # -- what is told -------------------------------------------------------------------------------------------------

    def arrived(self, request: Request) -> None:
        self.outputs[request] = self.output(request)

    def ended(self, server: Server, batch: Batch) -> None:
        moves: Moves = batch.memo
        for request in chain(moves.started, batch.preempted):
            self.queued.pop(request, None)
        done = batch.prefills if self.policy.decoupled else ()
        for request in chain(moves.stopped, done):
            if request.phase is Phase.DECODING:
                self.queued[request] = None
        if len(self.outputs) > 2 * (server.running_count + server.waiting.size) + 64:
            here = server.everyone()
            self.outputs = {request: self.outputs[request] for request in here if request in self.outputs}

    def catch_up(self) -> TwoQueues:
        """Takes in who is there already, for a server whose past nobody told it."""
        self.queued = dict.fromkeys(self.server.paused)
        return self

    # -- decisions ----------------------------------------------------------------------------------------------------

    def schedule(self, server: Server) -> Batch:
        """As before, if nobody came to the head of a line or left since a decision that moved nobody: what is free, and
        what hosts have to spare, only shrinks."""
        state = next(iter(server.waiting), None), server.pool.version, server.history.finished
        decision = Decision(self)
        if state == self._settled and decision.go_on():
            batch = decision.batch
        else:
            batch = decision.decide()
            moved = batch.changes or batch.prefills or any(batch.memo)
            self._settled = None if moved or batch.tokens < max(1, server.pool.size) else state
        if not any(batch.memo):
            batch.hold(head_of_line=not self.policy.ordering)
        return batch
