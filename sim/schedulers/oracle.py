"""Oracle: a policy that is told the truth about output lengths, and plans the cache with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

import numpy as np

from costmodel import BatchShape
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.parameters import Count, Positive
from sim.predictor import Perfect, Predictor
from sim.scheduler import Scheduler
from sim.schedulers.clairvoyance.clairvoyant import Clairvoyant
from sim.schedulers.clairvoyance.line import KNOWN, STEPS, TTFT, Line, Rows
from sim.schedulers.clairvoyance.plan import Plan
from sim.schedulers.clairvoyance.selection import NEVER, Offer, select
from sim.server import Server

MOST_CANDIDATES = 12


@dataclass(frozen=True)
class Oracle(Scheduler):
    """Clairvoyant: it never preempts, does not make decodes late, and starts the best selection of those who wait.

    The paper's Oracle searched for the execution order with the highest goodput (stated); how is not known. This one
    (this project's own) decides one iteration at a time and knows nothing of arrivals to come; ``slosim search`` finds
    orders that do. A request starts only if the cache holds all running ones to their true ends; chunks are cut so that
    the calibrated iteration time meets the tightest between-token SLO. It is a reference, not a bound.
    """

    predictor: ClassVar[Predictor] = Perfect()
    value: Literal["tokens", "requests"] = "tokens"
    """What a selection is to maximise after the requests that get their first token in time: the steps x tokens of
    cache that they will fill, which bounds tokens per second, or their number."""
    candidates: Count = 6
    """Waiting requests among which all choices are tried at a time: of those who fit, each alone, first who can be on
    time, by deadline, then those with the most cache to fill (the least, if requests count)."""
    largest_budget: Positive = 4.0
    """Forward size in pivots when no decode limits it."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).schedule(server)

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST_CANDIDATES or self.value not in ("tokens", "requests"):
            raise SchedulerError(
                f"{self!r}: candidates must be from 1 to {MOST_CANDIDATES}, as all their subsets are tried; "
                "value must be 'tokens' or 'requests'"
            )

    def bind(self, server: Server) -> Scheduler:
        return BoundOracle(self)


class BoundOracle(Clairvoyant):
    """The policy on one server."""

    def __init__(self, policy: Oracle) -> None:
        super().__init__(policy, policy.largest_budget)
        self.candidates = policy.candidates
        self.tokens_count = policy.value == "tokens"

    def choose(self, server: Server, batch: Batch, line: Line, plan: Plan, rows: Rows) -> None:
        rows, limits = self._in_order(server, batch, line, line.within(plan, rows, batch.tokens_left))
        while len(rows):
            some, rows = rows[: self.candidates], rows[self.candidates :]
            choice = select(self._offer(line, plan, some, limits, batch))
            for place in choice.whole:
                self.admit(batch, line, plan, some[place])
            if choice.part is not None:
                self.admit(batch, line, plan, some[choice.part], choice.chunk)
            if not (batch.tokens_left and len(rows) and limits.keys().isdisjoint(some.tolist())):
                return  # if one of them is to be on time, whoever came in addition would make him late
            rows = line.within(plan, line.fitting(plan, rows), batch.tokens_left)

    def _in_order(self, server: Server, batch: Batch, line: Line, rows: Rows) -> tuple[Rows, dict[int, int]]:
        """The rows in the order in which they are candidates; and up to how many prompt tokens each is on time, if it
        can be."""
        volume = self._volume(line, rows)
        rows = rows[np.argsort(-volume if self.tokens_count else volume, kind="stable")]
        soon = rows[line.dues[TTFT, rows] > server.now]
        if not len(soon):
            return rows, {}
        started, limits, late = batch.tokens - server.decoding_count, {}, {}
        for due, row in zip(self._due(server, line, soon), soon.tolist(), strict=True):
            known = int(line.counts[KNOWN, row])
            tokens = self.prompt_tokens(server, due - server.now, started + known) - started if due > server.now else 0
            if tokens >= known:
                limits[row], late[row] = tokens, due
        return rows[np.argsort([late.get(row, inf) for row in rows.tolist()], kind="stable")], limits

    def _due(self, server: Server, line: Line, rows: Rows) -> list[float]:
        """When each must get its first token at last, seconds; for a completion SLO, if it then decodes as all do."""
        due, jct = line.dues[:, rows]
        if jct.min(initial=inf) < inf:
            number = server.pool.size + 1
            step = server.cost_model.iteration_time(BatchShape(0, number, server.pool.context, 0.0, number))
            due = np.minimum(due, jct - step * (line.counts[STEPS, rows] - 1))
        dues: list[float] = due.tolist()
        return dues

    def _volume(self, line: Line, rows: Rows) -> Rows:
        """Steps x tokens of cache, doubled, which keeps them whole."""
        known, steps = line.counts[:, rows]
        volume: Rows = steps * (2 * known + steps - 1)
        return volume

    def _offer(self, line: Line, plan: Plan, rows: Rows, limits: dict[int, int], batch: Batch) -> Offer:
        known, steps = line.counts[:, rows]
        at, room = plan.crests(steps)
        needs = np.where(at < steps[:, None], -(-(known[:, None] + at) // plan.size), 0)
        worth = self._volume(line, rows) if self.tokens_count else np.ones_like(rows)
        most = np.array([limits.get(row, NEVER) for row in rows.tolist()])
        return Offer(needs, plan.table[known + steps - 1], room, known, batch.tokens_left, most, worth)
