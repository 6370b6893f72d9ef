"""The requests whose first tokens were latest, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np

from experiments.causes.table import NAMES
from experiments.drawing import duration
from experiments.report.gathered import Load
from sim.attribution import CAUSES

MOST = 3
"""Requests of each policy."""
HEAD = ("policy", "request", "application", "prompt, tokens", "output, tokens", "TTFT", "SLO", "JCT", "mainly")


def latest(load: Load) -> Iterator[tuple[str, ...]]:
    """Rows of a table: those that are furthest beyond their SLO, or without SLOs those that took longest."""
    for policy, result in load.results.items():
        rows, causes = result.requests, load.causes[policy]
        ttft = np.asarray(rows["first_token_at"] - rows["arrived_at"])
        limit = np.where(np.isfinite(rows["slo_ttft"]), rows["slo_ttft"], 0.0)
        order = np.argsort(-np.nan_to_num(ttft - limit, nan=-np.inf), kind="stable")
        for number in order[: min(MOST, int((~np.isnan(ttft)).sum()))].tolist():
            delay = causes.first[:, number]
            yield (
                policy,
                str(number),
                result.applications[rows["application"][number]] if result.applications else "",
                str(rows["prompt_tokens"][number]),
                str(rows["output_tokens"][number]),
                duration(float(ttft[number])),
                _said(float(rows["slo_ttft"][number]), "none"),
                _said(float(rows["finished_at"][number] - rows["arrived_at"][number]), "never"),
                f"{NAMES[CAUSES[int(delay.argmax())]]} ({duration(float(delay.max()))})",
            )


def _said(seconds: float, otherwise: str) -> str:
    return duration(seconds) if isfinite(seconds) else otherwise
