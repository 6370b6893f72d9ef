"""Oracle: a policy that is told the truth about output lengths, and plans the cache with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from costmodel import BatchShape
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.predictor import Perfect, Predictor
from sim.scheduler import Scheduler
from sim.schedulers.clairvoyance.clairvoyant import Clairvoyant
from sim.schedulers.clairvoyance.line import KNOWN, STEPS, Line, Rows
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
    candidates: int = 6
    """Waiting requests among which all choices are tried at a time: of those who fit, each alone, first who can be on
    time, by deadline, then those with the most cache to fill (the least, if requests count)."""
    largest_budget: float = 4.0
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
        rows, limits = self._in_order(server, batch, line, plan, line.hopeful(plan, rows, batch.tokens_left))
        while batch.tokens_left:
            some, rows = line.first_fitting(plan, rows, self.candidates)
            if not len(some):
                return
            choice = select(self._offer(line, plan, some, limits, batch))
            for place in choice.whole:
                self.admit(batch, line, plan, some[place])
            if choice.part is not None:
                self.admit(batch, line, plan, some[choice.part], choice.chunk)
            if not limits.keys().isdisjoint(some.tolist()):
                return  # whoever came in addition would make them late
            rows = line.hopeful(plan, rows, batch.tokens_left)

    def _in_order(
        self, server: Server, batch: Batch, line: Line, plan: Plan, rows: Rows
    ) -> tuple[Rows, dict[int, int]]:
        """The rows in the order in which they are candidates; and up to how many prompt tokens each is on time, if it
        can be."""
        due, started, limits = self._due(server, line, rows), batch.tokens - server.decoding_count, {}
        soon = (due > server.now).nonzero()[0]
        late = np.full(len(rows), inf)
        fitting = set(line.fitting(plan, rows[soon]).tolist())
        for place, row in zip(soon.tolist(), rows[soon].tolist(), strict=True):
            known = int(line.counts[KNOWN, row])
            if row in fitting:
                tokens = self.prompt_tokens(server, due[place] - server.now, started + known) - started
                if tokens >= known:
                    limits[row], late[place] = tokens, due[place]
        volume = self._volume(line, rows)
        return rows[np.lexsort((-volume if self.tokens_count else volume, late))], limits

    def _due(self, server: Server, line: Line, rows: Rows) -> NDArray[np.float64]:
        """When each must get its first token at last, seconds; for a completion SLO, if it then decodes as all do."""
        due: NDArray[np.float64]
        due, jct = line.dues[:, rows]
        if jct.min(initial=inf) < inf:
            number = server.pool.size + 1
            step = server.cost_model.iteration_time(BatchShape(0, number, server.pool.context, 0.0, number))
            due = np.minimum(due, jct - step * (line.counts[STEPS][rows] - 1))
        return due

    def _volume(self, line: Line, rows: Rows) -> Rows:
        """Steps x tokens of cache, doubled, which keeps them whole."""
        known, steps, _, _ = line.counts[:, rows]
        volume: Rows = steps * (2 * known + steps - 1)
        return volume

    def _offer(self, line: Line, plan: Plan, rows: Rows, limits: dict[int, int], batch: Batch) -> Offer:
        known, steps, _, last = line.counts[:, rows]
        tops, room, _, _ = plan.tops()
        own = plan.free(int(steps.max()))[steps - 1]
        needs = line.needs(rows, np.concatenate([tops - plan.now, steps - 1]))
        worth = self._volume(line, rows) if self.tokens_count else np.ones_like(rows)
        most = np.array([limits.get(row, NEVER) for row in rows.tolist()])
        return Offer(needs, last, np.concatenate([room, own]), known, batch.tokens_left, most, worth)
