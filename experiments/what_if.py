"""What if: a comparison that follows sliders, in a notebook.

Every change runs the chosen policies on the same few hundred requests and shows metrics, pictures and what lies over
the SLOs, in a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import ipywidgets as widgets

from costmodel import profiles
from experiments.causes.picture import draw_causes
from experiments.inputs import build, run
from experiments.pictures import draw_latencies
from experiments.scenario import Scenario
from experiments.table import Comparison
from sim.attribution import attribute, roll_up
from sim.registry import BUILT_IN
from sim.result import RunResult
from traces.errors import SlosimError

PROFILE = "opt-13b@a100-80gb-vllm"
WIDE = {"description_width": "9em"}
LAYOUT = widgets.Layout(width="26em")


class WhatIf:
    """The sliders, and the results below them; ``results`` holds what is shown, to go on with by hand."""

    def __init__(self, **values: Any) -> None:
        """``values``: other settings to begin with, by the names of ``controls``."""
        self.results: Mapping[str, RunResult] = {}
        self.controls: dict[str, Any] = {
            "policies": widgets.SelectMultiple(
                options=[name for name in BUILT_IN if name != "planned"], value=("vllm", "sarathi", "accelgen"), rows=6
            ),
            "profile": widgets.Dropdown(options=profiles(), value=PROFILE),
            "cache": widgets.FloatLogSlider(value=12.0, base=2, min=2, max=6, step=0.25, readout_format=".1f"),
            "rate": widgets.FloatLogSlider(value=0.6, base=2, min=-4, max=5, step=0.25, readout_format=".2f"),
            "requests": widgets.IntSlider(value=300, min=100, max=2000, step=100),
            "long_prompts": widgets.FloatSlider(value=0.35, min=0.0, max=1.0, step=0.05, readout_format=".0%"),
            "slo_scale": widgets.FloatLogSlider(value=1.0, base=2, min=-2, max=3, step=0.5, readout_format=".2f"),
            "seed": widgets.IntSlider(value=0, min=0, max=20),
        }
        told = {
            "cache": "KV cache, GB",
            "rate": "requests/s",
            "long_prompts": "long prompts",
            "slo_scale": "SLOs times",
        }
        for name, control in self.controls.items():
            control.description, control.style, control.layout = told.get(name, name), WIDE, LAYOUT
            if hasattr(control, "continuous_update"):
                control.continuous_update = False
            if name in values:
                control.value = values.pop(name)
            control.observe(self._changed, names="value")
        if values:
            raise SlosimError(f"no control {', '.join(values)}: choose among {', '.join(self.controls)}")
        self.table = widgets.HTML()
        self.pictures = widgets.VBox()
        self._changed()

    def show(self) -> widgets.Widget:
        """All of it, for the end of a cell."""
        first, *others = self.controls.values()
        controls = widgets.HBox([first, widgets.VBox(others[:4]), widgets.VBox(others[4:])])
        return widgets.VBox([controls, self.table, self.pictures])

    def scenario(self) -> Scenario:
        """What the controls say, as `slosim compare` would take it."""
        at = {name: control.value for name, control in self.controls.items()}
        settings: dict[str, Any] = {
            "trace": {
                "requests": at["requests"],
                "rate": at["rate"],
                "seed": at["seed"],
                "bookcorpus_share": at["long_prompts"],
            },
            "slos": {"scale": at["slo_scale"]},
            "profile": at["profile"],
            "cache": {"kvc_bytes": 1e9 * at["cache"]},
            "policies": at["policies"],
        }
        return Scenario(**settings)

    def _changed(self, change: object = None) -> None:
        try:
            self.table.value = self._compare()
        except (SlosimError, ValueError) as error:
            self.table.value, self.pictures.children = f"<pre>{escape(str(error))}</pre>", ()

    def _compare(self) -> str:
        """Runs the policies, draws the pictures, and returns the table as HTML."""
        began = perf_counter()
        scenario = self.scenario()
        inputs = build(scenario)
        self.results = {policy.title: run(scenario, policy, inputs) for policy in scenario.policies}
        rolled = {
            name: roll_up(result, attribute(result, inputs.profile.cost_model)) for name, result in self.results.items()
        }
        with TemporaryDirectory() as folder:
            drawn = (
                draw_latencies(self.results, Path(folder) / "latency.png"),
                draw_causes(rolled, Path(folder) / "causes.png"),
            )
            self.pictures.children = [widgets.Image(value=path.read_bytes(), width=860) for path in drawn]
        table = Comparison.of({name: result.summary() for name, result in self.results.items()}).text()
        told = f"{len(inputs.trace)} requests, {inputs.kv_blocks} blocks of {inputs.block_size} tokens"
        return f"<pre>{escape(table)}\n{told}: {perf_counter() - began:.1f} s</pre>"
