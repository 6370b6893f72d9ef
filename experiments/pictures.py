"""Pictures of a comparison: goodput over time, latencies, use of the machine, SLO attainment.

All take results by policy name and draw them in that order, in the same colours. They load matplotlib: import late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.drawing import (
    duration,
    duration_axis,
    figure,
    legend,
    looks,
    percent_axis,
    time_unit,
    write,
)
from experiments.escaping import in_picture
from sim.metrics import latencies
from sim.result import RunResult
from sim.statistic import Sample

MOST_WINDOWS = 160
"""Points of a line over time; a longer run gets longer windows."""
LEVELS = np.concatenate([np.linspace(0, 99, 199), np.linspace(99, 99.9, 19)[1:]])
"""Percentiles at which a distribution is drawn."""

BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 3, "columnspacing": 1.2}
"""A legend under the axes."""
Places = NDArray[np.int64]


def draw(results: Mapping[str, RunResult], folder: str | Path, kind: str = "png") -> list[Path]:
    """Draws the four pictures of a comparison into a folder as .png, .svg or .pdf; returns their paths."""
    return [picture(results, Path(folder) / f"{name}.{kind}") for name, picture in PICTURES.items()]


def draw_goodput(results: Mapping[str, RunResult], path: Path, window: float | None = None) -> Path:
    """Output tokens per second within their SLO over time, in windows of so many seconds (at least 1, if not given)."""
    look = looks(list(results))
    longest = max(result.end - result.first_arrival for result in results.values())
    window = window or _round_up(max(longest / MOST_WINDOWS, 1.0))
    unit, unit_name = time_unit(longest)
    with figure(1, 1, 8.2, 3.4) as (drawn, (axes,)):
        for name, result in results.items():
            series = result.series(window)
            full = max(int((result.end - result.first_arrival) / window), 1)
            middle = series.start[:full] - result.first_arrival + window / 2
            axes.plot(middle / unit, series.goodput[:full], label=in_picture(name), **look[name])
        axes.set_title(f"Goodput: tokens per second within their SLO, in windows of {duration(window)}")
        axes.set_xlabel(f"{unit_name} since the first arrival")
        axes.set_xlim(0, max(longest, window) / unit)
        axes.set_ylim(bottom=0)
        if not any(result.verdicts.promised.any() for result in results.values()):
            _say_no_slo(axes)
        _mark_last_arrival(axes, results, unit)
        legend(drawn, axes)
        return write(drawn, path)


def _say_no_slo(axes: Axes) -> None:
    """Writes into empty axes that no request has an SLO, so that there is nothing to draw."""
    axes.text(0.5, 0.5, "no request has an SLO", color="#888888", ha="center", va="center", transform=axes.transAxes)


def _mark_last_arrival(axes: Axes, results: Mapping[str, RunResult], unit: float) -> None:
    result = next(iter(results.values()))
    last = float(result.requests["arrived_at"].max(initial=result.first_arrival, where=result.arrived))
    place = (last - result.first_arrival) / unit
    axes.axvline(place, color="#bbbbbb", linewidth=1, zorder=0)
    axes.annotate(
        "last arrival",
        (place, 1.0),
        (3, -9),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color="#888888",
        fontsize=8,
    )


def draw_latencies(results: Mapping[str, RunResult], path: Path) -> Path:
    """Which share of requests (TTFT, JCT) and of gaps between tokens (TBT) took at most how long; up to 99.9 %."""
    look = looks(list(results))
    samples = {name: _samples(result) for name, result in results.items()}
    with figure(1, 3, 10.5, 3.4) as (drawn, panels):
        titles = ("Time to first token", "Time between tokens", "Job completion time")
        for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            for name, mine in samples.items():
                levels = LEVELS if mine[place].size else LEVELS[:0]
                values = [max(mine[place].percentile(level), 1e-6) for level in levels]
                axes.plot(values, levels / 100, label=in_picture(name), **look[name])
            axes.set_title(title)
            duration_axis(axes)
            percent_axis(axes)
        panels[0].set_ylabel("share that took at most so long")
        legend(drawn, panels[0])
        return write(drawn, path)


def draw_utilization(results: Mapping[str, RunResult], path: Path) -> Path:
    """How busy the GPU was, and what the key-value cache held, over the whole run."""
    summaries = {name: result.summary() for name, result in results.items()}
    places = np.arange(len(results))[::-1]
    with figure(1, 2, 10.5, 1.5 + 0.42 * len(results)) as (drawn, (gpu, cache)):
        _dots(gpu, summaries, places)
        _stacks(cache, summaries, places)
        for axes in (gpu, cache):
            axes.set_ylim(-0.6, len(results) - 0.4)
            axes.set_yticks(places, list(map(in_picture, results)) if axes is gpu else [])
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            percent_axis(axes, "x")
        return write(drawn, path)


def draw_attainment(results: Mapping[str, RunResult], path: Path) -> Path:
    """The share of tokens and of requests within their SLO, for each application."""
    look = looks(list(results))
    tables = {name: result.by_application() for name, result in results.items()}
    applications = list(next(iter(tables.values())))
    titles = {"slo_attainment_tokens": "Tokens within their SLO", "slo_attainment_requests": "Requests within all SLOs"}
    with figure(1, 2, 10.5, 1.6 + 0.45 * max(len(applications), 2)) as (drawn, panels):
        for axes, (key, title) in zip(panels, titles.items(), strict=True):
            axes.set_title(title)
            for place, name in enumerate(results):
                shares = [tables[name].get(application, {}).get(key, math.nan) for application in applications]
                rows = np.arange(len(applications))[::-1] + 0.12 * ((len(results) - 1) / 2 - place)
                axes.plot(shares, rows, "o", color=look[name]["color"], label=in_picture(name), clip_on=False, zorder=3)
            if not any(result.verdicts.promised.any() for result in results.values()):
                _say_no_slo(axes)
            axes.set_yticks(np.arange(len(applications))[::-1], [in_picture(name) or "all" for name in applications])
            axes.set_ylim(-0.6, len(applications) - 0.4)
            axes.tick_params(axis="y", length=0)
            percent_axis(axes, "x")
        legend(drawn, panels[0])
        return write(drawn, path)


def _samples(result: RunResult) -> tuple[Sample, Sample, Sample]:
    columns, chosen = latencies(result), result.measured
    gaps = Sample.of(*result.tokens.only(chosen).pooled_gaps())
    return Sample.of(columns["ttft"][chosen]), gaps, Sample.of(columns["jct"][chosen])


def _dots(axes: Axes, summaries: Mapping[str, Mapping[str, float]], places: Places) -> None:
    """Three measures of a GPU's use, one mark each."""
    measures = (
        ("gpu_busy", "time busy", "o", "#333333"),
        ("pivot_utilization", "forward size / pivot", "D", "#888888"),
        ("gpu_utilization", "operations / peak", "o", "white"),
    )
    axes.set_title("GPU, share of all the time")
    axes.hlines(places, 0, 1, color="#eeeeee", linewidth=1, zorder=0)
    for key, label, marker, fill in measures:
        shares = [one[key] for one in summaries.values()]
        look = {"markerfacecolor": fill, "markeredgecolor": "#333333", "markersize": 6.5, "clip_on": False, "zorder": 3}
        axes.plot(shares, places, marker, label=label, **look)  # type: ignore[arg-type]
    axes.legend(**BELOW, handletextpad=0.2)


