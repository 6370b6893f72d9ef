"""Mean, spread and percentiles of values that occur several times, as if each stood there that often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.tokens import Floats, Integers

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, eq=False)
class Sample:
    """Distinct values in ascending order and how many of the sample are at most each; no nan among them."""

    values: Floats
    running: Integers
    weights: Integers

    @classmethod
    def of(cls, values: NDArray[Any], weights: Integers | None = None) -> Sample:
        """Of values and how often each occurs (once, unless said); nan stands for no value."""
        often = np.ones(len(values), np.int64) if weights is None else weights
        known = ~np.isnan(values) & (often > 0)
        kept = np.asarray(values, np.float64)[known]
        order = np.argsort(kept, kind="stable")
        weights = often[known][order]
        return cls(kept[order], np.cumsum(weights), weights)

    @property
    def size(self) -> int:
        """How many values the sample has, each counted as often as it occurs."""
        return int(self.running[-1]) if len(self.running) else 0

    @property
    def mean(self) -> float:
        """The mean; nan of nothing."""
        return float(np.dot(self.values, self.weights) / self.size) if self.size else float("nan")

    @property
    def deviation(self) -> float:
        """The standard deviation of the sample itself (ddof 0), as vLLM's benchmark reports it; nan of nothing."""
        if not self.size:
            return float("nan")
        return float(np.sqrt(np.dot((self.values - self.mean) ** 2, self.weights) / self.size))

    def percentile(self, percent: float) -> float:
        """As `numpy.percentile` (linear) of the values written out; nan of nothing."""
        if not self.size:
            return float("nan")
        place = (self.size - 1) * (percent / 100)
        low = int(np.floor(place))
        below, above = self.values[np.searchsorted(self.running, (low, min(low + 1, self.size - 1)), side="right")]
        share = place - low
        return float(below + (above - below) * share if share < 0.5 else above - (above - below) * (1 - share))

    def described(self, name: str, percentiles: Sequence[float] = PERCENTILES) -> dict[str, float]:
        """`mean_name`, `p50_name`, ... as a dictionary."""
        return {f"mean_{name}": self.mean} | {
            f"p{percent:g}_{name}": self.percentile(percent) for percent in percentiles
        }
