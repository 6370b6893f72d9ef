"""Multi-resource-aware selection: who comes nearest to the tokens and the cache that are available (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from sim.request import Phase, Request
from sim.schedulers.accelgen.selections import Selection

if TYPE_CHECKING:
    from sim.schedulers.accelgen.decision import Decision


class Line:
    """Requests of equal demand, of which the last stands for all; alone if they do not decode."""

    def __init__(self, decision: Decision, requests: list[Request]) -> None:
        first = requests[-1]
        self.requests = requests
        self.left = first.prefill_left
        self.kv_tokens = first.kv_tokens
        self.blocks = first.blocks
        self.waits = first.phase is Phase.WAITING
        self.decodes = first.phase is Phase.DECODING
        self.slo = decision.slo_of(first)

    @property
    def number(self) -> int:
        """Requests in it."""
        return len(self.requests)

    def take(self, decision: Decision) -> Request:
        """The next one, which leaves the line."""
        request = self.requests.pop()
        if self.requests:
            self.slo = decision.slo_of(self.requests[-1])
        return request


class Crowd(Line):
    """Decodes without an SLO that all need a block, or all none: counted, and only listed if one is taken alone."""

    def __init__(self, decision: Decision, growth: int, number: int) -> None:
        self.decision = decision
        self.growth = growth
        self.left, self.kv_tokens, self.blocks, self.waits, self.decodes, self.slo = 1, 0, 1 - growth, False, True, inf
        self._number = number
        self._listed: list[Request] | None = None

    @property
    def number(self) -> int:
        return self._number if self._listed is None else len(self._listed)

    @property
    def requests(self) -> list[Request]:  # type: ignore[override]
        if self._listed is None:
            server, size = self.decision.server, self.decision.server.block_size
            full = self.growth == 1  # nothing is allocated ahead, so a block is needed where the last one is full
            alike = [request for request in server.decoding if (request.kv_tokens % size == 0) == full]
            self._listed = sorted(alike, key=attrgetter("id"), reverse=True)
        return self._listed

    def take(self, decision: Decision) -> Request:
        return self.requests.pop()


class Demand(NamedTuple):
    """What a request would take now, of what there is."""

    free: int
    """A_c: tokens of the budget."""
    cache: int
    """A_m: the free blocks, in tokens."""
    tokens: int
    """D_c: its chunk."""
    kv: int
    """D_m: the blocks that it takes, in tokens."""


def by_distance(decision: Decision, window: list[Request], crowds: Sequence[Crowd] = ()) -> None:
    """Repeatedly takes the request that is nearest to what is available: argmin of (A_c - D_c)^2 + (A_m - D_m)^2.

    Decodes that need a block have equal demands, and so have those that need none: the first of each stands for all.
    What cannot be met now cannot be met later in this batch, for what is available only shrinks: but for the budget,
    when the first member comes that has an SLO.
    """
    lines = [Line(decision, [request]) for request in window if request.phase is not Phase.DECODING]
    decodes = [request for request in reversed(window) if request.phase is Phase.DECODING]
    if decodes:
        growth = {request: decision.batch.growth(request) for request in decodes}
        alike = [[request for request in decodes if growth[request] == blocks] for blocks in (1, 0)]
        lines += [Line(decision, requests) for requests in alike if requests]
    lines += [crowd for crowd in crowds if crowd.number]
    everybody = lines
    while not all(line.decodes for line in lines):
        nearest, least, met = None, inf, []
        for line in lines:
            away = distance(decision, line)
            if away < inf:
                met.append(line)
                if away < least:
                    nearest, least = line, away
        if nearest is None:
            return
        budget = decision.budget(decision.tightest)
        select(decision, nearest, met, window)
        grown = decision.budget(decision.tightest) > budget
        lines = [line for line in (everybody if grown else met) if line.number]
    if crowds and not decision.batch.decodes:
        take_crowds(decision, [line for line in lines if isinstance(line, Crowd)])
        return
    for line in lines:  # only decodes are left: those that need a block are the nearer
        while line.number and distance(decision, line) < inf:
            select(decision, line, [each for each in lines if each.number], window)


def crowds_of(decision: Decision) -> list[Crowd]:
    """All decodes of the server, those that need a block first."""
    server, batch = decision.server, decision.batch
    growing = server.pool.blocks_needed + sum(map(batch.growth, server.paused))
    return [Crowd(decision, 1, growing), Crowd(decision, 0, server.decoding_count - growing)]


def take_crowds(decision: Decision, crowds: list[Crowd]) -> None:
    """Gives as many decodes their token as budget and cache allow: what taking them one by one comes to."""
    batch, number = decision.batch, decision.server.decoding_count
    batch.tokens_left = room = decision.budget(decision.tightest) - batch.tokens
    need = sum(crowd.number for crowd in crowds if crowd.growth)
    if sum(crowd.number for crowd in crowds) == number <= room and need <= batch.blocks_left:
        batch.decode_all()
        return
    chosen: list[Request] = []
    for crowd in crowds:
        most = min(room - len(chosen), batch.blocks_left if crowd.growth else room)
        if most > 0:
            chosen += crowd.requests[-most:][::-1]
    batch.decode_only(chosen)


def select(decision: Decision, nearest: Line, met: list[Line], window: list[Request]) -> None:
    """Offers the next of a line what it can get; writes it down if somebody asked for that."""
    selections = decision.bound.selections
    if selections is not None:
        selections.write(_selection(decision, nearest, met, window))
    decision.offer(nearest.take(decision))


def _selection(decision: Decision, nearest: Line, met: list[Line], window: list[Request]) -> Selection:
    able = {line.requests[-1]: found for line in met if (found := demand(decision, line))}
    chosen, ahead = able[nearest.requests[-1]], next(able[request] for request in window if request in able)
    now, away = decision.server.now, distance(decision, nearest)
    return Selection(
        now, nearest.requests[-1].id, len(able), *chosen, ahead.tokens, ahead.kv,
        away**0.5,
    )  # fmt: skip


def distance(decision: Decision, line: Line) -> float:
    """How far a demand is from the available tokens and cache, squared; infinite if it cannot be met."""
    found = demand(decision, line)
    if found is None:
        return inf
    free, cache, tokens, kv = found
    if decision.policy.normalized:
        return ((free - tokens) / max(free, 1)) ** 2 + ((cache - kv) / max(cache, 1)) ** 2
    return float((free - tokens) ** 2 + (cache - kv) ** 2)


def demand(decision: Decision, line: Line) -> Demand | None:
    """What the next of a line would take; none if it cannot be met."""
    batch, size = decision.batch, decision.server.block_size
    if line.waits and not decision.may_start(line.requests[-1]):
        return None
    free = decision.budget(decision.tightest) - batch.tokens
    room = free if line.slo >= decision.tightest else decision.budget(line.slo) - batch.tokens
    kept = line.blocks + batch.blocks_left
    tokens = min(line.left, room, kept * size - line.kv_tokens)
    blocks = max(0, -(-(line.kv_tokens + tokens) // size) - line.blocks)
    if tokens < 1 or tokens > room or blocks > batch.blocks_left:
        return None
    return Demand(free, batch.blocks_left * size, tokens, blocks * size)
