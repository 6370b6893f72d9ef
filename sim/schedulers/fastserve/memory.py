"""What FastServe's multi-level feedback queue remembers from step to step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

from sim.batch import Batch
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.schedulers.fastserve.levels import Levels
from sim.schedulers.fastserve.newcomers import Job
from sim.schedulers.fastserve.swapping import Plan, reserve
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.fastserve.policy import FastServe

_by_level = attrgetter("level")


class Memory(Scheduler):
    """Queues, process times and the host's blocks; they change in ``arrived``, ``ended`` and ``repeated`` only."""

    def __init__(self, policy: FastServe, server: Server) -> None:
        self.policy = policy
        self.levels = Levels()
        self.jobs: dict[Request, Job] = {}
        self.inbox: list[Job] = []
        """Arrivals that the queues will get when the step, and what moves right after it, are over."""
        self.hopeless: dict[Request, str] = {}
        self.after: Plan | None = None
        """What is to move now that a step is over."""
        self.iteration = 0
        self.host = self.host_free = policy.host_blocks(server)
        self.spare = policy.spare
        self._times = policy.times(server)
        self._quanta: list[float] = []
        self._server = server

    def arrived(self, request: Request) -> None:
        tokens, total = request.prompt_tokens, self._server.total_blocks
        blocks = self._server.blocks_for(tokens)
        if why := self.policy.too_long(tokens):
            self.hopeless[request] = why
        elif blocks + self.spare > total:
            self.hopeless[request] = f"it needs {blocks} blocks; of the cache's {total}, {self.spare} stay free"
        else:
            job = self.jobs[request] = Job(request, 0, tokens)
            self._grant(job, self.policy.joins(tokens, self._times))
            self.inbox.append(job)

    def _grant(self, job: Job, level: int) -> None:
        """A job comes to a level."""
        job.level, job.process = level, 0.0
        while len(self._quanta) <= level:
            self._quanta.append(self.policy.quantum(len(self._quanta)))

    def ended(self, server: Server, batch: Batch) -> None:
        plan: Plan = batch.memo
        for request in batch.rejected:
            del self.hopeless[request]
        self.host_free = plan.host_free
        for job, swapped in plan.outs.items():
            if not swapped:
                job.prompt = self.policy.anew(job.request.known_tokens)
        if plan.after:
            self.after = None
        else:
            self._pass(server, plan, (server.now,))

    def repeated(self, server: Server, batch: Batch, ends: Sequence[float]) -> None:
        self._pass(server, batch.memo, ends)

    def _pass(self, server: Server, plan: Plan, ends: Sequence[float]) -> None:
        """The same jobs ran in steps that ended then; only of the last may anything have come."""
        self._commit(plan, ends)
        if len(ends) % 2 == 0:
            plan.runs = _turned(plan.runs)
        self._charge(plan, ends)
        room = server.free_blocks - self.spare
        if room < 0 or (room > 0 and server.swapped and self.policy.proactive):
            after = Plan(server.now, self.host_free, after=True)
            reserve(after, server, self, self.levels)
            self.after = after if after.outs or after.ins else None
        self._take_in(len(self.inbox))
        if plan.steady:  # it may be repeated
            plan.start, plan.newcomers, plan.runs = ends[-1], 0, _turned(plan.runs)
            plan.taken = len(plan.runs)

    def _take_in(self, number: int) -> None:
        for job in self.inbox[:number]:
            self.levels.append(job)
        del self.inbox[:number]

    def _commit(self, plan: Plan, ends: Sequence[float]) -> None:
        """Leaves the queues as they are when the last step starts."""
        levels, policy = self.levels, self.policy
        if plan.newcomers:
            self._take_in(plan.newcomers)
        if plan.guarded:
            self._pass_over(plan.taken, ends)
        else:
            levels.take(plan.taken)
        for job in reversed(plan.back):
            levels.push_front(job)
        if plan.runs:
            self.iteration += len(ends)
            if self.iteration % policy.starvation_period == 0:  # after several steps only if nobody waits
                plan.promoted = levels.promote(lambda job: plan.start - job.stepped_at >= policy.starvation_threshold)

    def _pass_over(self, taken: int, ends: Sequence[float]) -> None:
        """Every step turns around those that never ran; newcomers go behind them after the step they came in."""
        steps = 0
        while self.inbox and (before := bisect_left(ends, self.inbox[0].request.arrived_at) + 1) < len(ends):
            self.levels.take_veterans(taken, turn=(before - steps) % 2 == 1)
            self._take_in(1)
            taken, steps = 0, before
        self.levels.take_veterans(taken, turn=(len(ends) - steps) % 2 == 1)

    def _charge(self, plan: Plan, ends: Sequence[float]) -> None:
        """Everybody who ran is charged for whole steps, and returns to the front of his level or of the next."""
        seconds = [end - start for start, end in pairwise((plan.start, *ends))]
        end, stay, quanta = ends[-1], [], self._quanta
        for job in plan.runs:
            if job.request.phase is Phase.FINISHED:
                del self.jobs[job.request]
                continue
            stay.append(job)
            process = job.process
            for each in seconds:
                process += each
            job.ran, job.prompt, job.stepped_at, job.process = True, 0, end, process
            if process > quanta[job.level]:
                self._grant(job, job.level + 1)
        self.levels.put_back(stay)
        plan.runs = stay


def _turned(runs: list[Job]) -> list[Job]:
    """The order of the next choice: each went to the front of its level."""
    turned = runs[::-1]
    turned.sort(key=_by_level)
    return turned
