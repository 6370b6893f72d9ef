"""The pivot forward size: where a longer prompt no longer makes the GPU much more productive."""

from __future__ import annotations

from typing import NamedTuple

from costmodel.model import TILE, CostModel
from costmodel.shape import prompt

LONGEST = 16384
"""Prompts are tried up to this many tokens."""
SATURATED = 0.95
"""Share of the largest throughput that counts as saturated (inferred: it gives the paper's 768 and 1280)."""


class Pivot(NamedTuple):
    """S_pf in tokens, a multiple of a tile, the seconds T_pf of one prompt of that size, and S_pf before rounding."""

    forward_size: int
    time: float
    exact: int


def pivot(cost_model: CostModel, longest: int = LONGEST) -> Pivot:
    """The smallest S whose one-prompt throughput S / T(S) reaches 95 % of its largest, rounded up to a tile (inferred).

    It depends on the cost model's host time: say which when quoting it.
    """
    throughput = [size / cost_model.iteration_time(prompt(size)) for size in range(1, longest + 1)]
    enough = SATURATED * max(throughput)
    exact = next(size for size, rate in enumerate(throughput, 1) if rate >= enough)
    rounded = TILE * -(-exact // TILE)
    return Pivot(rounded, cost_model.iteration_time(prompt(rounded)), exact)
