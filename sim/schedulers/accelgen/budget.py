"""Token budgets: the forward size that an iteration-level SLO allows."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Literal

from costmodel import BatchShape
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen.policy import AccelGen

Budget = Callable[[Server, float], int]
"""(server, tightest SLO in seconds) -> tokens."""
Members = Literal["batch", "candidates"]


def budget_of(policy: AccelGen, pivot: tuple[int, float]) -> Budget:
    """The budget that a policy's parameters mean."""
    if not policy.dynamic_chunking:
        return static(policy.static_chunk)
    budget = (equation_6 if policy.token_budget == "eq6" else inverse)(pivot)
    return budget if policy.largest_budget is None else capped(budget, int(policy.largest_budget * pivot[0]))


def equation_6(pivot: tuple[int, float]) -> Budget:
    """AccelGen's Equation (6): S_b = S_pf SLO_min / T_pf (stated). S_pf where no member has an SLO (inferred).

    It takes the iteration time as proportional to the forward size: it overshoots tight SLOs, and ignores what the
    decodes read. At least one token, or who is alone with an SLO that nothing meets would wait for ever.
    """
    size, time = pivot

    def tokens(server: Server, tightest: float) -> int:
        return size if tightest == inf else max(1, int(size * tightest / time))

    return tokens


def inverse(pivot: tuple[int, float]) -> Budget:
    """The largest forward size whose iteration, with the decodes at hand, ends within the SLO (this project's own).

    The context of a prompt that goes on is not counted, so that its chunks may end a little late. At least one token,
    for the same reason.
    """
    latest = 1

    def tokens(server: Server, tightest: float) -> int:
        nonlocal latest
        if tightest == inf:
            return pivot[0]
        decodes, context = server.pool.size, server.pool.context

        def late(prefill: int) -> bool:
            shape = BatchShape(prefill, decodes, context, prefill * prefill / 2, decodes + 1)
            return server.cost_model.iteration_time(shape) > tightest

        latest = last_before(late, latest)
        return max(1, decodes + latest)

    return tokens


def last_before(late: Callable[[int], bool], near: int = 1, most: int = 1 << 20) -> int:
    """The largest number up to ``most`` that is not ``late``, which none below a good one is; 0 if all from 1 on are.

    ``near``: where it probably is; the search widens from there.
    """
    low, step = max(near, 1) - 1, 1
    while low > 0 and late(low):
        low, step = max(low - step, 0), 2 * step
    high, step = max(near, 1), 1
    while high <= low or (high < most and not late(high)):
        low, high, step = max(low, high), high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if late(middle) else (middle, high)
    return low


def static(chunk: int) -> Budget:
    """The same number of tokens always."""

    def tokens(server: Server, tightest: float) -> int:
        return chunk

    return tokens


def capped(budget: Budget, most: int) -> Budget:
    """A budget of at most so many tokens."""

    def tokens(server: Server, tightest: float) -> int:
        return min(most, budget(server, tightest))

    return tokens
