"""Recorded steps of FastServe: what its lines tell beyond those of the other schedulers, compared, too."""

from __future__ import annotations

from collections.abc import Iterable

from costmodel import BatchShape
from experiments.recordings import Recording
from experiments.steps import Replay
from sim.batch import Batch
from sim.request import Phase, Request
from sim.schedulers.fastserve.in_turn import InTurn
from sim.schedulers.fastserve.mlfq import Mlfq
from sim.schedulers.fastserve.newcomers import Job
from sim.schedulers.fastserve.swapping import Plan
from sim.server import Server


class FastServeReplay(Replay):
    """Compares levels, queues and swaps. Batches that only move requests are no lines of their own: what moves after a
    step stands in that step's line and, as far as it is preempted, in the next."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(recording)
        self._preempted: list[str] = []
        self._left: list[str] = []
        """Who left the device since the last step, and of them, who did not right after it."""
        self._ran: list[Request] = []
        self._runs: list[Job] = []
        self._levels: dict[Job, int] = {}

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        """Compares the decision."""
        policy, left, back = server.scheduler, self._names(batch.preempted), self._names(batch.resumed)
        self._preempted += left
        if not (isinstance(policy, Mlfq) and policy.after):
            self._left += left
        if not batch.tokens:
            return
        tokens = dict.fromkeys(server.pool, 1) if server.decodes_now else {}
        tokens |= batch.prefills
        context = sum(request.kv_tokens + new for request, new in tokens.items())
        names = [name for name, _ in self.line["batch"]]
        self._compare("start", server.now)
        self._compare("batch", {self._id(request): new for request, new in tokens.items()}, dict(self.line["batch"]))
        self._compare("tokens", shape.forward_size)
        self._compare("running", len(tokens))
        self._compare("context", context)
        self._compare("free_blocks", server.free_blocks)
        self._compare("preempted", self._preempted)
        self._compare("swapped_out", self._left)
        self._compare("swapped_in", back)
        self._compare("swap_n_blocks", shape.swapped_tokens // server.block_size)
        gone = [r for r in self._ran if r.phase is not Phase.FINISHED and r not in tokens]
        self._compare("descheduled", sorted(self._names(gone)), sorted(self.line["descheduled"]))
        self._compare("duration", self._duration(shape, context))
        if isinstance(policy, Mlfq):
            self._levels = {job: job.level for job in policy.jobs.values()}
            self._runs = list(batch.memo.runs)
            levels = {self._id(request): policy.jobs[request].level for request in tokens}
            self._compare("levels", [levels[name] for name in names])
        self._ran, self._preempted, self._left = list(tokens), [], []

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        """Compares what came of it."""
        if not batch.tokens:
            return
        policy = server.scheduler
        assert isinstance(policy, Mlfq | InTurn)
        gone = [request for request in self._ran if request.phase is Phase.FINISHED]
        self._compare("new_tokens", len(self._ran))
        self._compare("finished", sorted(self._names(gone)), sorted(self.line["finished"]))
        self._compare("free_cpu_blocks", policy.host_free)
        free = server.free_blocks
        if isinstance(policy, Mlfq):
            free += self._moves_after(policy)
            self._levels_after(policy, batch.memo)
        else:
            self._compare("swapped", self._names(policy.swapped))
            self._compare("waiting", sum(request.arrived_at <= self.line["start"] for request in policy.queue))
        self._compare("free_blocks_end", free)
        self.step += 1

    def _moves_after(self, policy: Mlfq) -> int:
        """Blocks that come free by what moves right after the step."""
        outs = [job.request for job in policy.after.outs] if policy.after else []
        ins = [job.request for job in policy.after.ins] if policy.after else []
        self._compare("post_swapped_out", self._names(outs))
        self._compare("post_swapped_in", self._names(ins))
        return sum(request.blocks for request in outs) - sum(request.host_blocks for request in ins)

    def _levels_after(self, policy: Mlfq, plan: Plan) -> None:
        """Who came to another level, and the queues' lengths when the step started; those it puts back come later."""
        before = self._levels
        stay = {job for job in self._runs if job.request.phase is not Phase.FINISHED}
        demoted = [job.request for job in stay if job.level > before[job]]
        self._compare("demoted", sorted(self._names(demoted)), sorted(self.line["demoted"]))
        promoted = set(self._names(job.request for job in plan.promoted))
        moved = set(self._names(job.request for job in plan.promoted if before[job]))
        theirs = set(self.line["promoted"])  # whether those of level 0 are among them makes no difference
        self._compare("promoted", sorted(moved | (theirs & promoted)), sorted(theirs))
        queues = [0] * len(policy.levels.queues)
        for job in policy.levels:
            queues[job.level] += job not in stay and job.request.arrived_at <= self.line["start"]
        self._compare("queues", _without_end(queues), _without_end(self.line["queues"]))
        self._compare("waiting", sum(queues))

    def _names(self, requests: Iterable[Request]) -> list[str]:
        return [self._id(request) for request in requests]


def _without_end(queues: list[int]) -> list[int]:
    """Levels up to the last that has anybody."""
    last = max((level for level, length in enumerate(queues) if length), default=-1)
    return queues[: last + 1]
