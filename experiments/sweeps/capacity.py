"""The highest rate at which a target is kept, by bracketing and bisection: one policy, one seed, one setting.

All rates see the same requests, whose arrivals are only nearer to each other (common random numbers), so that what is
measured falls or rises nearly steadily with the rate. Where it does neither, the search finds one of the rates at which
it crosses the target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf, isnan, log, log2, nan, sqrt
from typing import NamedTuple

from experiments.named import is_share
from experiments.sweeps.plan import Point
from experiments.sweeps.store import Record
from sim.parameters import cut, meant
from traces.errors import SlosimError

FURTHEST = 2.0**10
"""How many times above or below its start a search looks for a bracket."""
DIGITS = 4
"""Significant digits of a rate."""
NEAR = 20
"""Runs near the best rate at most, where the target is kept at none of those a factor of two apart."""
BLIND = 4
"""Runs without a value for the target after which a search ends."""
GUESS = 9
"""Runs that a search without a bracket is taken to need."""


class Target(NamedTuple):
    """What a run must reach: a metric of its summary on one side of a number."""

    metric: str
    at_least: bool
    value: float

    @classmethod
    def of_text(cls, text: str) -> Target:
        """From ``slo_attainment_requests>=0.99`` or ``p99_ttft<=2``; raises SlosimError if it is neither."""
        found = re.fullmatch(r"\s*(\w+)\s*([<>])=?\s*(\S+)\s*", text)
        try:
            target = cls(found[1], found[2] == ">", float(found[3]))  # type: ignore[index]
        except (TypeError, ValueError):
            raise SlosimError(
                f"--target {cut(text)}: write METRIC>=VALUE or METRIC<=VALUE, such as slo_attainment_requests>=0.99"
            ) from None
        if not 0 <= target.value < inf:
            raise SlosimError(f"--target {cut(text)}: write METRIC>=VALUE with a finite VALUE of 0 or more")
        if is_share(target.metric) and target.value > 1:
            raise SlosimError(f"--target {cut(text)}: {target.metric} is a share from 0 to 1; write 0.99 for 99 %")
        return target

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.value:g}"

    def met(self, summary: Mapping[str, float]) -> bool:
        """Whether a run reaches it; what cannot be measured does not. Raises SlosimError if there is no such metric."""
        if self.metric not in summary:
            raise SlosimError(f"--target {self}: there is no metric {self.metric!r}; {meant(self.metric, summary)}")
        return self.short(summary) <= 0

    def short(self, summary: Mapping[str, float]) -> float:
        """How far a run's metric is from the target, in its own unit: 0 or less if it is kept, nan if undefined."""
        value = summary[self.metric]
        return self.value - value if self.at_least else value - self.value


