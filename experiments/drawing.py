"""What all pictures share: the style, a colour per policy, labels beside the lines, files."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.escaping import in_picture
from experiments.files import replacing

STYLE = Path(__file__).with_name("slosim.mplstyle")
REFERENCE = "oracle"
"""A policy of this name is a bound rather than a competitor: it is drawn dashed and dark."""
LEAST_GAP = 0.055
"""Distance of labels, as a share of the height of the axes."""


@contextmanager
def figure(rows: int, columns: int, width: float, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in the house style, in inches, and its axes row by row. Draws to files only: no window, no backend."""
    with style.context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a label may be in any script
        drawn = Figure(figsize=(width, height), layout="constrained")
        drawn.get_layout_engine().set(w_pad=0.1, h_pad=0.03, hspace=0.06)  # type: ignore[union-attr, call-arg]
        axes = drawn.subplots(rows, columns, squeeze=False)
        yield drawn, list(axes.flat)


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How the lines of each policy look: colours in the order of the names, reference policies dashed."""
    with style.context(STYLE):
        colours = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if name.split(",")[0].lower() == REFERENCE:
            found[name] = {"color": "#333333", "linestyle": (0, (4, 2))}
        else:
            place = sum("linestyle" not in one or one["linestyle"] == "-." for one in found.values())
            found[name] = {"color": colours[place % len(colours)]}
            if place >= len(colours):
                found[name]["linestyle"] = "-."
    return found


def label_ends(axes: Axes, ends: Sequence[tuple[str, float]], colours: Sequence[Any]) -> None:
    """Writes each name at the right edge beside its line's last value, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    scale = axes.transData + axes.transAxes.inverted()
    places = [float(scale.transform((1.0, min(max(value, low), high)))[1]) for _, value in ends]
    for (name, _), colour, place in zip(ends, colours, spread(places, LEAST_GAP), strict=True):
        axes.annotate(
            in_picture(name),
            (1.0, place),
            (6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colour,
            va="center",
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The same places moved apart as little as possible to be `gap` from each other, in the same order."""
    from scipy.optimize import isotonic_regression

    if not places:
        return []
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    result = np.empty(len(places))
    result[order] = isotonic_regression(np.array(places, dtype=float)[order] - steps).x + steps
    return [float(place) for place in result]


def legend(drawn: Figure, axes: Axes) -> None:
    """The names of what `axes` show, in their colours, above all axes."""
    shown = names_above(drawn, *axes.get_legend_handles_labels())
    for text, handle in zip(shown.get_texts(), shown.legend_handles, strict=True):
        text.set_color(getattr(handle, "get_color", lambda: "#333333")())


def names_above(drawn: Figure, handles: Sequence[Any], labels: Sequence[str], handlelength: float = 1.6) -> Legend:
    """A legend above all axes that is read row by row: one row where the figure is wide enough, else equal rows."""
    number = len(handles)
    for rows in itertools.count(1):
        columns = -(-number // rows) or 1
        order = [at for column in range(columns) for at in range(column, number, columns)]
        shown = drawn.legend(
            [handles[at] for at in order],
            [labels[at] for at in order],
            loc="outside upper left",
            ncols=columns,
            handlelength=handlelength,
            borderaxespad=0.2,
        )
        if columns == 1 or shown.get_window_extent().width <= drawn.bbox.width:
            break
        shown.remove()
    return shown


def duration_axis(axes: Axes, which: str = "x") -> None:
    """A logarithmic axis of times: 20 ms, 0.5 s, 100 s; with ticks between the powers of ten where it is short,
    at every other one where it is long."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    steps = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0, 3.0) if decades < 3 else (1.0,)
    axis.set_major_locator(LogLocator(100.0 if decades > 5 else 10.0, subs=steps))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def duration(seconds: float) -> str:
    """A time in few characters: `20 ms`, `1.5 s`, `1000 s`."""
    if 0 < seconds < 0.9995:
        scale, unit = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms")
        return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a run of such a length is easy to read: its seconds and its name."""
    return next((unit for unit in ((3600.0, "hours"), (60.0, "minutes")) if seconds > 4 * unit[0]), (1.0, "seconds"))


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Shares as per cent, from 0 to 100."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks(np.linspace(0, 1, 6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    (axes.set_xlim if which == "x" else axes.set_ylim)(0, 1.015)


def write(drawn: Figure, path: Path) -> Path:
    """Saves a figure whole or not at all; its kind (.png, .svg, .pdf) follows the name. The bytes bear no date."""
    kind = path.suffix.lstrip(".")
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with replacing(path) as draft, style.context(STYLE):
        drawn.savefig(draft, format=kind, metadata=undated)
    return path
