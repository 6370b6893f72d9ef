"""What policies have in common that are told output lengths: the plan of the cache, who waits, and when to look."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import numpy as np

from costmodel import BatchShape
from sim.batch import Batch
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.accelgen.budget import last_before
from sim.schedulers.clairvoyance.line import KNOWN, STEPS, Line, Rows
from sim.schedulers.clairvoyance.plan import NO_LIMIT, Plan
from sim.server import Server


class Memo(NamedTuple):
    """What is known after a decision."""

    finished: int = 0
    """Requests that had left."""
    looked_at: int = 0
    """Requests that had come since the decision before."""
    settled: bool = False
    """Whether there is nobody to start before somebody comes or goes."""


class Clairvoyant(Scheduler):
    """Never preempts and does not make decodes late; who starts is for ``choose`` to say. On one server.

    All decode in every iteration, and started prompts go before new ones. Who does not fit is asked about again when
    somebody left: by the mere passing of steps, others grow as he would.
    """

    def __init__(self, policy: Scheduler, largest_budget: float) -> None:
        self.policy = policy
        self.largest_budget = largest_budget
        self._world: tuple[Line, Plan] | None = None
        self._newcomers: list[Request] = []
        self._known = Memo()
        self._tightest = (-1, inf)
        self._near = 1
        """Prompt tokens that an iteration had time for: where to look first."""
        self.next_look = inf
        """When there will be news even if nobody comes or goes, seconds."""

    def __repr__(self) -> str:
        return repr(self.policy)

    def choose(self, server: Server, batch: Batch, line: Line, plan: Plan, rows: Rows) -> None:
        """Admits some of these rows of the line, whom ``plan`` holds, and adds them to it, a copy."""
        raise NotImplementedError

    def admit(self, batch: Batch, line: Line, plan: Plan, row: int, tokens: int | None = None) -> None:
        """Starts a row with so much of its prompt, or as much as the batch has tokens left, and adds it to the plan."""
        known, steps = int(line.counts[KNOWN, row]), int(line.counts[STEPS, row])
        if granted := batch.admit(line.requests[row], tokens):
            plan.add(known, steps, granted == known)

    # -- memory -------------------------------------------------------------------------------------------------

    def arrived(self, request: Request) -> None:
        self.join(request)

    @property
    def awake(self) -> bool:
        """Whether it was asked before: only then it remembers who waits."""
        return self._world is not None

    def join(self, request: Request) -> None:
        """Takes somebody who waits into the line."""
        if self._world is not None:
            line, plan = self._world
            line.add(request, plan)
            self._newcomers.append(request)

    def ended(self, server: Server, batch: Batch) -> None:
        if batch.memo is not None:
            self._note(batch.memo)
        if self._world is None or not (batch.prefills or batch.preempted):
            return
        line, plan = self._world
        for request in batch.preempted:
            line.add(request, plan)
        for request in batch.admitted:
            line.remove(request)
        for request in batch.prefills:
            plan.follow(request)
        if batch.preempted:
            self._world = line, Plan(server)
            self._known = self._known._replace(settled=False)

    def _note(self, memo: Memo) -> None:
        self._known = memo
        del self._newcomers[: memo.looked_at]

    def world(self, server: Server) -> tuple[Line, Plan]:
        """Who waits, and the plan; made anew where it does not agree with the server, as predictions err."""
        if self._world is None:
            plan = Plan(server)
            self._world = Line(), plan
            for request in server.waiting:
                self.arrived(request)
        elif self._anew(server) and not self._world[1].agrees(server):
            self._world = self._world[0], Plan(server)
        return self._world

    # -- decisions ----------------------------------------------------------------------------------------------

    def schedule(self, server: Server) -> Batch:
        if server.waiting.size and self.news(server):
            batch = self._look(server)
        elif server.prefilling:
            batch = self._go_on(server, self._prompt_tokens(server))
        else:
            batch = server.new_batch(server.decoding_count)
            batch.decode_all()
        batch.hold(until=self.next_look)
        return batch

    def news(self, server: Server) -> bool:
        """Whether somebody may start who could not before."""
        return bool(self._newcomers) or self._anew(server)

    def _anew(self, server: Server) -> bool:
        """Whether that may be anybody."""
        return not self._known.settled or self._known.finished != server.history.finished

    def _go_on(self, server: Server, prompt_tokens: int) -> Batch:
        """A batch for those who run, of so many prompt tokens."""
        batch = server.new_batch(server.decoding_count + prompt_tokens)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        return batch

    def _look(self, server: Server) -> Batch:
        """A batch for those who run, and for others if there is room."""
        batch = self._go_on(server, self._prompt_tokens(server)) if server.prefilling else None
        if batch and not batch.tokens_left:
            return batch
        line, plan = self.world(server)
        rows = line.fitting(plan) if self._anew(server) else line.these(plan, self._newcomers)
        if batch is None:
            enough = int(line.counts[KNOWN, rows[0]]) if len(rows) == 1 else NO_LIMIT
            batch = self._go_on(server, self._prompt_tokens(server, enough) if len(rows) else 0)
        if len(rows) and not batch.preempted:
            self._start(server, batch, line, plan, rows)
        memo = Memo(server.history.finished, len(self._newcomers), settled=not batch.prefills)
        if batch.prefills:
            batch.memo = memo
        else:  # asked again it says the same; and the end of a batch that only decodes is not told
            self._note(memo)
        return batch

    def _start(self, server: Server, batch: Batch, line: Line, plan: Plan, rows: Rows | list[int]) -> None:
        if len(rows) > 1:
            self.choose(server, batch, line, plan.copy(), np.array(rows))
        elif line.fits(plan, rows[0], batch.tokens_left):  # there is no choice, which spares most of the work
            batch.admit(line.requests[rows[0]])

    # -- how much an iteration computes ---------------------------------------------------------------------------

    def _prompt_tokens(self, server: Server, enough: int = NO_LIMIT) -> int:
        """Prompt tokens that keep the decodes on time; at least one, and no more than are ``enough``."""
        most = min(int(self.largest_budget * server.machine.pivot.forward_size) - server.decoding_count, enough)
        if self._tightest[0] != server.pool.version:
            self._tightest = server.pool.version, min([each.slo.tbt for each in server.decoding], default=inf)
        if self._tightest[1] < inf:
            late = self._late(server, self._tightest[1])
            if most > self._near or late(most):
                self._near = last_before(late, self._near)
                most = min(most, self._near)
        return max(most, 1)

    def prompt_tokens(self, server: Server, seconds: float, near: int) -> int:
        """Prompt tokens, started prompts first, that an iteration with all decodes computes in so many seconds;
        probably ``near`` so many."""
        return last_before(self._late(server, seconds), near)

    def _late(self, server: Server, seconds: float) -> Callable[[int], bool]:
        """Whether an iteration with all decodes and so many prompt tokens takes more than so many seconds."""
        decodes, context = server.pool.size, server.pool.context
        started = [(request.kv_tokens, request.prefill_left) for request in server.prefilling]

        def late(tokens: int) -> bool:
            pairs, rest = 0.0, tokens
            for cached, left in started:
                chunk = min(left, rest)
                pairs += chunk * (cached + chunk / 2)
                rest -= chunk
            shape = BatchShape(tokens, decodes, context, pairs + rest * rest / 2, decodes + len(started) + 1)
            return server.cost_model.iteration_time(shape) > seconds

        return late
