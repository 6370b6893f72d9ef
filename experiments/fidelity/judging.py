"""A prediction beside the real engine's runs: errors, what the engine itself varies by, and the schedulers' order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.table_rows import Kind, Metric
from sim.metrics import latencies
from sim.result import RunResult

Summary = Mapping[str, float]

METRICS = (
    *(Metric(f"{which}_ttft", f"TTFT {which}, s", Kind.LESS) for which in ("mean", "p50", "p90", "p99")),
    *(Metric(f"{which}_tbt", f"TBT {which}, s", Kind.LESS) for which in ("mean", "p50", "p90", "p99")),
    *(Metric(f"{which}_jct", f"JCT {which}, s", Kind.LESS) for which in ("mean", "p50", "p90", "p99")),
    Metric("token_throughput", "throughput, tokens/s", Kind.MORE),
    Metric("request_throughput", "throughput, requests/s", Kind.MORE),
    Metric("goodput", "goodput, tokens/s", Kind.MORE),
    Metric("slo_attainment_tokens", "tokens in SLO", Kind.SHARE),
    Metric("slo_attainment_requests", "requests in all SLOs", Kind.SHARE),
)
"""What is compared; of shares the difference, of all else the ratio."""
RANKED = ("goodput", "slo_attainment_requests", "mean_jct", "mean_ttft", "mean_tbt")
"""By what the schedulers are put in order."""
OF_REQUESTS = ("ttft", "jct")


class Beside(NamedTuple):
    """One metric in every round: as predicted and as the real engine had it."""

    metric: Metric
    predictions: tuple[float, ...]
    """The same one again and again, unless every round was calibrated anew."""
    real: tuple[float, ...]

    @property
    def predicted(self) -> float:
        """The median prediction."""
        return median(self.predictions)

    @property
    def middle(self) -> float:
        """The median of the real runs."""
        return median(self.real)

    @property
    def error(self) -> float:
        """The median over the rounds of predicted / real - 1; of a share, of predicted - real."""
        return median(map(self._beside, self.predictions, self.real))

    @property
    def spread(self) -> float:
        """The noise floor: how far the real runs lie apart, in the unit of `error`, beside their median."""
        return self._beside(max(self.real), self.middle) - self._beside(min(self.real), self.middle)

    @property
    def within(self) -> bool:
        """Whether the prediction lies among the real runs: then it cannot be told from one of them."""
        return min(self.real) <= self.predicted <= max(self.real)

    def _beside(self, value: float, real: float) -> float:
        if self.metric.kind is Kind.SHARE:
            return value - real
        return value / real - 1 if real else float("nan")


@dataclass(frozen=True)
class Case:
    """One scheduler at one load."""

    load: float
    """Arrival rate over what the engine is predicted to serve."""
    rate: float
    """Requests per second."""
    policy: str
    predicted: tuple[Summary, ...]
    real: tuple[Summary, ...]
    """Both by round."""
    request_errors: Mapping[str, Mapping[str, float]]
    """Of ttft and jct, request by request: median and p95 of the size of the relative error."""

    def lines(self, metrics: Sequence[Metric] = METRICS) -> Iterator[Beside]:
        """Every metric that both sides have."""
        for metric in metrics:
            if self.has(metric):
                yield self.line(metric)

    def has(self, metric: Metric) -> bool:
        """Whether there was something to measure on both sides."""
        return all(isfinite(run[metric.key]) for run in (*self.predicted, *self.real))

    def line(self, metric: Metric) -> Beside:
        """One metric."""
        return Beside(metric, *(tuple(run[metric.key] for run in runs) for runs in (self.predicted, self.real)))


class Pair(NamedTuple):
    """Two schedulers at one load by one metric: who is ahead, predicted and in the real runs."""

    load: float
    metric: Metric
    policies: tuple[str, str]
    predicted: str
    """Who is ahead; empty where they are level."""
    real: str
    """Who is ahead in every real run of one against every run of the other; empty where the runs overlap, or are
    single: then nobody knows by how much they vary."""

    @property
    def verdict(self) -> str:
        """same, different, or not settled by the real engine's own runs."""
        return "not settled" if not self.real else "same" if self.real == self.predicted else "different"


def pairs(cases: Sequence[Case]) -> list[Pair]:
    """Every two schedulers at every load, by every metric of `RANKED`."""
    metrics = [metric for metric in METRICS if metric.key in RANKED]
    return [
        Pair(one.load, metric, (one.policy, other.policy), *_ahead(one, other, metric))
        for load in dict.fromkeys(case.load for case in cases)
        for one, other in combinations([case for case in cases if case.load == load], 2)
        for metric in metrics
        if one.has(metric) and other.has(metric)
    ]


def _ahead(one: Case, other: Case, metric: Metric) -> tuple[str, str]:
    sign = -1.0 if metric.kind is Kind.LESS else 1.0

    def leader(mine: Sequence[float], its: Sequence[float]) -> str:
        return one.policy if min(mine) > max(its) else other.policy if min(its) > max(mine) else ""

    real = [[sign * run[metric.key] for run in case.real] for case in (one, other)]
    settled = leader(*real) if min(map(len, real)) > 1 else ""
    return leader(*([sign * case.line(metric).predicted] for case in (one, other))), settled


def request_errors(predicted: Sequence[RunResult], real: Sequence[RunResult]) -> dict[str, dict[str, float]]:
    """How far off predictions of single requests are, run by run."""
    both = [(latencies(ours), latencies(theirs)) for ours, theirs in zip(predicted, real, strict=True)]
    joined = {name: [np.concatenate([pair[side][name] for pair in both]) for side in (0, 1)] for name in OF_REQUESTS}
    return {name: _sizes(*columns) for name, columns in joined.items()}


def iteration_errors(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> dict[str, float]:
    """Of iterations one by one: median and p95 of the relative error's size, and the bias of their sum."""
    if not len(measured):
        return {"iterations": 0, "median": float("nan"), "p95": float("nan"), "bias": float("nan")}
    bias = float(predicted.sum() / measured.sum() - 1)
    return {"iterations": len(measured), **_sizes(predicted, measured), "bias": bias}


def _sizes(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> dict[str, float]:
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(predicted / measured - 1)
    known = size[np.isfinite(size)]
    if not len(known):
        return {"median": float("nan"), "p95": float("nan")}
    return {"median": float(np.median(known)), "p95": float(np.percentile(known, 95))}
