"""SLO attainment by the objective between tokens, where a workload has a few of them."""

from __future__ import annotations

import numpy as np

from experiments.grid import Summary
from sim.metrics import attainment
from sim.result import RunResult

FEW = 8
"""Up to so many objectives are told apart."""


def by_tbt(result: RunResult) -> Summary:
    """`slo_attainment_requests@0.05` and the like for each TBT objective (seconds); nothing if there are too many."""
    objectives = np.asarray(result.requests["slo_tbt"], np.float64)
    limits = np.unique(objectives[np.isfinite(objectives)])
    if not 1 < len(limits) <= FEW:
        return {}
    told = {limit: attainment(result, result.measured & (objectives == limit)) for limit in limits.tolist()}
    return {f"{name}@{limit:g}": value for limit, found in told.items() for name, value in found.items()}
