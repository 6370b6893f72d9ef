"""The pictures of a figure: lines over the arrival rate for each machine, dots where settings have one load each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.drawing import figure, legend, looks, percent_axis, write
from experiments.figures.figure import Figure
from experiments.replications import interval
from experiments.studies.findings import LABELS, Findings, is_share
from experiments.studies.study import Setting, Variant
from experiments.sweep_picture import Panel, SweepPoint, draw_sweep

TIMES = ("mean_jct", "mean_ttft", "p95_ttft", "p99_ttft", "p95_tbt", "p99_tbt")
"""Metrics in seconds that range over powers of ten."""


def draw(asked: Figure, findings: Findings, folder: Path) -> list[Path]:
    """Writes the pictures into a folder; returns their paths, in the order of the settings."""
    several = [each for each in asked.study.settings if len(each.rates) > 1]
    single = [each for each in asked.study.settings if len(each.rates) == 1]
    names = _names(asked.study.variants)
    drawn = [draw_lines(findings, each, names, folder / f"{asked.name}-{_slug(each.name)}.png") for each in several]
    return drawn + ([draw_dots(findings, single, names, folder / f"{asked.name}.png")] if single else [])


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
    told = LABELS.get(metric, metric).removesuffix(", %")
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
        for axes in grid[len(metrics) :]:
            axes.set_axis_off()
        legend(drawn, grid[0], len(names))
        return write(drawn, path)


def _dots(axes: Axes, findings: Findings, settings: Sequence[Setting], names: dict[str, str], metric: str) -> None:
    look = looks(list(names.values()))
    for number, variant in enumerate(findings.study.variants):
        name = names[variant.title]
        known = [interval(findings.values(each, each.rates[0], variant, metric)) for each in settings]
        places = np.arange(len(settings)) + 0.6 * ((number + 0.5) / len(names) - 0.5)
        halves = [each.half if np.isfinite(each.half) else 0.0 for each in known]
        means = [each.mean for each in known]
        axes.errorbar(places, means, halves, fmt="o", markersize=4, color=look[name]["color"], label=name)
    axes.set_xticks(np.arange(len(settings)), [each.name for each in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    if is_share(metric):
        percent_axis(axes)
    elif metric in TIMES:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
