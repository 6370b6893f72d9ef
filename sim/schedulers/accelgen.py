"""AccelGen (arXiv 2503.13737): chunks cut to the tightest SLO, order by remaining time, GPU and cache filled."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import inf
from typing import Any, Literal

from sim.batch import Batch
from sim.queues import PriorityQueue
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.budget import Budget, equation_6, inverse, static
from sim.schedulers.filling import Filling
from sim.schedulers.slack import Slack, deadline
from sim.server import Server


@dataclass(frozen=True)
class AccelGen(Scheduler):
    """SLO-guaranteed dynamic chunking, iteration-level SLO priorities and multi-resource-aware batching.

    Its three components and ERA are switches, for ablation. What the paper leaves open is a parameter, marked inferred.
    """

    token_budget: Literal["eq6", "inverse"] = "eq6"
    """Equation (6), as stated; or the calibrated model inverted, this project's own."""
    pivot: Literal["measured", "paper"] | int = "measured"
    """S_pf: the profile's own, the paper's (768, 1280), or a number of tokens. T_pf is the profile's time for it."""
    gamma: float = 0.75
    """Seconds of remaining time within which requests count as alike (stated)."""
    dynamic_chunking: bool = True
    """Off: a static budget of ``static_chunk`` tokens."""
    static_chunk: int = 512
    slo_ordering: bool = True
    """Off: order of arrival, and nobody is urgent."""
    multi_resource: bool = True
    """Off: in queue order rather than by distance."""
    exclusive: bool = True
    """ERA: no new long prompt is started while one is unfinished (stated)."""
    long_prompts: int = 1
    """How many long prompts may be unfinished under ERA (literally "exclusive"; the number is inferred)."""
    long_prompt: int | None = None
    """Tokens beyond which a prompt is long; None: the pivot forward size (inferred)."""
    urgency: float = 1.0
    """Urgent is who has a remaining time of at most this many longest iterations (1: a review's reading; inferred)."""
    overdue: Literal["late", "urgent"] = "late"
    """A waiting request past its deadline: "late" keeps its place in the order, but its SLO is broken already, so it is
    not urgent and does not tighten the budget; "urgent" treats it like any other (inferred)."""
    admission: Literal["prompt", "chunk"] = "prompt"
    """What must fit the cache for a newcomer to start: all of its prompt, as vLLM's block manager demands on which the
    paper builds, or only a chunk: the letter of Algorithm 2, which drops and recomputes many half-done prompts when the
    cache is full (inferred; the chunk itself is cut to the smaller of compute and cache either way, as stated)."""
    watermark: float = 0.01
    """Share of the blocks that admissions leave free: vLLM's, on whose block manager the paper builds (inferred)."""
    normalized: bool = False
    """Whether the distance takes tokens and blocks as shares of what is available (the paper's, it seems, does not)."""
    candidates: int = 32
    """Waiting requests considered for one batch, in order of remaining time (this project's own bound)."""
    default_output: int = 256
    """Output tokens assumed for completion SLOs before any request has finished, without a predictor (inferred)."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).schedule(server)

    def bind(self, server: Server) -> BoundAccelGen:
        return BoundAccelGen(self, server)


class BoundAccelGen(Scheduler):
    """The policy on one server: its pivot and budget, and the order of the waiting queue."""

    def __init__(self, policy: AccelGen, server: Server) -> None:
        self.policy = policy
        self.server = server
        self._slack: tuple[tuple[float, int], Slack] | None = None
        self._order: tuple[int, float, float] = (0, 0.0, 0.0)
        self._head: tuple[int, list[tuple[int, Request]], int] = (-1, [], 0)
        self._range: tuple[int, tuple[float, float, bool]] = (-1, (inf, 0.0, True))

    def __repr__(self) -> str:
        return repr(self.policy)

    @cached_property
    def pivot(self) -> tuple[int, float]:
        """S_pf in tokens and T_pf in seconds."""
        return self.server.machine.pivot_of(self.policy.pivot)

    @cached_property
    def budget(self) -> Budget:
        """Tokens that an SLO allows."""
        if not self.policy.dynamic_chunking:
            return static(self.policy.static_chunk)
        return (equation_6 if self.policy.token_budget == "eq6" else inverse)(self.pivot)

    @property
    def long_prompt(self) -> int:
        """Tokens beyond which a prompt is long."""
        return self.pivot[0] if self.policy.long_prompt is None else self.policy.long_prompt

    @property
    def first_come_first_served(self) -> bool:
        return not self.policy.slo_ordering

    def slack(self) -> Slack:
        """Remaining times as of now."""
        moment = (self.server.now, self.server.history.iterations)
        if self._slack is None or self._slack[0] != moment:
            self._slack = moment, Slack(self.server, self.pivot, self.policy.default_output)
        return self._slack[1]

    def priority(self, request: Request) -> Any:
        """When the remaining time is used up, as of now; the order is refreshed when ``epoch`` changes."""
        slack = self.slack()
        return slack.now + slack.remaining(request)

    def deadline(self, request: Request) -> float:
        return deadline(request) if self.policy.overdue == "late" else inf

    def epoch(self, server: Server) -> Hashable:
        """The order is refreshed when parts of long prompts were batched (stated): here, when that moved the mean chunk
        or the longest iteration by 10 % since the last time (inferred)."""
        chunk, longest = server.history.mean_chunk or 0.0, server.history.longest_iteration
        number, old_chunk, old_longest = self._order
        if abs(chunk - old_chunk) > 0.1 * old_chunk or longest > 1.1 * old_longest:
            self._order = number + 1, chunk, longest
        return self._order[0]

    def schedule(self, server: Server) -> Batch:
        if not (server.prefilling or server.paused):
            batch = self._all_decode(server) if server.waiting.size else self._decode_only(server)
            if batch:
                return batch
        return Filling(self, server).batch

    def _decode_only(self, server: Server) -> Batch | None:
        """The common case in short: nobody waits, and all decodes fit together; the same until that changes."""
        tightest, _, steady = self.decode_slos()
        if not steady:
            return None
        batch = server.new_batch(self.budget(server, tightest))
        if server.pool.size > batch.tokens_left or server.pool.blocks_needed > batch.blocks_left:
            return None
        batch.decode_all()
        if self.policy.token_budget == "eq6":  # the inverse depends on the context, which grows
            batch.hold()
        return batch

    def _all_decode(self, server: Server) -> Batch | None:
        """In short what ``Filling`` comes to when all decodes are urgent and the cache has no room for anybody else."""
        tightest, loosest, steady = self.decode_slos()
        pool, free, longest = server.pool, server.free_blocks, server.history.longest_iteration
        watermark = int(self.policy.watermark * server.total_blocks)
        if not steady or loosest > (1 + self.policy.urgency) * longest or pool.last_step_at != server.now:
            return None
        if (
            not self.policy.slo_ordering
            or pool.blocks_needed > free
            or pool.size > (size := self.budget(server, tightest))
        ):
            return None
        if free - pool.blocks_needed > watermark and self.head()[1] <= free - pool.blocks_needed - watermark:
            return None
        batch = server.new_batch(size, watermark)
        batch.decode_all()
        return batch

    def head(self) -> tuple[list[tuple[int, Request]], int]:
        """The first waiting requests with the blocks that each needs to start, and the least of these needs; the late
        and the others apart. Kept until the queue changes."""
        waiting = self.server.waiting
        if self._head[0] != waiting.version:
            lines = (waiting.overdue, waiting.fresh) if isinstance(waiting, PriorityQueue) else (waiting,)
            requests = [request for line in lines for request in islice(line, self.policy.candidates)]
            whole = self.policy.admission == "prompt"
            needs = [(self.server.blocks_for(request.known_tokens) if whole else 1, request) for request in requests]
            self._head = waiting.version, needs, min((blocks for blocks, _ in needs), default=1 << 62)
        return self._head[1:]

    def decode_slos(self) -> tuple[float, float, bool]:
        """Tightest and loosest between-token SLO of the pool, and whether these are all that its members have: the
        share of a completion SLO changes with time. Kept until the members change."""
        pool = self.server.pool
        if self._range[0] != pool.version:
            slos = [request.slo for request in pool]
            gaps = [slo.tbt for slo in slos]
            steady = min([slo.jct for slo in slos], default=inf) == inf
            self._range = pool.version, (min(gaps, default=inf), max(gaps, default=0.0), steady)
        return self._range[1]
