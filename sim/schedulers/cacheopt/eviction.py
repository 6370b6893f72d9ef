"""Whom CacheOPT preempts (section 3.4), and whether by swapping or by dropping and recomputing (section 3.5)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from costmodel import BatchShape, CostModel
from sim.request import Request

_DECODE = BatchShape(decode_tokens=1, context_tokens=1, sequences=1)


def reluctance(
    left: Callable[[Request], int], tbt_bucket: float, output_bucket: int, request: Request
) -> tuple[float, float, int, int]:
    """The key by which the victim is the least: loose SLO, much still to come, little cache (stated); then the newest.

    ``left`` tells the output tokens still to come, by what is assumed. The widths of the buckets are inferred.
    """
    tbt, more = request.slo.tbt, left(request)
    loose = tbt // tbt_bucket if tbt < inf else inf
    return -loose, -(more // output_bucket) if more > 0 else 0, request.blocks, -request.id


def swap_seconds(model: CostModel, tokens: int) -> float:
    """What copying a context out and back adds to iterations that run anyway."""
    return model.iteration_time(_DECODE._replace(swapped_tokens=2 * tokens)) - model.iteration_time(_DECODE)


def recompute_seconds(model: CostModel, tokens: int) -> float:
    """What computing a context anew adds to an iteration that runs anyway."""
    shape = BatchShape(tokens, 1, 1, tokens * tokens / 2, 2)
    return model.iteration_time(shape) - model.iteration_time(_DECODE)


def crossover(model: CostModel, longest: int) -> float:
    """Context length from which on swapping takes less time than recomputing, of at most ``longest`` tokens.

    Infinite if it never does, or if copying costs nothing in this model: a profile that does not know what a copy costs
    is no reason to swap. That both are compared over the length is stated; what is counted on either side is inferred.
    """
    if not swap_seconds(model, longest) > 0 or recompute_seconds(model, longest) < swap_seconds(model, longest):
        return inf
    low, high = 0, longest  # swapping a context of ``high`` tokens is no slower
    while high - low > 1:
        middle = (low + high) // 2
        slower = recompute_seconds(model, middle) < swap_seconds(model, middle)
        low, high = (middle, high) if slower else (low, middle)
    return high
