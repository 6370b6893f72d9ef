"""What a study found: metrics by setting, load and variant, and differences from the baseline with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple

from experiments.grid import Summary
from experiments.replications import Interval, interval
from experiments.studies.study import SETTING, Setting, Study, Variant
from experiments.sweeps.plan import Point

SHARES = (
    *("slo_attainment", "kvc_", "gpu_", "pivot_utilization"),
    *("selection_iterations", "selection_overruled", "selection_kv_weight"),
)
"""How the names of metrics begin that are shares: they differ in percentage points, others in per cent."""
LESS = ("mean_jct", "mean_ttft", "p99_ttft", "p99_tbt")
"""Metrics of which less is better."""
RARE = 0.02
"""Share of requests up to which those that meet all SLOs are a handful."""
LABELS = {
    "goodput": "goodput, tokens/s",
    "request_goodput": "goodput, requests/s",
    "token_throughput": "throughput, tokens/s",
    "request_throughput": "throughput, requests/s",
    "slo_attainment_tokens": "tokens in SLO, %",
    "slo_attainment_requests": "requests in all SLOs, %",
    "slo_attainment_jct": "jobs in SLO, %",
    "slo_attainment_strict": "requests with every token in SLO, %",
    "slo_attainment_ttft": "first tokens in SLO, %",
    "slo_attainment_tbt": "gaps between tokens in SLO, %",
    "mean_jct": "JCT mean, s",
    "mean_ttft": "TTFT mean, s",
    "p99_ttft": "TTFT p99, s",
    "p99_tbt": "TBT p99, s",
    "p95_ttft": "TTFT p95, s",
    "p95_tbt": "TBT p95, s",
    "gpu_utilization": "GPU, operations / peak, %",
    "pivot_utilization": "forward size / pivot, %",
    "kvc_used": "KV cache holding tokens, %",
    "kvc_unallocated": "KV cache unallocated, %",
    "preemptions": "preemptions",
    "selection_iterations": "iterations with a choice by distance, %",
    "selection_available_tokens": "A_c, tokens",
    "selection_available_kv": "A_m, tokens",
    "selection_tokens": "D_c of the chosen, tokens",
    "selection_kv": "D_m of the chosen, tokens",
    "selection_overruled": "choices other than the queue's, %",
    "selection_kv_gain": "more cache taken than by the queue's, tokens",
    "selection_kv_weight": "the cache's part of the squared distance, %",
    "selection_correlation": "rank correlation of distance and free cache",
    "schedule_milliseconds": "scheduling, ms an iteration",
    "schedule_per_cent": "scheduling, per cent of the iterations' time",
}
"""What metrics are called."""


class Place(NamedTuple):
    """One row of summaries: a variant at a load in a setting."""

    setting: str
    rate: float
    variant: str

    @classmethod
    def of(cls, point: Point) -> Place:
        """Where a run of a study belongs."""
        return cls(dict(point.varied)[SETTING], point.rate or 0.0, point.policy.title)


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

    def rare(self, setting: Setting, rate: float, variant: Variant) -> bool:
        """Whether so few requests meet all SLOs, here and with the baseline, that their number says nothing."""
        met = "slo_attainment_requests"
        return max(self.level(setting, rate, each, met).mean for each in (variant, self.study.baseline)) < RARE


def labelled(metric: str) -> str:
    """What a metric is called; `metric@0.05` is that of the requests whose TBT objective is 0.05 s.

    >>> labelled("slo_attainment_tbt@0.05")
    'gaps between tokens in SLO of 0.05 s, %'
    """
    name, _, limit = metric.partition("@")
    told, comma, unit = LABELS.get(name, name).partition(", ")
    return f"{told} of {limit} s{comma}{unit}" if limit else f"{told}{comma}{unit}"


def is_share(metric: str) -> bool:
    """Whether a metric is a share of something."""
    return metric.startswith(SHARES)


def better(metric: str, change: float) -> bool:
    """Whether a change of a metric is for the better."""
    return change < 0 if metric in LESS else change > 0


def said(change: Interval) -> str:
    """A difference with its interval; a star where it is not chance, a dash where there is none."""
    if not isfinite(change.mean):
        return "\N{EN DASH}"
    half = f" ± {change.half:.1f}" if isfinite(change.half) else ""
    return f"{change.mean:+.1f}{half}{'*' if change.certain else ''}"
