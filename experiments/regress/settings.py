"""From what a user asks to a gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.named import check_metric, check_names, check_policy, split_spec
from experiments.regress import baseline as baselines
from experiments.regress.gate import Gate, Runs
from experiments.regress.margins import Margin
from experiments.scenario import PolicySettings, Scenario
from experiments.settings import Override, scenario_of
from traces.errors import SlosimError


def defaults(requests: int, rates: Sequence[float]) -> dict[str, Any]:
    """The paper's mix, small."""
    return {"trace": {"source": "paper_mix", "requests": requests}, "rates": list(rates)}


def scenario_for(settings: Mapping[str, Any], requests: int, rates: Sequence[float]) -> Scenario:
    """The scenario that settings by name mean: ``rates=[0.6]``, ``**{"trace.requests": 100}``, ``profile=...``."""
    overrides = [Override(name, value) for name, value in settings.items()]
    own = any(name == "trace" or name == "trace.source" for name in settings)
    return scenario_of(None, overrides, {} if own else defaults(requests, rates))


def policy_of(spec: str) -> PolicySettings:
    """A policy by what a command line says; raises SlosimError if there is none."""
    check_policy(spec)
    return PolicySettings.model_validate(split_spec(spec))


def gate_of(
    scenario: Scenario,
    policy: str,
    baseline: str,
    margins: Sequence[Margin],
    seeds: int = 8,
    most_seeds: int = 32,
    jobs: int = 1,
    told: Callable[[str], object] = lambda text: None,
) -> Gate:
    """A gate for a policy against another, or against a baseline in a file."""
    if seeds < 2 or most_seeds < seeds:
        raise SlosimError(f"{seeds} to {most_seeds} seeds: take at least 2, and at most no fewer than to begin with")
    for margin in margins:
        check_metric(margin.metric, f"--{margin.way} {margin}")
    check_names(scenario)
    ours = Runs(scenario, policy_of(policy), jobs, told)
    if baseline.endswith(".json"):
        theirs = baselines.read(Path(baseline), scenario, jobs)
    else:
        theirs = Runs(scenario, policy_of(baseline), jobs)
    theirs.told = told
    return Gate(ours, theirs, margins, seeds, most_seeds)