def _stacks(axes: Axes, summaries: Mapping[str, Mapping[str, float]], places: Places) -> None:
    """The cache's shares as one bar per policy."""
    parts = (
        ("kvc_used", "holds tokens", "#4477AA", "white"),
        ("kvc_allocated_empty", "allocated, empty", "#A9C4DE", "#333333"),
        ("kvc_unallocated", "unallocated", "#EEEEEE", "#777777"),
    )
    axes.set_title("Key-value cache, share of it over all the time")
    left = np.zeros(len(places))
    for key, label, colour, ink in parts:
        shares = np.array([one[key] for one in summaries.values()])
        bars = axes.barh(places, shares, 0.6, left, color=colour, label=label)
        texts = [f"{100 * share:.0f} %" if share > 0.06 else "" for share in shares]
        axes.bar_label(bars, texts, label_type="center", color=ink, fontsize=8)
        left = left + shares
    axes.grid(visible=False)
    axes.legend(**BELOW, handlelength=1)


def _round_up(seconds: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... seconds."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= seconds * (1 - 1e-9))


PICTURES: Mapping[str, Callable[[Mapping[str, RunResult], Path], Path]] = {
    "goodput": draw_goodput,
    "latency": draw_latencies,
    "utilization": draw_utilization,
    "attainment": draw_attainment,
}
"""The pictures of a load, by the names of their files."""
