"""AccelGen on one server: its pivot and budget, the order of the waiting queue, and the common cases in short."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from math import inf
from operator import attrgetter
from typing import Any

from sim.batch import Batch
from sim.queues import Front, PriorityQueue
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.accelgen.budget import Budget, budget_of
from sim.schedulers.accelgen.filling import Filling
from sim.schedulers.accelgen.policy import AccelGen
from sim.schedulers.accelgen.selections import Selections
from sim.schedulers.accelgen.slack import RecentIterations, Slack, deadline
from sim.server import Server


class BoundAccelGen(Scheduler):
    """What a policy knows of one server between decisions: nothing but what follows from the server, kept for speed."""

    def __init__(self, policy: AccelGen, server: Server) -> None:
        self.policy = policy
        self.server = server
        self.watermark = int(policy.watermark * server.total_blocks)
        self.selections = Selections() if policy.audit else None
        self.recent = RecentIterations(policy.recent, server.recorder.ends) if policy.longest == "recent" else None
        self._slack: tuple[tuple[float, int, int], Slack] | None = None
        self._order: tuple[int, float, float] = (0, 0.0, 0.0)
        self._soon: tuple[int, bool] = (-1, True)
        self._range: tuple[int, tuple[float, float, bool]] = (-1, (inf, 0.0, True))

    def notes(self) -> Mapping[str, Sequence[float]]:
        return self.selections.columns() if self.selections else {}

    def __repr__(self) -> str:
        return repr(self.policy)

    @cached_property
    def pivot(self) -> tuple[int, float]:
        """S_pf in tokens and T_pf in seconds."""
        return self.server.machine.pivot_of(self.policy.pivot)

    @cached_property
    def budget(self) -> Budget:
        """Tokens that an SLO allows."""
        return budget_of(self.policy, self.pivot)

    @cached_property
    def long_prompt(self) -> int:
        """Tokens beyond which a prompt is long."""
        return self.pivot[0] if self.policy.long_prompt is None else self.policy.long_prompt

    @property
    def first_come_first_served(self) -> bool:
        return not self.policy.slo_ordering

    def slack(self) -> Slack:
        """Remaining times as of now."""
        moment = (self.server.now, self.server.history.iterations, self.server.pool.version)
        if self._slack is None or self._slack[0] != moment:
            self._slack = moment, Slack(self.server, self.pivot, self.policy, self.longest)
        return self._slack[1]

    @property
    def longest(self) -> float:
        """T_max: the longest iteration, seconds; 0 before the first."""
        if self.policy.longest == "budget":
            size, time = self.pivot
            return time * self.budget(self.server, self.decode_slos()[0]) / size
        return self.recent.longest if self.recent else self.server.history.longest_iteration

    def ended(self, server: Server, batch: Batch) -> None:
        if self.recent:
            self.recent.ended(batch.memo)

    def priority(self, request: Request) -> Any:
        """When the remaining time is used up, as of now; the order is refreshed when ``epoch`` changes."""
        return -inf if self.returns_first(request) else self.slack().used_up(request)

    def returns_first(self, request: Request) -> bool:
        """Whether a waiting request was preempted, and so waits before those that were not."""
        return request.preemptions > 0 and self.policy.victims != "by_slack"

    @property
    def returning(self) -> list[Request]:
        """The first such requests, in order of arrival."""
        if not self.server.history.preemptions or self.policy.victims == "by_slack":
            return []
        waiting = (request for front in self.fronts() for request in takewhile(self.returns_first, front.requests))
        return sorted(waiting, key=attrgetter("id"))

    def deadline(self, request: Request) -> float:
        """When a waiting request counts as late."""
        if self.policy.overdue == "urgent" or (self.policy.overdue == "last" and request.generated):
            return inf
        return deadline(request)

    def epoch(self, server: Server) -> Hashable:
        """Changes when mean chunk or longest iteration moved by ``refresh`` since it last did."""
        chunk, longest = server.history.mean_chunk or 0.0, self.longest
        number, old_chunk, old_longest = self._order
        moved = self.policy.refresh
        if abs(chunk - old_chunk) > moved * old_chunk or abs(longest - old_longest) > moved * old_longest:
            self._order = number + 1, chunk, longest
        return self._order[0]

    @property
    def kept(self) -> int:
        """Blocks that admissions leave free; none on an empty device, where a request may need all there are."""
        return self.watermark if self.server.running_count else 0

    def schedule(self, server: Server) -> Batch:
        batch = None if server.prefilling or server.paused else self._all_decode(server)
        batch = batch or self._filled(server)
        if self.recent:
            batch.memo = server.now
        return batch

    def _filled(self, server: Server) -> Batch:
        """A full decision. It lasts while decodes without an SLO wait for blocks, none of which is free."""
        filling = Filling(self, server)
        batch, free = filling.batch, server.free_blocks
        waits = filling.alike and not (free or server.prefilling or batch.changes)
        if waits and not self._may_become_urgent() and self._lasts(server):
            batch.hold(room=inf)
        return batch

    # -- the common case in short: all decodes run, and nobody else can -----------------------------------------------

    def _all_decode(self, server: Server) -> Batch | None:
        """In short what ``Filling`` comes to where the decodes leave nothing to share out."""
        tightest, loosest, steady = self.decode_slos()
        pool, needed = server.pool, server.pool.blocks_needed
        short, room, yields = needed > server.free_blocks, 0, False
        if not steady or (short and self.policy.overflow != "newest"):
            return None
        if server.waiting.size or short:
            room = server.free_blocks - self.kept
            if self._forced and loosest <= (1 + self.policy.urgency) * self.longest:
                if pool.last_step_at != server.now:
                    return None
                room -= needed  # all decodes are urgent: they go first, and none is deferrable
            elif short or (self._forced and not self._none_urgent()):
                return None
            else:
                yields = self._forced
            if not short and room > 0 and self.least() <= self.most(room):
                return None
        if pool.size > (size := self.budget(server, tightest)):
            return None
        batch = server.new_batch(size, self.kept)
        batch.decode_all()
        if short:  # the newest made room, in which an urgent newcomer may find a place
            return None if self.least() <= self.most(batch.blocks_left - batch.watermark) else batch
        if self._lasts(server) and not (yields and self._may_become_urgent()):
            until = self._next_in_view(server) if room > 0 else inf
            batch.hold(until=until, room=inf if yields else self.most(room))
        return batch

    def _none_urgent(self) -> bool:
        """Whether no waiting request could have a running one preempted now."""
        if not self._may_become_urgent():
            return True
        slack, limit = self.slack(), self.policy.urgency * self.slack().longest
        return not any(self.on_time(each) and slack.remaining(each) <= limit for each in self._view())

    def on_time(self, request: Request) -> bool:
        """Whether the SLO of its next token can still be met, or counts as if it could."""
        return self.policy.overdue == "urgent" or deadline(request) >= self.server.now

    def _may_become_urgent(self) -> bool:
        """Whether one may before another request arrives."""
        if self._soon[0] != self.server.waiting.version:
            self._soon = self.server.waiting.version, any(deadline(each) < inf for each in self._view())
        return self._soon[1]

    def _view(self) -> list[Request]:
        """The waiting requests that are looked at and not overdue."""
        waiting = self.server.waiting
        return waiting.fresh.front(self.policy.candidates).requests if isinstance(waiting, PriorityQueue) else []

    @property
    def crowd(self) -> bool:
        """Whether all decodes are interchangeable: none has an SLO, and no selection is recorded."""
        if not self.policy.multi_resource or self.selections or not self.server.decoding_count:
            return False
        free = all(each.slo.tbt == inf == each.slo.jct for each in self.server.paused)
        return free and self.decode_slos() == (inf, inf, True) if self.server.pool.size else free

    @cached_property
    def _forced(self) -> bool:
        """Whether anybody is urgent."""
        return self.policy.slo_ordering and self.policy.urgent

    def _next_in_view(self, server: Server) -> float:
        """When somebody whose deadline passes may bring another into view, seconds."""
        waiting = server.waiting
        if not isinstance(waiting, PriorityQueue) or len(waiting.fresh) <= self.policy.candidates:
            return inf
        return waiting.next_expiry

    def _lasts(self, server: Server) -> bool:
        """Whether the same is decided until somebody comes who finds room, somebody goes, or another comes into view:
        no budget that depends on the context, and no longest iteration ahead."""
        if self.policy.dynamic_chunking and self.policy.token_budget == "inverse":
            return False
        waiting, line = server.waiting, server.decode_line
        if not isinstance(waiting, PriorityQueue) or not waiting.size:
            return True
        if self.policy.longest == "budget":
            return True
        if line is None or self.policy.longest == "recent":
            return False
        fixed, slope = line(server.pool.size)
        most = fixed + slope * server.total_blocks * server.block_size
        return bool(most <= self.longest)

    def fronts(self) -> tuple[Front, ...]:
        """The first waiting requests, the late and the others apart."""
        return self.server.waiting.fronts(self.policy.candidates)

    def least(self) -> float:
        """The shortest prompt that may be the next to start, tokens; that of the first in line if it blocks others."""
        if self.policy.victims == "head_of_line" and self.returning:
            return self.returning[0].prefill_left
        return min([front.least for front in self.fronts()])

    def most(self, blocks: int) -> float:
        """The longest prompt that may start where so many blocks are free, tokens."""
        if blocks < 1:
            return 0
        return inf if self.policy.admission == "chunk" else blocks * self.server.block_size

    def decode_slos(self) -> tuple[float, float, bool]:
        """Tightest and loosest between-token SLO of the pool, and whether these are all that its members have: the
        share of a completion SLO changes with time. Kept until the members change."""
        pool = self.server.pool
        if self._range[0] != pool.version:
            _, gaps, ends = zip(*[request.slo for request in pool], strict=True) if pool.size else ((), (), ())
            self._range = pool.version, (min(gaps, default=inf), max(gaps, default=0.0), min(ends, default=inf) == inf)
        return self._range[1]
