"""What a policy costs the simulator when many requests wait: CPU time per iteration, beside Sarathi's.

The trace is the main job's at the paper's rate, about ten times what the machine serves, in the main job's cache, so
that the backlog grows all the time at much the same pace under every policy. The stretch of a run in which the backlog
is about n begins when it reaches n / 1.25 and ends when it passes 1.25 n. Its cost is the CPU time of all of `simulate`
(arrivals, queue, policy, engine) over the iterations that computed something, coasted ones included: a policy that
need not be asked is cheap for its users. The same again with coasting off shows what asking takes. Requests that are
swapped out count as waiting. Policies take turns, several rounds of all of them, and ratios are taken within a round.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from math import isnan, log, nan
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.inputs import Inputs, build
from experiments.scenario import Scenario
from sim.registry import BUILT_IN
from sim.scheduler import Scheduler
from sim.simulation import simulate

PAPER_RATE = 8.0
"""Requests per second of the main job at its fullest."""
SPREAD = 1.25
"""Factor by which the backlog of a stretch may be more or less than its nominal one."""
MODES = {"as users run it": True, "asked every time": False}
"""Whether steady batches are repeated without asking the policy."""
MOST_TIMES = 3.0
"""Times Sarathi's cost that a policy may take at the middle backlog."""
MOST_GROWTH = 1.0
"""The power of the backlog that the cost may grow with, to a tenth, which is what the measurement bears: linearly."""


class Cost(NamedTuple):
    """What one policy took."""

    group: str
    name: str
    iterations_per_second: float
    """Per CPU second, at the middle backlog."""
    ratio: float
    """The same, to SimPy's bare timeouts."""
    iterations: int
    """In the stretch at the middle backlog, in all rounds."""
    microseconds: Mapping[int, float]
    """Per iteration, by backlog: the median of the rounds."""
    times_sarathi: float
    """At the middle backlog: the median of the rounds."""
    lowest: float
    highest: float
    growth: float
    """The largest power of the backlog that the cost grew with, from one backlog to the next."""
    verdict: str
    """PASS, or what is over."""


class Stretch(NamedTuple):
    """The part of a run in which the backlog is about as long as it should be."""

    seconds: float
    iterations: int

    @property
    def each(self) -> float:
        """CPU seconds per iteration; nan if there was none."""
        return self.seconds / self.iterations if self.iterations else nan


def costs(backlogs: Sequence[int], rounds: int, bare: float) -> Iterator[Cost]:
    """Of every built-in policy, in both modes; ``bare`` is SimPy's timeouts per CPU second."""
    inputs = overloaded(max(backlogs))
    runs: dict[tuple[str, str], list[list[Stretch]]] = {(mode, name): [] for mode in MODES for name in BUILT_IN}
    for _ in range(rounds):
        for mode, name in runs:
            runs[mode, name].append(stretches(inputs, name, MODES[mode], backlogs))
    for (mode, name), mine in runs.items():
        yield cost(f"{name}, {mode}", backlogs, mine, runs[mode, "sarathi"], bare)


def overloaded(backlog: int) -> Inputs:
    """The main job at the paper's rate, with as many requests as it takes for so many to wait, and more."""
    return build(Scenario(trace={"requests": 100 + 3 * backlog, "rate": PAPER_RATE}))  # type: ignore[arg-type]


def stretches(inputs: Inputs, policy: Scheduler | str, coast: bool, backlogs: Sequence[int]) -> list[Stretch]:
    """One run with the predictor that the policy names, until the last arrival: its stretch at each backlog."""
    marks: list[tuple[float, float]] = []
    gc.collect()
    result = simulate(
        inputs.trace,
        policy,
        inputs.profile,
        kv_blocks=inputs.kv_blocks,
        block_size=inputs.block_size,
        horizon=float(inputs.trace.arrived_at[-1]),
        progress=lambda done, total, now: marks.append((now, process_time())),
        coast=coast,
    )
    times, cpu = np.array(marks).T
    table = result.iterations
    computed = np.cumsum(np.append(0, table["prefill_tokens"] + table["decode_tokens"] > 0))
    ended = np.searchsorted(table["end"], times, side="right")
    waiting = (table["waiting"] + table["swapped"])[np.minimum(ended, len(table["end"]) - 1)]
    return [_stretch(cpu, computed[ended], waiting, backlog) for backlog in backlogs]


def _stretch(cpu: NDArray[Any], iterations: NDArray[Any], waiting: NDArray[Any], backlog: int) -> Stretch:
    """Between two marks: the first with enough requests waiting, and the first with too many."""
    if not (waiting > SPREAD * backlog).any():
        return Stretch(nan, 0)
    first, last = np.argmax(waiting >= backlog / SPREAD), np.argmax(waiting > SPREAD * backlog)
    return Stretch(float(cpu[last] - cpu[first]), int(iterations[last] - iterations[first]))


def cost(
    name: str, backlogs: Sequence[int], rounds: list[list[Stretch]], sarathi: list[list[Stretch]], bare: float
) -> Cost:
    """Of one policy's stretches and Sarathi's, each by round and backlog."""
    middle = len(backlogs) // 2
    each = [median(mine[n].each for mine in rounds) for n in range(len(backlogs))]
    times = [mine[middle].each / theirs[middle].each for mine, theirs in zip(rounds, sarathi, strict=True)]
    rate, power = 1 / each[middle], growth(backlogs, each)
    return Cost(
        "backlog",
        name,
        rate,
        rate / bare,
        sum(mine[middle].iterations for mine in rounds),
        {backlog: 1e6 * seconds for backlog, seconds in zip(backlogs, each, strict=True)},
        median(times),
        min(times),
        max(times),
        power,
        verdict(median(times), power),
    )


def growth(backlogs: Sequence[int], each: Sequence[float]) -> float:
    """The largest power from one backlog to the next; nan if one was never there."""
    steps = zip(backlogs, backlogs[1:], each, each[1:], strict=False)
    powers = [log(later / earlier) / log(more / fewer) for fewer, more, earlier, later in steps]
    return nan if any(map(isnan, powers)) else max(powers)


def verdict(times: float, power: float) -> str:
    """PASS, or what is over."""
    if isnan(power):
        return "over: so many never waited"
    wrong = [f"{times:.1f}x"] if times > MOST_TIMES else []
    wrong += [f"grows as n^{power:.1f}"] if round(power, 1) > MOST_GROWTH else []
    return f"over: {', '.join(wrong)}" if wrong else "PASS"
