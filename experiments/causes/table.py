"""What made SLOs fail, as a table: causes down, policies across."""

from __future__ import annotations

import math
from collections.abc import Mapping

from experiments.table import Comparison
from experiments.table_rows import Kind, Metric
from sim.attribution import EXCESSES, LABELS, RollUp

NAMES = {"alone": "by itself longer than the SLO", **LABELS}
"""What was over an SLO, in words."""
SHARES_OF_JCT = {"alone": "alone on the machine", **LABELS}
"""What a completion time is made of, in words."""


def causes_table(rolled: Mapping[str, RollUp], baseline: str | None = None) -> Comparison:
    """Of the roll-up of each policy; causes that did nothing under any of them have no row."""
    summaries = {name: one.summary() for name, one in rolled.items()}
    shown = {key for one in summaries.values() for key, value in one.items() if value and math.isfinite(value)}
    known = {name: {key: one[key] for key in shown} for name, one in summaries.items()}
    return Comparison.of(known, baseline, SECTIONS)


def _section(prefix: str, names: Mapping[str, str] = NAMES) -> tuple[Metric, ...]:
    return tuple(Metric(f"{prefix}_{name}", names[name], Kind.COUNT) for name in EXCESSES)


SECTIONS = {
    "Late first tokens": (
        Metric("ttft_late", "came late", Kind.COUNT),
        Metric("ttft_never", "never came", Kind.COUNT),
    ),
    "... mainly because of": _section("ttft_mainly"),
    "... s over the SLO, per request": _section("ttft_excess"),
    "Requests with late later tokens": (
        Metric("tbt_late", "with late ones", Kind.COUNT),
        Metric("tbt_never", "with some that never came", Kind.COUNT),
    ),
    "... mainly because of ": _section("tbt_mainly"),
    "... s over the SLO, per request ": _section("tbt_excess"),
    "Late jobs (JCT)": (
        Metric("jct_late", "came late", Kind.COUNT),
        Metric("jct_never", "never came", Kind.COUNT),
    ),
    "... mainly because of  ": _section("jct_mainly"),
    "... s over the SLO, per request  ": _section("jct_excess"),
    "What a JCT is made of, s": _section("jct_delay", SHARES_OF_JCT),
}
"""Sections are told apart by their titles, hence the spaces at the ends."""
