"""Multi-resource-aware selection: who comes nearest to the tokens and the cache that are available (Algorithm 2)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from sim.request import Phase, Request

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

    def take(self, decision: Decision) -> Request:
        """The next one, which leaves the line."""
        request = self.requests.pop()
        if self.requests:
            self.slo = decision.slo_of(self.requests[-1])
        return request


def by_distance(decision: Decision, window: list[Request]) -> None:
    """Repeatedly whoever comes nearest to what is available: argmin of (A_c - D_c)^2 + (A_m - D_m)^2.

    Decodes that need a block have equal demands, and so have those that need none: the first of each stands for all.
    What cannot be met now cannot be met later in this batch, for what is available only shrinks.
    """
    lines = [Line(decision, [request]) for request in window if request.phase is not Phase.DECODING]
    decodes = [request for request in reversed(window) if request.phase is Phase.DECODING]
    if decodes:
        growth = {request: decision.batch.growth(request) for request in decodes}
        alike = [[request for request in decodes if growth[request] == blocks] for blocks in (1, 0)]
        lines += [Line(decision, requests) for requests in alike if requests]
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
        decision.offer(nearest.take(decision))
        lines = [line for line in met if line.requests]
    for line in lines:  # only decodes are left: those that need a block are the nearer
        while line.requests and distance(decision, line) < inf:
            decision.offer(line.take(decision))


def distance(decision: Decision, line: Line) -> float:
    """How far a demand is from the available tokens and cache; infinite if it cannot be met."""
    batch, size = decision.batch, decision.server.block_size
    if line.waits and not decision.may_start(line.requests[-1]):
        return inf
    free = decision.budget(decision.tightest) - batch.tokens
    room = free if line.slo >= decision.tightest else decision.budget(line.slo) - batch.tokens
    kept = line.blocks + batch.blocks_left
    tokens = min(line.left, room, kept * size - line.kv_tokens)
    blocks = max(0, -(-(line.kv_tokens + tokens) // size) - line.blocks)
    if tokens < 1 or tokens > room or blocks > batch.blocks_left:
        return inf
    cache = batch.blocks_left * size
    if decision.policy.normalized:
        return ((free - tokens) / max(free, 1)) ** 2 + ((cache - blocks * size) / max(cache, 1)) ** 2
    return float((free - tokens) ** 2 + (cache - blocks * size) ** 2)
