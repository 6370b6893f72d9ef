"""Token budgets: the forward size that an iteration-level SLO allows."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from costmodel import BatchShape
from sim.server import Server

Budget = Callable[[Server, float], int]
"""(server, tightest SLO in seconds) -> tokens."""


def equation_6(pivot: tuple[int, float]) -> Budget:
    """AccelGen's Equation (6): S_b = S_pf SLO_min / T_pf (stated). S_pf where no member has an SLO (inferred).

    It takes the iteration time as proportional to the forward size: it overshoots tight SLOs, and ignores what the
    decodes read.
    """
    size, time = pivot

    def tokens(server: Server, tightest: float) -> int:
        return size if tightest == inf else int(size * tightest / time)

    return tokens


def inverse(pivot: tuple[int, float]) -> Budget:
    """The largest forward size whose iteration, with the decodes at hand, ends within the SLO (this project's own)."""

    def tokens(server: Server, tightest: float) -> int:
        if tightest == inf:
            return pivot[0]
        decodes, context = server.pool.size, server.pool.context

        def late(prefill: int) -> bool:
            shape = BatchShape(prefill, decodes, context, prefill * prefill / 2, decodes + 1)
            return server.cost_model.iteration_time(shape) > tightest

        low, high = 0, 1
        while not late(high) and high < 1 << 20:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if late(middle) else (middle, high)
        return decodes + low

    return tokens


def static(chunk: int) -> Budget:
    """The same number of tokens always."""

    def tokens(server: Server, tightest: float) -> int:
        return chunk

    return tokens
