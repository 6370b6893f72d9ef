"""The pictures of a figure: lines over the arrival rate for each machine, dots where settings have one load each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.drawing import duration_axis, figure, legend, looks, percent_axis, write
from experiments.escaping import in_picture
from experiments.figures.figure import Figure
from experiments.replications import interval
from experiments.studies.findings import Findings, is_share, labelled
from experiments.studies.study import Setting, Variant
from experiments.sweep_picture import Panel, SweepPoint, draw_sweep

TIMES = ("mean_jct", "mean_ttft", "p95_ttft", "p99_ttft", "p95_tbt", "p99_tbt")
"""Metrics in seconds that range over powers of ten."""


def draw(asked: Figure, findings: Findings, folder: Path) -> list[Path]:
    """Writes the pictures into a folder; returns their paths, in the order of the settings."""
    settings, names = asked.study.settings, _names(asked.study.variants)
    by_rate = asked.over == "rate"
    lines = [each for each in settings if by_rate and len(each.rates) > 1]
    dots = [each._replace(rates=(rate,)) for each in settings for rate in each.rates if each not in lines]
    drawn = [draw_lines(findings, each, names, folder / f"{asked.name}-{_slug(each.name)}.png") for each in lines]
    for rate in dict.fromkeys(each.rates[0] for each in dots):
        here = [each for each in dots if each.rates == (rate,)]
        drawn.append(draw_dots(findings, here, names, folder / f"{asked.name}-{rate:g}.png"))
    return drawn


def _names(variants: Sequence[Variant]) -> dict[str, str]:
    """What each variant is called in pictures: its words, if they are its own."""
    words = [each.what for each in variants]
    return {each.title: each.what if each.what and words.count(each.what) == 1 else each.title for each in variants}


def _slug(name: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in name).strip("-")


def draw_lines(findings: Findings, setting: Setting, names: dict[str, str], path: Path) -> Path:
    """Each metric against the arrival rate: a line per variant, all seeds as a band."""
    points = [
        SweepPoint(names[place.variant], place.rate, seed, summary)
        for place, summaries in findings.runs.items()
        if place.setting == setting.name
        for seed, summary in enumerate(summaries)
    ]
    ordered = sorted(points, key=lambda each: list(names.values()).index(each.policy))
    return draw_sweep(ordered, path, [panel(metric) for metric in findings.study.metrics])


def panel(metric: str) -> Panel:
    """How a metric is drawn."""
    return Panel(metric, _title(metric), share=is_share(metric), logarithmic=metric in TIMES)


def _title(metric: str) -> str:
    told = labelled(metric).removesuffix(", %")
    return told[0].upper() + told[1:]


def draw_dots(findings: Findings, settings: Sequence[Setting], names: dict[str, str], path: Path) -> Path:
    """Each metric by setting: a dot per variant with its 95 % interval over the seeds."""
    metrics = findings.study.metrics
    columns = min(len(metrics), 2)
    rows = -(-len(metrics) // columns)
    with figure(rows, columns, 5.4 * columns, 0.8 + 2.6 * rows) as (drawn, grid):
        for axes, metric in zip(grid, metrics, strict=False):
            axes.set_title(_title(metric))
            _dots(axes, findings, settings, names, metric)
        drawn.suptitle(f"{settings[0].rates[0]:g} requests/s", x=0.99, ha="right", fontsize=9)
        for axes in grid[len(metrics) :]:
            axes.set_axis_off()
        legend(drawn, grid[0])
        return write(drawn, path)


def _dots(axes: Axes, findings: Findings, settings: Sequence[Setting], names: dict[str, str], metric: str) -> None:
    look = looks(list(names.values()))
    for number, variant in enumerate(findings.study.variants):
        name = names[variant.title]
        known = [interval(findings.values(each, each.rates[0], variant, metric)) for each in settings]
        places = np.arange(len(settings)) + 0.6 * ((number + 0.5) / len(names) - 0.5)
        halves = [each.half if np.isfinite(each.half) else 0.0 for each in known]
        means = [each.mean for each in known]
        axes.errorbar(places, means, halves, fmt="o", markersize=4, color=look[name]["color"], label=in_picture(name))
    axes.set_xticks(np.arange(len(settings)), [each.name for each in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    if is_share(metric):
        percent_axis(axes)
    elif metric in TIMES:
        duration_axis(axes, "y")
    else:
        axes.set_ylim(bottom=0)
