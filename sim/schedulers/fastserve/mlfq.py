"""FastServe's multi-level feedback queue on one server: who runs next."""

from __future__ import annotations

from sim.batch import Batch
from sim.request import Phase
from sim.schedulers.fastserve.levels import Levels
from sim.schedulers.fastserve.memory import Memory
from sim.schedulers.fastserve.swapping import Plan, reserve
from sim.server import Server

CAREFUL = 0.999
"""Share of the time to a demotion for which steps are not looked at one by one: sums of floats are not exact."""


class Mlfq(Memory):
    """The decisions."""

    def __repr__(self) -> str:
        return repr(self.policy)

    def schedule(self, server: Server) -> Batch:
        plan = self.after or self._plan(server)
        batch = server.new_batch(1 << 60)
        batch.memo = plan
        if plan.steady:
            batch.decode_only(plan.decodes, self.spare)
            self._hold(server, batch)
        else:
            self._move(batch, plan)
        if not (plan.steady and plan.guarded):  # that promise is kept when somebody arrives, whoever it is
            for request, why in self.hopeless.items():
                batch.reject(request, why)
        return batch

    def _move(self, batch: Batch, plan: Plan) -> None:
        for job, swap in plan.outs.items():
            batch.preempt(job.request, swap)
        for job in plan.runs:
            if job.request.phase is Phase.SWAPPED:
                batch.resume(job.request)
        for job in plan.ins:
            batch.resume(job.request, run=False)
        for job in plan.runs:
            if job.prompt:
                batch.admit(job.request, job.request.known_tokens)
        batch.decode_only(plan.decodes)

    def _plan(self, server: Server) -> Plan:
        """The next step."""
        policy, levels = self.policy, self.levels
        if self.inbox:  # only when nobody else was there
            levels = Levels(self.inbox)
        plan = Plan(server.now, self.host_free, newcomers=len(self.inbox))
        plan.guarded = bool(self.host) and self.host_free / self.host < 0.1
        left, runs = policy.budget, plan.runs
        for job in levels.first(policy.max_num_seqs, veterans=plan.guarded):
            if runs and (job.prompt or 1) > left:
                break
            left -= job.prompt
            runs.append(job)
        plan.taken = len(runs)
        reserve(plan, server, self, levels)
        return plan

    def _hold(self, server: Server, batch: Batch) -> None:
        """The same run until somebody may be demoted or starved ones are looked for; in another order."""
        plan: Plan = batch.memo
        left = self.policy.starvation_period - self.iteration % self.policy.starvation_period - 1
        if not left or server.decode_line is None:
            return
        seconds = min(self._quanta[job.level] - job.process for job in plan.runs)
        if server.crowded:
            fixed, slope = server.decode_line(len(plan.runs))
            seconds = min(seconds, left * (fixed + slope * server.pool.context))
        batch.hold(head_of_line=plan.guarded, until=server.now + CAREFUL * seconds)
