"""Multi-resource-aware selection: who comes nearest to the tokens and the cache that are available (Algorithm 2)."""

from __future__ import annotations

from math import inf

from sim.request import Phase, Request
from sim.schedulers.decision import Decision


def by_distance(decision: Decision, window: list[Request]) -> None:
    """Repeatedly whoever comes nearest to what is available: argmin of (A_c - D_c)^2 + (A_m - D_m)^2."""
    while window:
        distances = [distance(decision, request) for request in _distinct(decision, window)]
        nearest = min(distances, default=inf)
        if nearest == inf:
            return
        chosen = _distinct(decision, window)[distances.index(nearest)]
        window.remove(chosen)
        decision.offer(chosen)


def _distinct(decision: Decision, window: list[Request]) -> list[Request]:
    """The window with one decode that needs a block and one that does not: the demands of others are equal."""
    seen: set[int] = set()
    distinct = []
    for request in window:
        kind = decision.batch.growth(request) if request.phase is Phase.DECODING else -1
        if kind < 0 or kind not in seen:
            distinct.append(request)
        seen.add(kind)
    return distinct


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
