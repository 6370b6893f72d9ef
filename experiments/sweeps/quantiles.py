"""Quantiles of pooled replications with their intervals, from a few hundred numbers kept of each run.

The interval is the jackknife's over replications: the quantile of all runs pooled, and how it moves when each of them
is left out. The mean of each run's own p99 covers less often than it says, for a run's p99 is biased.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.replications import Interval, interval
from sim.metrics import latencies
from sim.result import RunResult
from sim.statistic import Sample
from sim.tokens import Floats

EDGES = np.concatenate([np.arange(18) / 20, 0.9 + np.arange(101) / 1000])
"""Probabilities between which a sample is one value each: coarse below the 90th percentile, fine above."""
MIDDLES, WIDTHS = (EDGES[1:] + EDGES[:-1]) / 2, np.diff(EDGES)
TAILS = ("ttft", "tbt", "jct")
"""The latencies that are kept so."""


class Sketch(NamedTuple):
    """A sample in short: all of its values if they are few, else one for each part of its distribution, ascending."""

    size: int
    values: tuple[float, ...]

    @classmethod
    def of(cls, sample: Sample) -> Sketch:
        """Of a sample; the values to six digits."""
        places = np.arange(sample.size) if sample.size <= len(MIDDLES) else (sample.size - 1) * MIDDLES
        low = np.floor(places).astype(np.int64)
        below, above = (
            sample.values[np.searchsorted(sample.running, np.minimum(each, sample.size - 1), side="right")]
            for each in (low, low + 1)
        )
        values = below + (above - below) * (places - low)
        return cls(sample.size, tuple(float(f"{value:.6g}") for value in values))

    @property
    def weights(self) -> Floats:
        """How much of the sample each value stands for; they add up to its size."""
        return np.ones(self.size) if len(self.values) == self.size else self.size * WIDTHS


def tails(result: RunResult) -> dict[str, Sketch]:
    """The latencies of a run, those of `sim.metrics`' percentiles, in short."""
    columns = latencies(result)
    samples = {name: Sample.of(columns[name][result.measured]) for name in TAILS if name != "tbt"}
    samples["tbt"] = Sample.of(*result.tokens.only(result.measured).pooled_gaps())
    return {name: Sketch.of(samples[name]) for name in TAILS}


class Pool:
    """Several samples as if they were one."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        values = np.concatenate([np.asarray(sketch.values) for sketch in sketches] or [np.empty(0)])
        order = np.argsort(values, kind="stable")
        self.values = values[order]
        self.weights = np.concatenate([sketch.weights for sketch in sketches] or [np.empty(0)])[order]
        self.owner = np.repeat(np.arange(len(sketches)), [len(sketch.values) for sketch in sketches])[order]

    def quantile(self, probability: float, without: int | None = None) -> float:
        """A quantile, without one of the samples if wanted; of few values as `numpy.quantile`; nan of nothing."""
        kept = slice(None) if without is None else self.owner != without
        values, weights = self.values[kept], self.weights[kept]
        if not len(values):
            return float("nan")
        places = np.cumsum(weights) - (weights + 1) / 2
        return float(np.interp(probability * (weights.sum() - 1), places, values))


def jackknifed(sketches: Sequence[Sketch], probability: float) -> Interval:
    """The quantile of all replications pooled, with Student's interval over the jackknife's pseudo-values.

    Infinitely wide for fewer than two replications, or if there is one without any value.
    """
    pool, number = Pool(sketches), len(sketches)
    whole = pool.quantile(probability)
    if number < 2 or not all(sketch.size for sketch in sketches):
        return Interval(whole, float("inf"))
    without = (pool.quantile(probability, out) for out in range(number))
    return Interval(whole, interval([number * whole - (number - 1) * each for each in without]).half)
