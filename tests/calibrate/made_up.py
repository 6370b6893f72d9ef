"""Rows of measurements whose times come from known parameters: nothing here was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibrate.grid import Limits, grid
from calibrate.measurements import Measurements
from costmodel import Calibrated

ABOUT = {
    "model": "opt-13b",
    "dtype": "bfloat16",
    "weights": "random",
    "shards": 1,
    "device": "Made-up GPU",
    "driver": "0",
    "cuda": "0",
    "torch": "0",
    "gpu": "h200",
    "attention": "none",
    "block_size": 16,
}
HOST = 1.5e-3
OUT, BACK = (2e-5, 1.6e-5), (4e-5, 1.4e-5)
"""Fixed and per-token seconds of copies."""
RECOMPUTE = (8e-3, 4e-5)


def rows(model: Calibrated, limits: Limits, noise: float, seed: int = 0, passes: int = 2) -> list[dict[str, Any]]:
    """Two passes over the grid: the parameters' times with log-normal noise, host time on top."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(passes):
        for case in grid(limits, 16):
            seconds = model.iteration_time(case.shape) * float(np.exp(noise * generator.standard_normal()))
            times = {"iteration_ms": 1e3 * seconds, "whole_ms": 1e3 * (seconds + HOST), "host_ms": 1e3 * HOST}
            rest = {"spread_ms": 0.0, "repetitions": 5, "laps_ms": [1e3 * seconds] * 5}
            launch = {"launch": "recorded" if case.kind == "decode" else "eager", "sm_mhz": 1980.0, "pass": number}
            found.append(case.columns() | times | rest | launch)
    return found


def copies(lengths: tuple[int, ...] = (16, 64, 256, 512, 1024, 4096)) -> list[dict[str, Any]]:
    """Two passes over some lengths, without noise."""
    lines = {"out_ms": OUT, "back_ms": BACK, "recompute_ms": RECOMPUTE}
    return [
        {"copied_tokens": length, "copy_pass": number}
        | {name: 1e3 * (fixed + slope * length) for name, (fixed, slope) in lines.items()}
        for number in range(2)
        for length in lengths
    ]


def measurements(model: Calibrated, limits: Limits | None = None, noise: float = 0.02, seed: int = 0) -> Measurements:
    """All of it together."""
    return Measurements(rows(model, limits or Limits(), noise, seed) + copies(), ABOUT)
