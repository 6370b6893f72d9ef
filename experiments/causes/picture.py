"""Why SLOs failed: stacked bars, one per policy, of the seconds that each cause made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from experiments.drawing import duration, figure, write
from sim.attribution import EXCESSES, LABELS, RollUp

COLOURS = {
    "alone": "#DDDDDD",
    "queueing": "#332288",
    "kv_wait": "#88CCEE",
    "chunk_stall": "#117733",
    "chunking": "#44AA99",
    "prefill_interference": "#CC6677",
    "batch_slowdown": "#DDCC77",
    "paused": "#999933",
    "preemption": "#882255",
    "beyond_model": "#AA4499",
}
"""Paul Tol's "muted" scheme, distinct for colour-blind eyes."""

NAMES = {"alone": "the request itself", **LABELS}


def draw_causes(rolled: Mapping[str, RollUp], path: Path) -> Path:
    """Seconds per request over each kind of SLO that requests have, and what completion times are made of."""
    panels: dict[str, Mapping[str, Mapping[str, float]]] = {
        "First tokens: over their SLO": {name: _per_request(one, "ttft") for name, one in rolled.items()},
        "Later tokens: over their SLO": {name: _per_request(one, "tbt") for name, one in rolled.items()},
        "Jobs: over their SLO": {name: _per_request(one, "jct") for name, one in rolled.items()},
        "Mean JCT: alone, and delays": {name: one.delay for name, one in rolled.items()},
    }
    drawn_panels = {title: bars for title, bars in panels.items() if any(any(one.values()) for one in bars.values())}
    if not drawn_panels:
        drawn_panels = {"Nothing was late": {name: {} for name in rolled}}
    number = len(drawn_panels)
    with figure(1, number, 2.2 + 2.8 * number, 1.5 + 0.42 * len(rolled)) as (drawn, axes_of):
        used: set[str] = set()
        for place, (axes, (title, bars)) in enumerate(zip(axes_of, drawn_panels.items(), strict=True)):
            used |= _stack(axes, bars)
            axes.set_title(title)
            axes.set_xlabel("seconds per request")
            axes.set_yticks(np.arange(len(rolled))[::-1], list(rolled) if place == 0 else [])
        handles = [Patch(color=COLOURS[name], label=NAMES[name]) for name in EXCESSES if name in used]
        if handles:
            drawn.legend(handles=handles, loc="outside upper left", ncols=5, handlelength=1, borderaxespad=0.2)
        return write(drawn, path)


def _per_request(one: RollUp, kind: str) -> dict[str, float]:
    missed = getattr(one, kind)
    return {name: seconds / missed.asked if missed.asked else 0.0 for name, seconds in missed.excess.items()}


def _stack(axes: Axes, bars: Mapping[str, Mapping[str, float]]) -> set[str]:
    """One bar per policy, what gives time back to the left of nought; returns the causes that can be seen."""
    places = np.arange(len(bars))[::-1]
    ends = {sign: np.zeros(len(bars)) for sign in (1, -1)}
    longest = max((sum(abs(seconds) for seconds in one.values()) for one in bars.values()), default=0.0) or 1.0
    used = set()
    for name in EXCESSES:
        seconds = np.array([one.get(name, 0.0) for one in bars.values()])
        for sign, left in ends.items():
            part = np.where(sign * seconds > 0, seconds, 0.0)
            if part.any():
                axes.barh(places, part, 0.6, left, color=COLOURS[name], label=NAMES[name])
                ends[sign] = left + part
        if np.abs(seconds).max() > longest / 500:
            used.add(name)
    for place, end, one in zip(places, ends[1], bars.values(), strict=True):
        said = duration(sum(one.values())) if any(one.values()) else "none"
        axes.annotate(said, (end, place), (4, 0), textcoords="offset points", va="center", color="#555555", fontsize=8)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlim(right=1.18 * longest)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return used
