"""Multi-resource-aware selection: who comes nearest to the tokens and the cache that are available (Algorithm 2)."""

from __future__ import annotations

from math import inf

from sim.request import Phase, Request
from sim.schedulers.decision import Decision


def by_distance(decision: Decision, window: list[Request]) -> None:
    """Repeatedly whoever comes nearest to what is available: argmin of (A_c - D_c)^2 + (A_m - D_m)^2.

    Decodes that need a block have equal demands, and so have those that need none: the first of each stands for all.
    What cannot be met now cannot be met later in this batch, for what is available only shrinks.
    """
    lines: list[list[Request]] = [[request] for request in window if request.phase is not Phase.DECODING]
    decodes = [request for request in window if request.phase is Phase.DECODING]
    lines += [[each for each in reversed(decodes) if decision.batch.growth(each) == growth] for growth in (1, 0)]
    while lines := [line for line in lines if line]:
        distances = [distance(decision, line[-1]) for line in lines]
        nearest = min(distances)
        if nearest == inf:
            return
        decision.offer(lines[distances.index(nearest)].pop())
        lines = [line for line, each in zip(lines, distances, strict=True) if each < inf]


def distance(decision: Decision, request: Request) -> float:
    """How far a request's demand is from the available tokens and cache; infinite if it cannot be met."""
    batch, size = decision.batch, decision.server.block_size
    if request.phase is Phase.WAITING and not decision.may_start(request):
        return inf
    room, cache = decision.room_for(request), batch.blocks_left * size
    if request.phase is Phase.DECODING:
        tokens, blocks = 1, batch.growth(request)
    else:
        left = request.prefill_left
        tokens = min(left, room, (request.blocks + batch.blocks_left) * size - request.kv_tokens)
        blocks = batch.shortage(request, tokens)
    if tokens < 1 or tokens > room or blocks > batch.blocks_left:
        return inf
    free = decision.budget(decision.tightest) - batch.tokens
    if decision.policy.normalized:
        return ((free - tokens) / max(free, 1)) ** 2 + ((cache - blocks * size) / max(cache, 1)) ** 2
    return float((free - tokens) ** 2 + (cache - blocks * size) ** 2)
