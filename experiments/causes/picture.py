"""Why SLOs failed: stacked bars, one per policy, of the seconds that each cause made."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from experiments.drawing import duration, figure, names_above, write
from experiments.escaping import in_picture
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

DWARFS = 4.0
"""A bar so many times as long as the next one is shortened, or nothing else could be read."""
SHORTENED = 1.3
"""Its length then, in lengths of the next one."""

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
            axes.set_yticks(np.arange(len(rolled))[::-1], list(map(in_picture, rolled)) if place == 0 else [])
        name_colours(drawn, used)
        return write(drawn, path)


def name_colours(drawn: Figure, used: Set[str]) -> None:
    """The colours of these causes, named above all axes."""
    shown = [name for name in EXCESSES if name in used]
    names_above(drawn, [Patch(color=COLOURS[name]) for name in shown], [NAMES[name] for name in shown], handlelength=1)


def _per_request(one: RollUp, kind: str) -> dict[str, float]:
    missed = getattr(one, kind)
    return {name: seconds / missed.asked if missed.asked else 0.0 for name, seconds in missed.excess.items()}


def _stack(axes: Axes, bars: Mapping[str, Mapping[str, float]]) -> set[str]:
    """One bar per policy, what gives time back to the left of nought; returns the causes that can be seen."""
    places = np.arange(len(bars))[::-1]
    lengths = np.array([sum(abs(seconds) for seconds in one.values()) for one in bars.values()])
    scales = _scales(lengths)
    longest = float((scales * lengths).max(initial=0.0)) or 1.0
    ends = {sign: np.zeros(len(bars)) for sign in (1, -1)}
    used = set()
    for name in EXCESSES:
        seconds = scales * [one.get(name, 0.0) for one in bars.values()]
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
    _mark_shortened(axes, places[scales < 1], longest)
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlim(right=1.18 * longest)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return used


def _scales(lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """What to draw bars at: a single one that would dwarf all others is shortened, its parts in proportion."""
    scales = np.ones(len(lengths))
    if len(lengths) > 1:
        second, first = np.sort(lengths)[-2:]
        if first > DWARFS * second > 0:
            scales[np.argmax(lengths)] = SHORTENED * second / first
    return scales


def _mark_shortened(axes: Axes, places: NDArray[np.int64], end: float) -> None:
    """Two white strokes across a bar that is not to scale, and what they mean."""
    for place in places:
        for share in (0.90, 0.94):
            axes.plot(share * end, place, marker=((-0.25, -1), (0.25, 1)), markersize=26, color="white", mew=2.5)
    axes.set_xlabel("seconds per request" + (" (//: not to scale)" if len(places) else ""))
