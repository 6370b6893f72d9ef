"""What a study found: metrics by setting, load and variant, and differences from the baseline with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from experiments.grid import Summary
from experiments.replications import Interval, interval
from experiments.studies.study import Setting, Study, Variant

SHARES = ("slo_attainment", "kvc_", "gpu_", "pivot_utilization")
"""How the names of metrics begin that are shares: they differ in percentage points, others in per cent."""
LESS = ("mean_jct", "mean_ttft", "p99_ttft", "p99_tbt")
"""Metrics of which less is better."""


class Place(NamedTuple):
    """One row of summaries: a variant at a load in a setting."""

    setting: str
    rate: float
    variant: str


class Findings:
    """The finished runs of a study, by seed."""

    def __init__(self, study: Study, runs: Mapping[Place, list[Summary]]) -> None:
        self.study = study
        self.runs = runs

    def values(self, setting: Setting, rate: float, variant: Variant, metric: str) -> list[float]:
        """A metric, seed by seed."""
        return [each[metric] for each in self.runs[Place(setting.name, rate, variant.title)]]

    def level(self, setting: Setting, rate: float, variant: Variant, metric: str) -> Interval:
        """A metric's mean over the seeds."""
        return interval(self.values(setting, rate, variant, metric))

    def change(
        self, setting: Setting, rate: float, variant: Variant, metric: str, baseline: Variant | None = None
    ) -> Interval:
        """The difference from the baseline, paired by seed: in points of a share, else in per cent of its mean."""
        own = self.values(setting, rate, variant, metric)
        theirs = self.values(setting, rate, baseline or self.study.baseline, metric)
        scale = 1.0 if is_share(metric) else sum(theirs) / len(theirs)
        return interval([100 * (one - other) / scale if scale else 0.0 for one, other in zip(own, theirs, strict=True)])

    def average(self, setting: Setting, variant: Variant, metric: str, baseline: Variant | None = None) -> float:
        """The mean change over the loads of a setting."""
        changes = [self.change(setting, rate, variant, metric, baseline).mean for rate in setting.rates]
        return sum(changes) / len(changes)

    def largest(self, variant: Variant, metric: str) -> tuple[Setting, float, Interval]:
        """Where a variant differs most from the baseline, of what is not chance; of all if it is chance everywhere."""
        places = [
            (setting, rate, self.change(setting, rate, variant, metric))
            for setting in self.study.settings
            for rate in setting.rates
        ]
        certain = [place for place in places if place[2].certain]
        return max(certain or places, key=lambda place: abs(place[2].mean))


def is_share(metric: str) -> bool:
    """Whether a metric is a share of something."""
    return metric.startswith(SHARES)


def better(metric: str, change: float) -> bool:
    """Whether a change of a metric is for the better."""
    return change < 0 if metric in LESS else change > 0
