"""FastServe's multi-level feedback queue on one server: who runs, who moves between device and host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sim.batch import Batch
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.schedulers.levels import Job, Levels
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.fastserve import FastServe


@dataclass(eq=False, slots=True)
class Plan:
    """What is decided for one step, or for the moment after it."""

    start: float
    host_free: float
    chosen: int = 0
    """Jobs taken from the queues, those that go ``back`` included."""
    newcomers: int = 0
    """Requests that were there but not in the queues yet."""
    guarded: bool = False
    """Whether those that never ran were passed over."""
    runs: list[Job] = field(default_factory=list)
    back: list[Job] = field(default_factory=list)
    outs: dict[Job, bool] = field(default_factory=dict)
    """Who leaves the device, and whether to the host."""
    ins: list[Job] = field(default_factory=list)
    """Who comes back from the host without running."""
    promoted: list[Job] = field(default_factory=list)
    after: bool = False
    """Whether it is for the moment after a step."""


class Mlfq(Scheduler):
    """The policy on one server; its memory changes in ``arrived`` and ``ended`` only."""

    def __init__(self, policy: FastServe, server: Server) -> None:
        self.policy = policy
        self.levels = Levels()
        self.jobs: dict[Request, Job] = {}
        self.inbox: list[Job] = []
        """Arrivals that the queues will get when the step and what comes after it are over."""
        self.hopeless: dict[Request, str] = {}
        self.after: Plan | None = None
        """What is to be moved now that a step is over."""
        self.iteration = 0
        self.host = self.host_free = policy.host_blocks(server)
        self.spare = 0
        """Blocks to keep free."""
        if policy.proactive:
            self.spare = max(policy.max_num_seqs, policy.num_min_free_blocks_threshold)
        self._times = policy.times(server)
        self._server = server

    def __repr__(self) -> str:
        return repr(self.policy)

    def arrived(self, request: Request) -> None:
        tokens, total = request.prompt_tokens, self._server.total_blocks
        blocks = self._server.blocks_for(tokens)
        if why := self.policy.too_long(tokens):
            self.hopeless[request] = why
        elif blocks + self.spare > total:
            self.hopeless[request] = f"it needs {blocks} blocks; of the cache's {total}, {self.spare} stay free"
        else:
            job = self.jobs[request] = Job(request, self.policy.joins(tokens, self._times), tokens)
            self.inbox.append(job)

    # -- decisions ----------------------------------------------------------------------------------------------

    def schedule(self, server: Server) -> Batch:
        plan = self.after or self._plan(server)
        batch = server.new_batch(1 << 60)
        batch.memo = plan
        for job, swap in plan.outs.items():
            batch.preempt(job.request, swap)
        for request, why in self.hopeless.items():
            batch.reject(request, why)
        for job in plan.runs:
            if job.request.phase is Phase.SWAPPED:
                batch.resume(job.request)
        for job in plan.ins:
            batch.resume(job.request, run=False)
        for job in plan.runs:
            if job.prompt:
                batch.admit(job.request, job.request.known_tokens)
            elif job.request.phase is Phase.DECODING:
                batch.decode(job.request)
        return batch

    def _plan(self, server: Server) -> Plan:
        """The next step."""
        levels = self.levels
        if self.inbox:  # only when nobody else was there
            levels = Levels()
            for job in self.inbox:
                levels.append(job)
        plan = Plan(server.now, self.host_free, newcomers=len(self.inbox))
        plan.guarded = bool(self.host) and self.host_free / self.host < 0.1
        left = self.policy.max_num_batched_tokens
        for job in levels.veterans if plan.guarded else levels:
            if (job.prompt or 1) > left or len(plan.runs) == self.policy.max_num_seqs:
                break
            left -= job.prompt
            plan.runs.append(job)
        plan.chosen = len(plan.runs)
        self._reserve(server, plan, levels)
        return plan

    def _reserve(self, server: Server, plan: Plan, levels: Levels) -> None:
        """Makes room for those that run and the blocks to keep free; or, if there is more, lets others come back."""
        need = sum(self._grows(server, job) for job in plan.runs)
        short = self.spare + need - server.free_blocks
        if short > 0:
            self._make_room(server, plan, short)
        for job in plan.runs:
            if job.request.phase is Phase.SWAPPED:
                plan.host_free += job.request.host_blocks
        if short < 0 and self.policy.proactive and server.swapped:
            self._bring_back(server, plan, levels, need)

    def _grows(self, server: Server, job: Job) -> int:
        request = job.request
        return server.blocks_for(request.known_tokens) - request.blocks

    def _make_room(self, server: Server, plan: Plan, short: int) -> None:
        """The last in the queues leave the device first, then the last of those that were to run."""
        first = plan.runs[0] if plan.runs else next(self.levels.veterans, None)
        if first is None:
            return
        room = server.total_blocks - server.blocks_for(first.request.known_tokens)
        short -= self.spare - min(self.spare, room)
        running = set(plan.runs)
        waiting = [job for job in map(self.jobs.__getitem__, server.running_requests) if job not in running]
        for job in sorted(waiting, key=lambda job: (-job.level, job.place)):
            if short <= 0:
                break
            short -= self._leaves(plan, job)
        while short > 0 and plan.runs:
            job = plan.runs.pop()
            plan.back.append(job)
            short -= server.blocks_for(job.request.known_tokens)
            if job.request.phase is Phase.DECODING:
                self._leaves(plan, job)

    def _leaves(self, plan: Plan, job: Job) -> int:
        blocks = job.request.blocks
        swap = plan.outs[job] = blocks <= plan.host_free
        if swap:
            plan.host_free -= blocks
        return blocks

    def _bring_back(self, server: Server, plan: Plan, levels: Levels, need: int) -> None:
        """Of the first in the queues, those on the host that fit beside all that is needed."""
        running = set(plan.runs)
        back = [job.request.host_blocks for job in plan.runs if job.request.phase is Phase.SWAPPED]
        room = server.free_blocks - sum(back) - self.spare - need
        looks = self.policy.max_num_seqs
        for job in levels:
            if job in running:
                continue
            if not looks or room <= 0:
                break
            looks -= 1
            blocks = job.request.host_blocks
            if job.request.phase is Phase.SWAPPED and blocks <= room:
                plan.ins.append(job)
                plan.host_free += blocks
                room -= blocks

    # -- what came of them --------------------------------------------------------------------------------------

    def ended(self, server: Server, batch: Batch) -> None:
        plan: Plan = batch.memo
        for request in batch.rejected:
            del self.hopeless[request]
        self.host_free = plan.host_free
        for job, swapped in plan.outs.items():
            if not swapped:
                job.prompt = min(job.request.known_tokens, self.policy.max_num_batched_tokens)
        if plan.after:
            self.after = None
            return
        self._commit(plan)
        self._step(plan, server.now)
        after = Plan(server.now, self.host_free, after=True)
        self._reserve(server, after, self.levels)
        self.after = after if after.outs or after.ins else None
        self._take_in(len(self.inbox))

    def _take_in(self, number: int) -> None:
        for job in self.inbox[:number]:
            self.levels.append(job)
        del self.inbox[:number]

    def _commit(self, plan: Plan) -> None:
        """Leaves the queues as they are when a step starts."""
        levels, policy = self.levels, self.policy
        self._take_in(plan.newcomers)
        if plan.guarded:
            levels.take_veterans(plan.chosen)
        else:
            levels.take(plan.chosen)
        for job in reversed(plan.back):
            levels.push_front(job)
        if plan.runs:
            self.iteration += 1
            if self.iteration % policy.starvation_period == 0:
                plan.promoted = levels.promote(lambda job: plan.start - job.stepped_at >= policy.starvation_threshold)

    def _step(self, plan: Plan, end: float) -> None:
        """Everybody who ran is charged for the whole step, and returns to the front of his level or of the next."""
        for job in plan.runs:
            job.ran, job.prompt, job.stepped_at = True, 0, end
            job.process += end - plan.start
            if job.request.phase is Phase.FINISHED:
                del self.jobs[job.request]
                continue
            if job.process > self.policy.quantum(job.level):
                job.level += 1
                job.process = 0.0
            self.levels.push_front(job)
