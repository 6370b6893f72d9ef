"""What the numbers of a comparison say, in sentences made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from experiments.drawing import duration
from experiments.replications import Interval, paired

Summary = Mapping[str, float]


class Claim(NamedTuple):
    """A metric that is worth a sentence."""

    key: str
    name: str
    best: str
    """Who is best, in words that a value follows."""
    more: bool
    kind: str
    """How values are said: share, seconds or number."""


CLAIMS = (
    Claim(
        "slo_attainment_requests", "Requests within all their SLOs", "meets all SLOs of the largest share of requests",
        True, "share",
    ),
    Claim(
        "request_goodput", "Goodput in requests", "serves most requests per second within all their SLOs",
        True, "number",
    ),
    Claim("goodput", "Goodput in tokens", "gives most tokens per second within their SLO", True, "number"),
    Claim("mean_jct", "Mean completion time", "has the shortest mean completion time", False, "seconds"),
    Claim(
        "p99_ttft", "99th percentile of the time to first token",
        "has the shortest 99th percentile of the time to first token", False, "seconds",
    ),
    Claim(
        "p99_tbt", "99th percentile of the time between tokens",
        "has the shortest 99th percentile of the time between tokens", False, "seconds",
    ),
)  # fmt: skip
CLOSE = 0.005
"""Relative differences below this are called none."""


def findings(means: Mapping[str, Summary], runs: Mapping[str, Sequence[Summary]], baseline: str) -> Iterator[str]:
    """A sentence for each metric that the policies differ in: who is best, by how much, and whether that is chance."""
    for claim in CLAIMS:
        values = {name: one[claim.key] for name, one in means.items() if isfinite(one.get(claim.key, float("nan")))}
        if len(values) < 2:
            continue
        ranked = sorted(values, key=lambda name: values[name], reverse=claim.more)
        best, last = ranked[0], ranked[-1]
        if abs(values[best] - values[last]) <= CLOSE * max(abs(values[best]), abs(values[last])):
            yield f"{claim.name}: all policies are within {100 * CLOSE:g} % of each other."
            continue
        others = ", ".join(f"{name} {said(claim.kind, values[name])}" for name in ranked[1:])
        against = baseline if best != baseline and baseline in values else ranked[1]
        yield f"{best} {claim.best}: {said(claim.kind, values[best])} ({others}){_chance(claim, runs, best, against)}."


def _chance(claim: Claim, runs: Mapping[str, Sequence[Summary]], best: str, other: str) -> str:
    """How sure the difference is, if there are several seeds."""
    ours, theirs = ([one[claim.key] for one in runs[name]] for name in (best, other))
    if len(ours) < 2:
        return ""
    difference: Interval = paired(ours, theirs)
    sure = "not chance" if difference.certain else "which may be chance"
    kind = "points" if claim.kind == "share" else claim.kind
    low, high = (said(kind, abs(value)) for value in (difference.mean, difference.half))
    way = "more" if difference.mean > 0 else "less"
    return f"; {low} {way} than {other}, ± {high} over {len(ours)} seeds, {sure}"


def said(kind: str, value: float) -> str:
    """A value in few characters."""
    if kind == "share":
        return f"{100 * value:.1f} %"
    if kind == "points":
        return f"{100 * value:.1f} pp"
    return duration(value) if kind == "seconds" else f"{value:.3g}"
