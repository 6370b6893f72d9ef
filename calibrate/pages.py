"""The pages of a calibration's report; each draws on an empty figure, or says that there is nothing to draw."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from calibrate.copies import copy_times
from calibrate.grid import FITTED, HELD_OUT
from calibrate.measurements import Rows, points
from calibrate.profiling import Calibration, scaling_errors, uniform
from costmodel.fitting import predict
from costmodel.model import CostModel
from costmodel.pivot import SATURATED
from costmodel.points import KINDS, Array, Points
from costmodel.shape import prompt

COLOURS = {"decode": "#4477aa", "prefill": "#ee6677", "mixed": "#228833"}
DARK, PALE = "#333333", "#999999"
Page = Callable[[Calibration, Figure], bool]


def summary(made: Calibration, drawn: Figure) -> bool:
    """What was measured, the parameters with their intervals, and the errors."""
    told = made.profile.provenance
    drawn.suptitle(f"Calibration of {made.profile.name}", x=0.02, ha="left", fontsize=13)
    clocks = ", ".join(f"{clock:.0f}" for clock in told.get("clocks_mhz", ())) or "unknown"
    device = ", ".join(f"{name} {value}" for name, value in told["device"].items() if name != "device")
    head = [
        f"measured on {told['measured_on']} ({device})",
        *textwrap.wrap(f"{told['what']}; attention: {told['attention']}", 100),
        f"clock lowest, median, highest: {clocks} MHz; measured by: {told['by']}; licence: {told['licence']}",
        "",
    ]
    text = "\n".join(head + [line for full in made.lines() for line in textwrap.wrap(full, 110) or [""]])
    drawn.text(0.02, 0.92, text, family="monospace", fontsize=7.2, va="top")
    return True


def measured_and_predicted(made: Calibration, drawn: Figure) -> bool:
    """Every batch: fitted ones as rings, held-out ones as dots."""
    axes = drawn.subplots()
    everything: list[Array] = []
    for rows, filled in ((made.measurements.of(*FITTED), False), (made.measurements.of(HELD_OUT), True)):
        found = points(rows)
        predicted = predict(made.report.cost_model, found)
        everything += [found.seconds, predicted]
        for index, kind in enumerate(KINDS):
            chosen = found.kinds == index
            label = f"{kind}, {'held out' if filled else 'fitted'}"
            axes.scatter(
                1e3 * found.seconds[chosen],
                1e3 * predicted[chosen],
                s=16,
                facecolors=COLOURS[kind] if filled else "none",
                edgecolors=COLOURS[kind],
                label=label,
            )
    ends = 1e3 * np.array([min(map(_least, everything)), max(map(_most, everything))])
    axes.plot(ends, ends, color=DARK, linewidth=0.8)
    axes.fill_between(ends, ends / 1.1, ends * 1.1, color=PALE, alpha=0.2, linewidth=0, label="within 10 %")
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="predicted, ms")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("The forward on the device: measured against predicted")
    axes.legend(fontsize=8)
    return True


def throughput(made: Calibration, drawn: Figure) -> bool:
    """Tokens per second of single prompts against the forward size, with S_pf and Equation (4)."""
    found = points(made.measurements.of("prompts"), "whole_ms")
    if not len(found):
        return False
    axes, sizes = drawn.subplots(), found.prefill_tokens
    size, _, exact = made.profile.pivot
    longest = max(int(sizes.max()), size)
    axes.plot(sizes, sizes / found.seconds, "o", markersize=3.5, color=COLOURS["prefill"], label="measured")
    curve = np.unique(np.geomspace(1, longest, 400).astype(int))
    for name, model, look in _models(made):
        axes.plot(curve, [one / model.iteration_time(prompt(int(one))) for one in curve], label=name, **look)
    axes.axvline(size, color=DARK, linewidth=0.8, linestyle=":")
    axes.annotate(f" S_pf {size} (from {exact})", (size, 0.02), xycoords=("data", "axes fraction"))
    axes.set(xscale="log", ylim=(0, None), xlabel="forward size, tokens (one prompt)", ylabel="tokens per second")
    axes.set_title("Throughput against forward size; whole iterations, host time included")
    axes.legend()
    return True


def equation_beside(made: Calibration, drawn: Figure) -> bool:
    """Predicted over measured for all batches, by Equation (4) and by the calibrated form."""
    found = points(made.measurements.of(*FITTED, HELD_OUT), "whole_ms")
    both = drawn.subplots(1, 2, sharey=True)
    for axes, (name, model, _) in zip(both, reversed(_models(made)), strict=True):
        predicted = np.array([model.iteration_time(shape) for shape in found.shapes()])
        _by_kind(axes, found.prefill_tokens + found.decode_tokens, predicted / found.seconds, found)
        axes.axhline(1, color=DARK, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel="forward size, tokens", title=name)
    both[0].set_ylabel("predicted / measured, whole iterations")
    both[0].legend()
    return True


def residuals(made: Calibration, drawn: Figure) -> bool:
    """What the calibrated form misses, against what it is made of and against the order of measuring."""
    rows = made.measurements.of(*FITTED, HELD_OUT)
    found = points(rows)
    relative = 100 * (predict(made.report.cost_model, found) / found.seconds - 1)
    order = {id(row): place for place, row in enumerate(made.measurements.rows)}
    places = np.array([float(order[id(batch[0])]) for batch in rows])
    panels = {
        "forward size, tokens": found.prefill_tokens + found.decode_tokens,
        "tokens that decodes read": found.context_tokens,
        "query-key pairs of chunks": found.attention_pairs,
        "order of measuring": places,
    }
    for axes, (name, values) in zip(drawn.subplots(2, 2, sharey=True).flat, panels.items(), strict=True):
        _by_kind(axes, values, relative, found)
        axes.axhline(0, color=DARK, linewidth=0.8)
        axes.set(xlabel=name, xscale="linear" if name.startswith("order") else "symlog", xlim=(0, None))
    drawn.axes[0].legend()
    drawn.suptitle("Predicted - measured, % of the measured forward", x=0.02, ha="left")
    return True


def profiling_experiment(made: Calibration, drawn: Figure) -> bool:
    """The paper's profiling: prompts of one length, more and more at once; saturation, and how Equation (4) does."""
    measured, scaling = uniform(made.measurements), scaling_errors(made)
    if measured is None or scaling is None:
        return False
    sizes, speed, found = measured
    length = int(found.prefill_tokens[0] / found.prefill_sequences[0])
    left, right = drawn.subplots(1, 2)
    left.plot(sizes, speed, "o-", color=COLOURS["prefill"], label="measured")
    left.axhline(SATURATED * speed.max(), color=PALE, linewidth=0.8, linestyle="--", label=f"{SATURATED:.0%} of most")
    left.axvline(scaling["pivot_measured"], color=DARK, linewidth=0.8, linestyle=":", label="S_pf as measured here")
    left.axvline(made.profile.pivot.forward_size, color=COLOURS["decode"], linewidth=0.8, label="S_pf of the profile")
    left.set(ylim=(0, 1.1 * speed.max()), xlabel="forward size, tokens", ylabel="tokens per second")
    left.set_title(f"Prompts of {length} tokens, more and more at once")
    left.legend(fontsize=8)
    for name, model, look in _models(made):
        predicted = np.array([model.iteration_time(shape) for shape in found.shapes()])
        right.plot(sizes, 100 * (predicted / found.seconds - 1), marker="o", markersize=4, label=name, **look)
    right.axhline(0, color=DARK, linewidth=0.8)
    right.set(xlabel="forward size, tokens", ylabel="predicted - measured, %", title="How the models scale")
    right.legend(fontsize=8)
    drawn.suptitle("The paper's profiling experiment (none of these points was fitted)", x=0.02, ha="left")
    return True


