"""Oracle: a policy that is told the truth about output lengths, and plans the cache with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import ClassVar

import numpy as np

from costmodel import BatchShape
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.predictor import Perfect, Predictor
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.budget import inverse
from sim.server import Server


@dataclass(frozen=True)
class Oracle(Scheduler):
    """Greedy and clairvoyant: never preempts, never makes a decode late, serves who can still be on time first.

    The paper's Oracle searched for the execution order with the highest goodput (stated); how is not known. This one
    (this project's own) admits a request only if the cache holds all running ones to their true ends, cuts chunks so
    that the calibrated iteration time meets the tightest between-token SLO, and orders by deadline those that can still
    make theirs, then the largest of the others, as in first-fit decreasing. It is a reference, not a bound.
    """

    predictor: ClassVar[Predictor] = Perfect()
    candidates: int = 128
    """Waiting requests considered for one batch."""
    largest_budget: float = 4.0
    """Forward size in pivots when no decode limits it."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).schedule(server)

    def bind(self, server: Server) -> BoundOracle:
        return BoundOracle(self)


class BoundOracle(Scheduler):
    """The policy on one server. It plans admissions anew whenever somebody comes or goes, not at every step."""

    def __init__(self, policy: Oracle) -> None:
        self.policy = policy
        self._nobody_fits: tuple[int, int, int] | None = None
        """Versions of queue and pool, and requests finished, for which the plan had no room."""

    def __repr__(self) -> str:
        return repr(self.policy)

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self._budget(server))
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        versions = (server.waiting.version, server.pool.version, server.history.finished)
        if server.waiting.size and batch.tokens_left and versions != self._nobody_fits:
            self._nobody_fits = None if self._admit(server, batch) else versions
        batch.hold()
        return batch

    def _budget(self, server: Server) -> int:
        """Tokens that keep the tightest running decode on time; at least one beyond the decodes."""
        pivot = server.machine.pivot_of("measured")
        tightest = min((request.slo.tbt for request in server.decoding), default=inf)
        most = max(server.decoding_count + 1, int(self.policy.largest_budget * pivot[0]))
        if tightest == inf:
            return most
        return min(most, max(server.decoding_count + 1, inverse(pivot)(server, tightest)))

    def _admit(self, server: Server, batch: Batch) -> int:
        """Starts whom the plan has room for; returns how many."""
        plan = Plan(server, [r for r in server.prefilling if batch.prefills.get(r, 0) < r.prefill_left])
        waiting = plan.fitting(islice(server.waiting, self.policy.candidates), batch.blocks_left)
        for request in sorted(waiting, key=lambda request: self._order(server, request)):
            if not batch.tokens_left:
                break
            fits = server.blocks_for(request.known_tokens) <= batch.blocks_left
            at_once = request.known_tokens <= batch.tokens_left
            if fits and plan.holds(request, at_once) and batch.admit(request):
                plan.add(request, at_once)
        return len(batch.admitted)

    def _order(self, server: Server, request: Request) -> tuple[bool, float, int]:
        """On time first, by deadline; then the largest that fits, which leaves the small ones to fill the gaps."""
        pool = server.pool
        shape = BatchShape(request.known_tokens, pool.size, pool.context, request.known_tokens**2 / 2, pool.size + 1)
        deadline = min(request.arrived_at + request.slo.ttft, request.arrived_at + request.slo.jct)
        late = server.now + server.cost_model.iteration_time(shape) > deadline
        return late, -(request.known_tokens + outputs_left(request)) if late else deadline, request.id


class Plan:
    """How many blocks all admitted requests will hold at every step to come, if each decodes in every iteration.

    When an ``unfinished`` prompt, one that takes further iterations, begins to decode is not known: what it needs in
    the end is set aside.
    """

    def __init__(self, server: Server, unfinished: Iterable[Request] = ()) -> None:
        self.server = server
        self.blocks = server.total_blocks
        self.ends: list[tuple[int, int]] = []
        aside = set(unfinished)
        for request in server.running_requests:
            self.add(request, request not in aside)

    def _end(self, request: Request) -> tuple[int, int]:
        """Steps to its end and the tokens that it then holds: by the prediction, but no more than the cache holds."""
        known = request.known_tokens
        left = min(outputs_left(request), self.server.total_blocks * self.server.block_size - known + 1)
        return left, known + left - 1

    def holds(self, request: Request, at_once: bool = True) -> bool:
        """Whether the cache holds everyone to the end with ``request`` among them. The use peaks when somebody ends.

        ``at_once``: all of its prompt is computed in the next iteration.
        """
        if not at_once:
            return self._peak(self.ends) + self._last_blocks(request) <= self.blocks
        return self._peak([*self.ends, self._end(request)]) <= self.blocks

    def _last_blocks(self, request: Request) -> int:
        return self.server.blocks_for(self._end(request)[1])

    def _peak(self, ends: list[tuple[int, int]]) -> int:
        if not ends:
            return 0
        steps, final = np.array(ends).T
        tokens = final - steps + steps[:, None]
        blocks = -(-tokens // self.server.block_size) * (steps >= steps[:, None])
        return int(blocks.sum(axis=1).max())

    def fitting(self, requests: Iterable[Request], free_blocks: int) -> list[Request]:
        """Those that have room now, and for which the plan ``holds``, each alone: all of them in one array step."""
        total, size = self.blocks, self.server.block_size
        some = [request for request in requests if self.server.blocks_for(request.known_tokens) <= free_blocks]
        if not some:
            return some
        own_steps, own_final = np.array([self._end(request) for request in some]).T
        steps, final = np.array(self.ends, dtype=np.int64).reshape(-1, 2).T
        held = -(-(final - steps + steps[:, None]) // size) * (steps >= steps[:, None])
        joined = -(-((own_final - own_steps)[:, None] + steps) // size) * (own_steps[:, None] >= steps)
        at_its_end = (-(-(final - steps + own_steps[:, None]) // size) * (steps >= own_steps[:, None])).sum(axis=1)
        others_end = (held.sum(axis=1) + joined).max(axis=1, initial=0)
        peaks = np.maximum(others_end, at_its_end - (-own_final // size))
        return [request for request, peak in zip(some, peaks.tolist(), strict=True) if peak <= total]

    def add(self, request: Request, at_once: bool = True) -> None:
        """Admits a request to the plan."""
        if at_once:
            self.ends.append(self._end(request))
        else:
            self.blocks -= self._last_blocks(request)


def outputs_left(request: Request) -> int:
    """Output tokens still to come, by the prediction."""
    if request.predicted_output is None:
        raise SchedulerError("Oracle needs to be told output lengths: use the predictor 'perfect' (the default for it)")
    return max(1, int(request.predicted_output) - request.generated)
