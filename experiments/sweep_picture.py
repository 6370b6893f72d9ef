"""The picture of a sweep: metrics against the arrival rate, a line per policy, with the spread of its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.drawing import duration_axis, figure, label_ends, looks, percent_axis, write
from experiments.escaping import in_picture


class SweepPoint(NamedTuple):
    """One run of a sweep."""

    policy: str
    rate: float
    """Requests per second."""
    seed: int
    summary: Mapping[str, float]


class Panel(NamedTuple):
    """One metric of a sweep's picture."""

    key: str
    title: str
    share: bool = False
    logarithmic: bool = False


PANELS = (
    Panel("goodput", "Goodput, tokens/s"),
    Panel("slo_attainment_requests", "Requests within all their SLOs", share=True),
    Panel("mean_jct", "Mean job completion time", logarithmic=True),
    Panel("request_goodput", "Requests per second within all their SLOs"),
    Panel("p50_ttft", "Median time to first token", logarithmic=True),
    Panel("p99_tbt", "99th percentile of time between tokens", logarithmic=True),
)
WIDE = 20.0
"""Rates that differ by more than this factor are shown on a logarithmic axis."""


def draw_sweep(points: Sequence[SweepPoint], path: str | Path, panels: Sequence[Panel] = PANELS) -> Path:
    """Metrics against the arrival rate: each policy's mean over seeds as a line, all its seeds as a band."""
    names = list(dict.fromkeys(point.policy for point in points))
    look = looks(names)
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    with figure(rows, columns, 5.4 * columns, 0.5 + 2.9 * rows) as (drawn, grid):
        for axes, panel in zip(grid, panels, strict=False):
            ends = [(name, _curve(axes, points, name, panel, look[name])) for name in names]
            _dress(axes, panel, sorted({point.rate for point in points}))
            known = [(name, value) for name, value in ends if math.isfinite(value)]
            label_ends(axes, known, [look[name]["color"] for name, _ in known])
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return write(drawn, Path(path))


def _curve(axes: Axes, points: Sequence[SweepPoint], name: str, panel: Panel, look: dict[str, object]) -> float:
    """Draws one policy's line and band; returns the line's last value."""
    rates = sorted({point.rate for point in points if point.policy == name})
    values = [
        [float(point.summary[panel.key]) for point in points if point.policy == name and point.rate == rate]
        for rate in rates
    ]
    means = [float(np.mean(each)) for each in values]
    axes.plot(rates, means, marker="o", markersize=3.5, label=in_picture(name), clip_on=False, **look)  # type: ignore[arg-type]
    if any(len(each) > 1 for each in values):
        lows, highs = [min(each) for each in values], [max(each) for each in values]
        axes.fill_between(rates, lows, highs, color=str(look["color"]), alpha=0.15, linewidth=0)
    return means[-1]


def _dress(axes: Axes, panel: Panel, rates: Sequence[float]) -> None:
    axes.set_title(panel.title)
    axes.set_xlabel("arrival rate, requests/s")
    low, high = (rates[0], rates[-1]) if rates else (0.0, 1.0)
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.text(0.5, 0.5, "no values", color="#888888", ha="center", va="center", transform=axes.transAxes)
    if high > WIDE * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low, high)
    else:
        axes.set_xlim(0, high)
    if panel.logarithmic:
        duration_axis(axes, "y")
    elif panel.share:
        percent_axis(axes)
    else:
        axes.set_ylim(bottom=0)