def preemption(made: Calibration, drawn: Figure) -> bool:
    """Copying out and back, and computing anew, against tokens."""
    measured = copy_times(made.measurements.rows)
    if made.copies is None or measured is None:
        return False
    axes = drawn.subplots()
    tokens, out, back, recompute = measured
    for seconds, name, colour in (
        (out, "copy to the host", "#66ccee"),
        (back, "copy back", "#4477aa"),
        (out + back, "both copies", DARK),
        (recompute, "compute anew", COLOURS["prefill"]),
    ):
        axes.plot(tokens, 1e3 * seconds, "o-", markersize=4, color=colour, label=name)
    if np.isfinite(made.copies.crossover):
        axes.axvline(made.copies.crossover, color=PALE, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="tokens in the cache", ylabel="ms")
    axes.set_title("A preempted sequence: " + _crossover(made.copies.crossover, tokens))
    axes.legend()
    return True


def _crossover(tokens: float, measured: Array) -> str:
    if tokens <= measured[0]:
        return "copying takes less time at every length measured"
    if np.isinf(tokens):
        return "computing anew takes less time at the longest measured"
    return f"copying takes less time from {tokens:.0f} tokens on"


def host(made: Calibration, drawn: Figure) -> bool:
    """What iterations take beyond the forward, by how kernels are started, and how much the passes differ."""
    left, right = drawn.subplots(1, 2)
    batches: list[Rows] = made.measurements.batches
    for index, launch in enumerate(sorted({batch[0]["launch"] for batch in batches})):
        own = [batch[0] for batch in batches if batch[0]["launch"] == launch]
        sizes = [row["prefill_tokens"] + row["decode_tokens"] for row in own]
        left.plot(sizes, [row["host_ms"] for row in own], "o", markersize=3.5, label=launch, color=f"C{index}")
    left.axhline(1e3 * made.measurements.host.seconds, color=DARK, linewidth=0.8, label="median of all: host time")
    left.set(xscale="log", yscale="log", xlabel="forward size, tokens", ylabel="ms", title="Beyond the forward")
    left.legend(fontsize=8)
    pairs = [[row["iteration_ms"] for row in batch[:2]] for batch in batches if len(batch) > 1]
    if pairs:
        first, second = np.array(pairs).T
        right.plot(first, 100 * (second / first - 1), "o", markersize=3.5, color=PALE)
    right.axhline(0, color=DARK, linewidth=0.8)
    right.set(xscale="log", xlabel="first pass, ms", ylabel="second pass - first, %", title="The noise floor")
    right.xaxis.set_minor_formatter(NullFormatter())
    return True


PAGES: tuple[Page, ...] = (
    summary,
    measured_and_predicted,
    throughput,
    equation_beside,
    residuals,
    profiling_experiment,
    preemption,
    host,
)


def _models(made: Calibration) -> list[tuple[str, CostModel, Mapping[str, Any]]]:
    rate = made.equation.rate / 1e12
    return [
        ("calibrated form", made.profile.cost_model, {"color": COLOURS["decode"]}),
        (f"Equation (4) at {rate:.3g} Tops/s", made.equation, {"color": PALE, "linestyle": "--"}),
    ]


def _by_kind(axes: Axes, x: Array, y: Array, found: Points) -> None:
    for index, kind in enumerate(KINDS):
        chosen = found.kinds == index
        axes.plot(x[chosen], y[chosen], "o", markersize=3, color=COLOURS[kind], label=kind)


def _least(values: Array) -> float:
    return float(values.min(initial=np.inf))


def _most(values: Array) -> float:
    return float(values.max(initial=0.0))
