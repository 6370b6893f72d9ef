"""Who moves between device and host when some are to run and blocks are to stay free: FastServe's ``reserve``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sim.request import Phase, Request
from sim.schedulers.fastserve.levels import Levels
from sim.schedulers.fastserve.newcomers import Job
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.fastserve.policy import FastServe


@dataclass(eq=False, slots=True)
class Plan:
    """What is decided for one step, or for the moment after it."""

    start: float
    host_free: float
    """Blocks free on the host, in the end."""
    runs: list[Job] = field(default_factory=list)
    """In the order of their choice."""
    decodes: dict[Request, None] = field(default_factory=dict)
    """Those of them that decode already."""
    taken: int = 0
    """How many were chosen, those that go ``back`` included."""
    guarded: bool = False
    """Whether those that never ran were passed over."""
    newcomers: int = 0
    """Requests that were there but not in the queues yet."""
    back: list[Job] = field(default_factory=list)
    """Chosen, but there was no room; the last first."""
    outs: dict[Job, bool] = field(default_factory=dict)
    """Who leaves the device, and whether to the host."""
    ins: list[Job] = field(default_factory=list)
    """Who comes back from the host without running."""
    promoted: list[Job] = field(default_factory=list)
    """The starved, once it is over."""
    after: bool = False
    """Whether it is for the moment after a step."""
    steady: bool = False
    """Whether nobody moves and all decode."""


class Keeper(Protocol):
    """Who remembers the jobs, and how many blocks are to stay free."""

    policy: FastServe
    jobs: dict[Request, Job]
    spare: int


def reserve(plan: Plan, server: Server, keeper: Keeper, levels: Levels) -> None:
    """Makes room for those that run and the spare blocks; or, if there is more room, lets others come back early."""
    need = resumed = 0
    decodes = plan.decodes
    for job in plan.runs:
        request = job.request
        if request.phase is Phase.DECODING:
            decodes[request] = None
        else:
            need += server.blocks_for(request.known_tokens)
            resumed += request.host_blocks
    if decodes:
        need += server.growth(decodes)
    room = server.free_blocks - keeper.spare - need
    if room < 0:
        _make_room(plan, server, keeper, -room, levels)
        resumed = sum(job.request.host_blocks for job in plan.runs)
        for job in plan.back:
            decodes.pop(job.request, None)
    plan.host_free += resumed
    plan.steady = room >= 0 and 0 < len(decodes) == len(plan.runs)
    if room > resumed and server.swapped and keeper.policy.proactive:
        _bring_back(plan, room - resumed, keeper.policy.max_num_seqs, levels)


def _make_room(plan: Plan, server: Server, keeper: Keeper, short: int, levels: Levels) -> None:
    """The last in the queues leave the device first, then the last of those that were to run.

    What the host cannot hold is dropped. The spare blocks are used for whom the cache else never holds (inferred).
    """
    first = next(iter(plan.runs or levels), None)
    if first is None:
        return
    short -= max(0, keeper.spare - server.total_blocks + server.blocks_for(first.request.known_tokens))
    running = {job.request for job in plan.runs}
    others = [keeper.jobs[request] for request in server.running_requests if request not in running]
    for job in sorted(others, key=_place):
        if short <= 0:
            return
        short -= _leave(plan, job)
    while short > 0 and plan.runs:
        job = plan.runs.pop()
        plan.back.append(job)
        short -= server.blocks_for(job.request.known_tokens)
        if job.request.phase is Phase.DECODING:
            _leave(plan, job)


def _place(job: Job) -> tuple[int, int]:
    """From the back of the last level to the front of the first."""
    return -job.level, job.place


def _leave(plan: Plan, job: Job) -> int:
    blocks = job.request.blocks
    swap = plan.outs[job] = blocks <= plan.host_free
    plan.host_free -= blocks if swap else 0
    return blocks


def _bring_back(plan: Plan, room: int, looks: int, levels: Levels) -> None:
    """Of the first ``looks`` in the queues, those on the host that fit into ``room`` blocks."""
    for job in levels.behind(plan.runs, looks):
        blocks = job.request.host_blocks
        if 0 < blocks <= room:
            plan.ins.append(job)
            plan.host_free += blocks
            plan.steady = False
            room -= blocks