@dataclass
class Search:
    """What is known of one capacity: the rates that were tried, and the crossing of the target between two of them.

    It looks down from its start and up, by factors of two, as long as the target is kept nowhere, or nowhere lost; then
    near the rate that comes nearest to the target. A target that is kept at the highest rate tried but not at all lower
    ones rises with the rate: its crossing is the lowest rate from which on it is kept.
    """

    start: Point
    rate: float
    """Requests per second: where to look next."""
    tolerance: float = 0.01
    """Relative width of a bracket that is narrow enough."""
    kept: dict[float, Record] = field(default_factory=dict)
    """The runs that kept the target, by rate."""
    lost: dict[float, float] = field(default_factory=dict)
    """How much the others fell short of it (nan: the metric is not defined), by rate."""
    near: int = 0
    """Runs near the best rate, with the target kept nowhere."""
    error: str = ""
    """Why there is no answer."""

    def __post_init__(self) -> None:
        self.first = self.rate = rounded(self.rate)

    @property
    def point(self) -> Point:
        """What to run next."""
        return Point(self.start.scenario.at(self.rate, self.start.seed), self.start.varied)

    def told(self, record: Record, met: bool, short: float = nan) -> None:
        """Takes in the run at `rate`, and moves on to the next; `short` is how far it was from the target."""
        if met:
            self.kept[self.rate] = record
        else:
            self.lost[self.rate] = short
        self.rate = rounded(self._next())

    @property
    def runs(self) -> int:
        """How many rates were tried."""
        return len(self.kept) + len(self.lost)

    @property
    def low(self) -> float:
        """The highest rate at which the target was kept; of a rising target the lowest from which on it was; else 0."""
        return self._bottom if self.rising else max(self.kept, default=0.0)

    @property
    def high(self) -> float:
        """The rate beside `low` at which it was not: above it, or below it if the target rises; inf without one."""
        if self.rising:
            return max(rate for rate in self.lost if rate < self._bottom)
        return min((rate for rate in self.lost if rate > self.low), default=inf)

    @property
    def at_low(self) -> Record | None:
        """The run at `low`."""
        return self.kept.get(self.low)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest rate that was tried."""
        tried = (*self.kept, *self.lost)
        return min(tried, default=self.first), max(tried, default=self.first)

    @property
    def rising(self) -> bool:
        """Whether the target is kept at the upper end, and not at some lower rate."""
        top = max(self.kept, default=0.0)
        return top >= self.first * FURTHEST and not any(r > top for r in self.lost) and any(r < top for r in self.lost)

    @property
    def _bottom(self) -> float:
        """The lowest rate above all at which the target was lost."""
        return min(rate for rate in self.kept if rate > max(self.lost))

    @property
    def done(self) -> bool:
        """Whether the bracket is narrow enough, or there is none to be found."""
        if self.error or self.unbounded or self.hopeless:
            return True
        if not self.kept or (self.high == inf):
            return False
        low, high = sorted((self.low, self.high))
        return high <= low * (1 + self.tolerance) or self.rate in (low, high)

    @property
    def unbounded(self) -> bool:
        """Whether the target was kept at every rate from one end to the other."""
        return not self.lost and self._both_ends

    @property
    def hopeless(self) -> bool:
        """Whether it was kept at none, neither from one end to the other nor near the best."""
        return not self.kept and self._both_ends and self._nearer() is None

    @property
    def _both_ends(self) -> bool:
        bottom, top = self.ends
        return bottom <= self.first / FURTHEST and top >= self.first * FURTHEST

    @property
    def undefined(self) -> bool:
        """Whether several runs were made, and none of them has a value for the target."""
        return self.runs >= BLIND and not self.kept and all(map(isnan, self.lost.values()))

    @property
    def answered(self) -> bool:
        """Whether there is such a rate."""
        return self.done and not (self.error or self.unbounded or self.hopeless)

    @property
    def left(self) -> int:
        """About how many runs are still needed."""
        if self.done:
            return 0
        if not self.kept or self.high == inf:
            return max(GUESS - self.runs, 2)
        low, high = sorted((self.low, self.high))
        return max(ceil(log2(log(high / low) / log(1 + self.tolerance))), 1)

    def _next(self) -> float:
        bottom, top = self.ends
        if self.kept and self.high < inf:
            return sqrt(self.low * self.high)
        if self.kept:
            return top * 2 if top < self.first * FURTHEST else bottom / 2
        if not self._both_ends:
            return bottom / 2 if bottom > self.first / FURTHEST else top * 2
        nearer = self._nearer()
        self.near += nearer is not None
        return self.rate if nearer is None else nearer

    def _nearer(self) -> float | None:
        """A rate beside the one that fell least short, half-way to the farther of its neighbours; None at the end."""
        known = {rate: short for rate, short in self.lost.items() if not isnan(short)}
        if self.near >= NEAR or not known or min(known.values()) == max(known.values()):
            return None
        best = min(known, key=lambda rate: (known[rate], rate))
        lower = max((rate for rate in self.lost if rate < best), default=best)
        upper = min((rate for rate in self.lost if rate > best), default=best)
        farther = lower if best / lower >= upper / best else upper
        narrow = max(best, farther) <= min(best, farther) * (1 + self.tolerance)
        between = rounded(sqrt(best * farther))
        return None if narrow or between in self.lost else between


def rounded(rate: float) -> float:
    """A rate that reads well, the same on every machine."""
    return float(f"{rate:.{DIGITS}g}")
