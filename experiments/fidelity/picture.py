"""The picture of fidelity: predicted against real, a dot for every figure, on the line where they agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.drawing import duration_axis, figure, legend, looks, percent_axis, write
from experiments.fidelity.judging import METRICS, Case
from experiments.table_rows import Kind, Metric

PANELS = {
    "Time to first token": ("mean_ttft", "p50_ttft", "p90_ttft", "p99_ttft"),
    "Time between tokens": ("mean_tbt", "p50_tbt", "p90_tbt", "p99_tbt"),
    "Job completion time": ("mean_jct", "p50_jct", "p90_jct", "p99_jct"),
    "Throughput, tokens/s": ("token_throughput",),
    "Goodput, tokens/s": ("goodput",),
    "Within SLO (tokens, requests)": ("slo_attainment_tokens", "slo_attainment_requests"),
}
"""Mean, median and tail of each latency share a panel."""
MARKERS = "osD^v<>"
"""By load."""


def draw_fidelity(cases: Sequence[Case], path: str | Path) -> Path:
    """Real runs across, from the least to the largest, with the prediction upwards; colours by scheduler."""
    look = looks(list(dict.fromkeys(case.policy for case in cases)))
    loads = list(dict.fromkeys(case.load for case in cases))
    by_key = {metric.key: metric for metric in METRICS}
    with figure(2, 3, 11.0, 7.4) as (drawn, grid):
        for axes, (title, keys) in zip(grid, PANELS.items(), strict=True):
            metrics = [by_key[key] for key in keys]
            for case in cases:
                label = f"{case.policy}, load {case.load:g}"
                _dots(axes, case, metrics, str(look[case.policy]["color"]), MARKERS[loads.index(case.load) % 7], label)
            _dress(axes, title, metrics[0].kind)
        legend(drawn, grid[0])
        return write(drawn, Path(path))


def _dots(axes: Axes, case: Case, metrics: Sequence[Metric], colour: str, marker: str, label: str) -> None:
    lines = list(case.lines(metrics))
    middles, predictions = [line.middle for line in lines], [line.predicted for line in lines]
    for line in lines:
        axes.plot([min(line.real), max(line.real)], [line.predicted] * 2, color=colour, alpha=0.5, linewidth=1.2)
    axes.plot(middles, predictions, marker, color=colour, markersize=5, markeredgewidth=0, label=label)


def _dress(axes: Axes, title: str, kind: Kind) -> None:
    axes.set_title(title)
    axes.set_xlabel("real")
    axes.set_ylabel("predicted")
    if kind is Kind.SHARE:
        percent_axis(axes, "x")
        percent_axis(axes, "y")
    elif kind is Kind.LESS:
        low, high = float(np.min(axes.dataLim.min)), float(np.max(axes.dataLim.max))
        axes.set_xlim(low / 1.3, high * 1.3)
        axes.set_ylim(low / 1.3, high * 1.3)
        duration_axis(axes, "x")
        duration_axis(axes, "y")
    else:
        high = float(np.max(axes.dataLim.max))
        axes.set_xlim(0, 1.1 * high)
        axes.set_ylim(0, 1.1 * high)
    axes.plot(axes.get_xlim(), axes.get_xlim(), color="#999999", linewidth=0.8, zorder=0)
