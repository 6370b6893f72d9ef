"""The rows of a comparison's table: which metrics, what is better, and how numbers are said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What a metric's values mean beside each other."""

    MORE = "more is better"
    LESS = "less is better"
    SHARE = "a share; more is better"
    LEVEL = "a share; neither is better"
    COUNT = "a number that explains"


class Metric(NamedTuple):
    """One row of the table."""

    key: str
    label: str
    kind: Kind
    scale: float = 1.0
    """What values are multiplied with before they are shown."""
    always: bool = False
    """Shown as dashes where no policy has a value, instead of left out."""


SECTIONS: Mapping[str, Sequence[Metric]] = {
    "Work done": (
        Metric("token_throughput", "throughput, tokens/s", Kind.MORE),
        Metric("request_throughput", "throughput, requests/s", Kind.MORE),
        Metric("goodput", "goodput, tokens/s", Kind.MORE, always=True),
        Metric("request_goodput", "goodput, requests/s", Kind.MORE, always=True),
    ),
    "Share of bound, as served": (
        Metric("serving_share_goodput", "goodput, tokens/s", Kind.SHARE),
        Metric("serving_share_request_goodput", "goodput, requests/s", Kind.SHARE),
    ),
    "Share of bound, refusing": (
        Metric("refusing_share_goodput", "goodput, tokens/s", Kind.SHARE),
        Metric("refusing_share_request_goodput", "goodput, requests/s", Kind.SHARE),
    ),
    "Share of Oracle": (
        Metric("oracle_share_goodput", "goodput, tokens/s", Kind.SHARE),
        Metric("oracle_share_request_goodput", "goodput, requests/s", Kind.SHARE),
    ),
    "Within SLO": (
        Metric("slo_attainment_tokens", "tokens", Kind.SHARE, always=True),
        Metric("slo_attainment_ttft", "first tokens (TTFT)", Kind.SHARE),
        Metric("slo_attainment_tbt", "later tokens (TBT)", Kind.SHARE),
        Metric("slo_attainment_jct", "jobs (JCT)", Kind.SHARE),
        Metric("slo_attainment_requests", "requests, in all SLOs", Kind.SHARE, always=True),
    ),
    "Latency, s": (
        Metric("mean_jct", "JCT mean", Kind.LESS),
        Metric("p99_jct", "JCT p99", Kind.LESS),
        Metric("mean_normalized_latency", "JCT per token, mean", Kind.LESS),
        Metric("mean_ttft", "TTFT mean", Kind.LESS),
        Metric("p50_ttft", "TTFT p50", Kind.LESS),
        Metric("p99_ttft", "TTFT p99", Kind.LESS),
        Metric("mean_tbt", "TBT mean", Kind.LESS),
        Metric("p50_tbt", "TBT p50", Kind.LESS),
        Metric("p99_tbt", "TBT p99", Kind.LESS),
    ),
    "Machine": (
        Metric("gpu_utilization", "GPU, operations / peak", Kind.LEVEL),
        Metric("pivot_utilization", "GPU, forward size / pivot", Kind.LEVEL),
        Metric("kvc_used", "KV cache holding tokens", Kind.LEVEL),
        Metric("kvc_unallocated", "KV cache unallocated", Kind.LEVEL),
    ),
    "Events": (
        Metric("preemptions", "preemptions", Kind.COUNT),
        Metric("rejections", "rejections", Kind.COUNT),
        Metric("unfinished", "unfinished", Kind.COUNT),
        Metric("mean_schedule_seconds", "scheduling, µs/iteration", Kind.COUNT, 1e6),
    ),
}


OF_APPLICATIONS = (
    Metric("goodput", "goodput, tokens/s", Kind.MORE, always=True),
    Metric("slo_attainment_tokens", "tokens in SLO", Kind.SHARE, always=True),
    Metric("slo_attainment_requests", "requests in all SLOs", Kind.SHARE, always=True),
    Metric("mean_jct", "JCT mean, s", Kind.LESS),
    Metric("p99_ttft", "TTFT p99, s", Kind.LESS),
    Metric("p99_tbt", "TBT p99, s", Kind.LESS),
)
"""The metrics of a section per application."""


IN_ALL_SLOS = "in all SLOs: TTFT, mean gap (TPOT) within TBT, and JCT; requests without an SLO are not counted"
"""The definition behind attainment and goodput of requests, for the foot of a table."""


def best_of(kind: Kind, known: Sequence[float]) -> float | None:
    """The best value, if the metric has a better and a worse and the policies differ."""
    if not known or kind in (Kind.LEVEL, Kind.COUNT) or min(known) == max(known):
        return None
    return min(known) if kind is Kind.LESS else max(known)


def beside(kind: Kind, value: float, reference: float) -> tuple[str, bool | None]:
    """A value beside the baseline's, in words, and whether it is better; differences too small to show are none."""
    if kind is Kind.COUNT or not math.isfinite(value) or not math.isfinite(reference):
        return "", None
    if kind in (Kind.SHARE, Kind.LEVEL):
        points = round(100 * (value - reference), 1)
        return f"{points:+.1f} pp" if points else "=", points > 0 if points and kind is Kind.SHARE else None
    over, under = (value, reference) if kind is Kind.MORE else (reference, value)
    if not under:
        return "", None
    times = _times(over / under)
    return times, None if times == "1.00x" else over > under


def _times(ratio: float) -> str:
    """Two decimals, or as many as a very small or large ratio needs."""
    return f"{ratio:.2f}x" if 0.1 <= ratio < 10 else f"{_digits(ratio)}x"


def said(kind: Kind, value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f} %" if kind in (Kind.SHARE, Kind.LEVEL) else _digits(value)


def _digits(value: float) -> str:
    """Three significant digits, or all of a whole number's, without exponents."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    decimals = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{min(decimals, 6)}f}"
