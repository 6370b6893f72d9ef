"""The highest rate at which a target is kept, by bracketing and bisection: one policy, one seed, one setting.

All rates see the same requests, whose arrivals are only nearer to each other (common random numbers), so that what is
measured falls nearly steadily with the rate. Where it does not, the search finds one of the rates at which it crosses
the target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf, isnan, log, log2, sqrt
from typing import NamedTuple

from experiments.named import is_share
from experiments.sweeps.plan import Point
from experiments.sweeps.store import Record
from sim.parameters import meant
from traces.errors import SlosimError

FURTHEST = 2.0**10
"""How many times above or below its start a search looks for a bracket."""
DIGITS = 4
"""Significant digits of a rate."""
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
                f"--target {text}: write METRIC>=VALUE or METRIC<=VALUE, such as slo_attainment_requests>=0.99"
            ) from None
        if not 0 <= target.value < inf:
            raise SlosimError(f"--target {text}: write METRIC>=VALUE with a finite VALUE of 0 or more")
        if is_share(target.metric) and target.value > 1:
            raise SlosimError(f"--target {text}: {target.metric} is a share from 0 to 1; write 0.99 for 99 %")
        return target

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.value:g}"

    def met(self, summary: Mapping[str, float]) -> bool:
        """Whether a run reaches it; what cannot be measured does not. Raises SlosimError if there is no such metric."""
        if self.metric not in summary:
            raise SlosimError(f"--target {self}: there is no metric {self.metric!r}; {meant(self.metric, summary)}")
        value = summary[self.metric]
        return not isnan(value) and (value >= self.value if self.at_least else value <= self.value)


@dataclass
class Search:
    """What is known of one capacity: it lies from `low` to `high`."""

    start: Point
    rate: float
    """Requests per second: where to look next."""
    tolerance: float = 0.01
    """Relative width of a bracket that is narrow enough."""
    low: float = 0.0
    """The highest rate at which the target was kept."""
    high: float = inf
    """The lowest above it at which it was not."""
    at_low: Record | None = None
    at_high: Record | None = None
    runs: int = 0
    error: str = ""
    """Why there is no answer."""

    def __post_init__(self) -> None:
        self.first = self.rate = rounded(self.rate)

    @property
    def point(self) -> Point:
        """What to run next."""
        return Point(self.start.scenario.at(self.rate, self.start.seed), self.start.varied)

    def told(self, record: Record, met: bool) -> None:
        """Takes in the run at `rate`, and moves on to the next."""
        self.runs += 1
        if met:
            self.low, self.at_low = self.rate, record
        else:
            self.high, self.at_high = self.rate, record
        self.rate = rounded(self._next())

    @property
    def done(self) -> bool:
        """Whether the bracket is narrow enough, or there is none to be found."""
        if self.error or self.unbounded or self.hopeless:
            return True
        return self.high <= self.low * (1 + self.tolerance) or (self.runs > 0 and self.rate in (self.low, self.high))

    @property
    def unbounded(self) -> bool:
        """Whether the target is kept at whatever rate."""
        return self.high == inf and self.low >= self.first * FURTHEST

    @property
    def hopeless(self) -> bool:
        """Whether it is kept at none."""
        return self.low == 0 and self.high <= self.first / FURTHEST

    @property
    def answered(self) -> bool:
        """Whether there is such a rate."""
        return self.done and not (self.error or self.unbounded or self.hopeless)

    @property
    def left(self) -> int:
        """About how many runs are still needed."""
        if self.done:
            return 0
        if self.low == 0 or self.high == inf:
            return max(GUESS - self.runs, 2)
        return ceil(log2(log(self.high / self.low) / log(1 + self.tolerance)))

    def _next(self) -> float:
        if self.high == inf:
            return 2 * self.low
        return sqrt(self.low * self.high) if self.low else self.high / 2


def rounded(rate: float) -> float:
    """A rate that reads well, the same on every machine."""
    return float(f"{rate:.{DIGITS}g}")
