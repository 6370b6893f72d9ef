"""Margins: how much worse a metric may become, and what measured differences say about that.

>>> Margin.of_text("p99_ttft:+2%", "max")
Margin(metric='p99_ttft', way='max', size=0.02, relative=True)
>>> print(Margin.of_text("goodput:-1%", "min"))
goodput -1%
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt
from typing import Literal, NamedTuple

import numpy as np

from experiments.named import in_seconds, is_share
from sim.parameters import cut
from traces.errors import SlosimError

PATTERN = re.compile(r"(?P<metric>\w+):(?P<size>[+-]?\d{1,15}(\.\d{1,15})?)(?P<unit>%|s?)", re.ASCII)
POWER = 0.8
"""Probability with which the minimum detectable change is found."""


@dataclass(frozen=True)
class Margin:
    """``max``: the metric may rise by at most ``size``; ``min``: it may fall by at most so much."""

    metric: str
    way: Literal["max", "min"]
    size: float
    """A share of the baseline's value if ``relative``, else in the metric's own unit; not negative."""
    relative: bool = True

    @classmethod
    def of_text(cls, text: str, way: Literal["max", "min"]) -> Margin:
        """``metric:+2%`` or, in the metric's own unit, ``metric:+0.01`` (``+0.01s`` of seconds).

        Raises SlosimError if it is neither, and asks where it may be either.
        """
        match = PATTERN.fullmatch(text.strip())
        sign = "+" if way == "max" else "-"
        if not match or match["size"].startswith("-" if way == "max" else "+"):
            raise SlosimError(f"--{way} {cut(text)}: say METRIC:{sign}2% or, in the metric's unit, METRIC:{sign}0.01")
        metric, unit, size = match["metric"], match["unit"], abs(float(match["size"]))
        if unit != "%":
            _ask_for_unit(f"--{way} {cut(text)}", metric, unit, sign, size)
            return cls(metric, way, size, relative=False)
        if way == "min" and size >= 100:
            raise SlosimError(f"--min {text}: nothing falls by more than 100 %")
        return cls(metric, way, size / 100)

    def __str__(self) -> str:
        sign = "+" if self.way == "max" else "-"
        if self.relative:
            return f"{self.metric} {sign}{100 * self.size:g}%"
        return f"{self.metric} {sign}{self.size:g}{'s' if in_seconds(self.metric) else ''}"

    @property
    def limit(self) -> float:
        """The margin on the scale of ``worse``."""
        if not self.relative:
            return self.size
        return log(1 + self.size) if self.way == "max" else -log(1 - self.size)

    def worse(self, ours: float, baseline: float) -> float:
        """How much worse one run is than its twin: a log ratio if relative, else a difference; more is worse."""
        sign = 1 if self.way == "max" else -1
        if not self.relative:
            return sign * (ours - baseline)
        if ours == baseline:
            return 0.0
        if ours <= 0 or baseline <= 0:
            raise SlosimError(
                f"{self.metric} is {baseline:g} in the baseline and {ours:g} now, which have no ratio: give its margin "
                f"in its own unit, such as --{self.way} {self.metric}:{'+' if self.way == 'max' else '-'}0.01"
                f"{'s' if in_seconds(self.metric) else ''}"
            )
        return sign * log(ours / baseline)

    def shown(self, worse: float) -> float:
        """A value of ``worse`` as the change of the metric: a share if relative."""
        sign = 1 if self.way == "max" else -1
        return exp(sign * worse) - 1 if self.relative else sign * worse


def _ask_for_unit(asked: str, metric: str, unit: str, sign: str, size: float) -> None:
    """Raises SlosimError where a number without per cent may mean two things, or has a unit that the metric has not."""
    written = f"{metric}:{sign}{size:g}"
    if in_seconds(metric) and not unit:
        raise SlosimError(f"{asked}: {size:g} seconds or {size:g} per cent? write {written}s or {written}%")
    if is_share(metric) and size >= 1:
        points = f"{metric}:{sign}0.01"
        raise SlosimError(f"{asked}: a share from 0 to 1; write {written}% (of its value) or {points} (a point)")
    if unit and not in_seconds(metric):
        raise SlosimError(f"{asked}: {metric} is not in seconds; write {written} or {written}%")


class Judgement(NamedTuple):
    """What the seeds say about one margin at one load."""

    margin: Margin
    load: str
    verdict: Literal["pass", "fail", "inconclusive"]
    change: float
    """Mean over seeds, as a share if the margin is relative."""
    low: float
    high: float
    """The one-sided bounds that the verdict rests on, in order."""
    detectable: float
    """The change that this many seeds would have failed with a probability of 80 %."""
    seeds: int


def judge(
    margin: Margin, load: str, ours: Sequence[float], baseline: Sequence[float], error: float = 0.01
) -> Judgement:
    """Compares runs seed by seed, by Student's one-sided bounds at the level ``error``.

    ``fail``: worse than the margin beyond chance; ``pass``: not worse than it, beyond chance; else inconclusive.
    Raises SlosimError if a run does not have the metric.
    """
    from scipy.special import stdtrit

    values = [*ours, *baseline]
    if not all(map(isfinite, values)):
        raise SlosimError(f"{margin.metric} is not defined in every run at {load}: choose another metric or load")
    worse = np.array([margin.worse(own, other) for own, other in zip(ours, baseline, strict=True)])
    number, mean = len(worse), float(worse.mean())
    spread = float(worse.std(ddof=1)) / sqrt(number) if number > 1 else 0.0 if not worse.any() else inf
    reach = float(stdtrit(number - 1, 1 - error)) if number > 1 else 1.0
    low, high = mean - reach * spread, mean + reach * spread
    verdict: Literal["pass", "fail", "inconclusive"] = "inconclusive"
    if low > margin.limit:
        verdict = "fail"
    elif high <= margin.limit + 1e-12:
        verdict = "pass"
    power = float(stdtrit(number - 1, POWER)) if number > 1 else 1.0
    found = margin.limit + (reach + power) * spread
    first, last = sorted((margin.shown(low), margin.shown(high))) if isfinite(spread) else (-inf, inf)
    detectable = margin.shown(found) if isfinite(found) else inf
    return Judgement(margin, load, verdict, margin.shown(mean), first, last, detectable, number)
