"""What a search maximises."""

from __future__ import annotations

from math import isnan
from typing import NamedTuple

import numpy as np

from sim.metrics import attainment, rates
from sim.parameters import meant
from sim.result import RunResult
from traces import Trace
from traces.errors import SlosimError


class Objective(NamedTuple):
    """A metric of a run, by its name in the summary."""

    key: str
    label: str
    sign: int = 1
    """-1 where less is better."""


OBJECTIVES = {
    each.key: each
    for each in (
        Objective("goodput", "goodput, tokens/s"),
        Objective("request_goodput", "goodput, requests/s"),
        Objective("token_throughput", "throughput, tokens/s"),
        Objective("slo_attainment_tokens", "share of tokens in their SLO"),
        Objective("slo_attainment_requests", "share of requests in all their SLOs"),
        Objective("slo_attainment_jct", "share of jobs in their SLO"),
        Objective("mean_jct", "mean JCT, s", -1),
    )
}


class Score(NamedTuple):
    """How good a run is: the greater, the better."""

    value: float
    """The objective, with its sign."""
    tie: float
    """Less the mean time to completion, seconds."""


WORST = Score(float("-inf"), float("-inf"))


def objective(name: str) -> Objective:
    """The objective of that name; raises SlosimError with those that there are."""
    if name not in OBJECTIVES:
        raise SlosimError(f"--objective {name}: there is no such objective; {meant(name, OBJECTIVES, 'choose one of')}")
    return OBJECTIVES[name]


def refuse_undefined(goal: Objective, trace: Trace) -> None:
    """Raises SlosimError if no request has the SLO that the objective is about: every order would be equal."""
    kinds = ("jct",) if goal.key == "slo_attainment_jct" else ("ttft", "tbt", "jct")
    columns = [column for column in (getattr(trace, kind) for kind in kinds) if column is not None]
    if (goal.key.startswith("slo_") or "goodput" in goal.key) and not np.isfinite(columns).any():
        raise SlosimError(
            f"--objective {goal.key}: no request of the workload has such an SLO; set slos.rule, or choose mean_jct"
        )


def score(result: RunResult, goal: Objective) -> Score:
    """How good a run is by an objective; among equals, by its mean JCT."""
    rows = result.requests
    jct = (rows["finished_at"] - rows["arrived_at"])[result.measured & ~np.isnan(rows["finished_at"])]
    mean = float(jct.mean()) if len(jct) else float("nan")
    if goal.key == "mean_jct":
        value = mean
    elif goal.key.startswith("slo_attainment"):
        value = attainment(result, result.measured)[goal.key]
    else:
        value = rates(result, result.arrived)[goal.key]
    return WORST if isnan(value) else Score(goal.sign * value, -mean)
