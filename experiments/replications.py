"""Replications: the same runs with several seeds, and what of the difference between two policies is not chance.

All policies see the same requests under one seed (common random numbers), so differences are taken seed by seed and
their spread is much smaller than that of the metrics themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10, sqrt
from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95
NOUGHT = 1e-9
"""Share of a value up to which its interval is one of rounding only."""
METRICS = {
    "goodput": "goodput, tokens/s",
    "slo_attainment_tokens": "tokens in SLO",
    "slo_attainment_requests": "requests in all SLOs",
    "mean_jct": "JCT mean, s",
    "mean_ttft": "TTFT mean, s",
    "p99_ttft": "TTFT p99, s",
    "p99_tbt": "TBT p99, s",
}
"""The metrics whose differences are shown."""


class Interval(NamedTuple):
    """A mean over replications with its confidence interval: mean - half to mean + half."""

    mean: float
    half: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out nought."""
        return abs(self.mean) > self.half


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval for the mean of independent values; infinitely wide for fewer than two."""
    from scipy.special import stdtrit

    known = np.asarray(values, np.float64)
    if len(known) < 2:
        return Interval(float(known.mean()) if len(known) else float("nan"), float("inf"))
    quantile = float(stdtrit(len(known) - 1, (1 + confidence) / 2))
    return Interval(float(known.mean()), quantile * float(known.std(ddof=1)) / sqrt(len(known)))


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """The difference of two policies, seed by seed."""
    return interval([own - other for own, other in zip(ours, theirs, strict=True)])


def paired_table(summaries: Mapping[str, Sequence[Mapping[str, float]]], baseline: str) -> str:
    """Each policy's difference from the baseline with its interval; `*` marks those that are not chance."""
    from rich.table import Table

    from experiments.console import as_text
    from experiments.escaping import literally

    others = [title for title in summaries if title != baseline]
    number = len(summaries[baseline])
    table = Table(box=None, pad_edge=False, padding=(0, 1), caption_justify="left")
    table.caption = (
        f"differences from {literally(baseline)}, paired over {number} seeds, with 95 % intervals; *: not chance"
    )
    for title in ("", *others):
        table.add_column(literally(title), justify="right" if title else "left", no_wrap=True)
    for key, label in METRICS.items():
        values = {title: [each[key] for each in runs] for title, runs in summaries.items()}
        if all(isfinite(value) for each in values.values() for value in each):
            table.add_row(label, *(difference_said(paired(values[title], values[baseline])) for title in others))
    return as_text(max(100, 24 + 28 * len(others)), table)


def said(value: Interval, scale: float = 1.0) -> str:
    """A value with its interval, if there is one, to two digits of that; a dash if there is no value.

    >>> said(Interval(180.44, 12.9)), said(Interval(0.00123, 0.00011), 100), said(Interval(2 / 3, 0.0))
    ('180 ± 13', '0.123 ± 0.011', '0.6667')
    """
    mean, half = scale * value.mean, scale * value.half
    if not isfinite(mean):
        return "-"
    if not isfinite(half) or half <= NOUGHT * abs(mean):
        return f"{mean:.4g}"
    decimals = max(1 - floor(log10(half)), 0)
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def difference_said(change: Interval, scale: float = 1.0) -> str:
    """A difference, with its sign, and a star where it is not chance (a blank where it may be)."""
    if not isfinite(change.mean):
        return "-"
    return f"{'+' if change.mean > 0 else ''}{said(change, scale)}{'*' if change.certain else ' '}"
