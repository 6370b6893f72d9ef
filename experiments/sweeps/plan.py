"""What a sweep file asks for: every combination of the settings that it lists, with every policy, load and seed.

A sweep file is a scenario with a table of lists (`grid`: every combination) or tables of settings that go together
(`cases`: one after the other), or both:

    policies = ["vllm", "sarathi"]
    rates = [0.3, 0.6]
    seeds = 5

    [grid]
    cache.kv_blocks = [300, 457]
    policy.max_num_seqs = [64, 256]      # a parameter of all policies

    [[cases]]
    trace.source = "alpaca"
    trace.requests = 2000
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import product
from math import prod
from typing import Any, NamedTuple

from pydantic import ValidationError

from experiments.escaping import literally
from experiments.named import check_names
from experiments.scenario import PolicySettings, Scenario
from experiments.settings import Table, complaints, put, scenario_of
from traces.errors import SlosimError

POLICY = "policy."
"""How the names of parameters of all policies begin."""
ELSEWHERE = {
    "policies": "list them as policies, above the tables",
    "rates": "list them as rates, above the tables",
    "sweep": "list them as rates, above the tables",
    "seeds": "it is one number, above the tables",
    "trace.seed": "say seeds = N, above the tables, for N replications from trace.seed on",
}
"""Settings that are no axes of a grid, and what to do instead."""

MOST_POINTS = 1_000_000
"""Runs of a sweep beyond which it is taken for a slip."""

Varied = tuple[tuple[str, Any], ...]


class Point(NamedTuple):
    """One run of a sweep."""

    scenario: Scenario
    """With one policy, at one load, with one seed."""
    varied: Varied = ()
    """The settings that the sweep varies, by name, besides policy, load and seed."""

    @property
    def policy(self) -> PolicySettings:
        """The only one."""
        return self.scenario.policies[0]

    @property
    def rate(self) -> float | None:
        """Requests per second; None: as the trace has it."""
        return self.scenario.trace.rate

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.scenario.trace.seed

    @property
    def title(self) -> str:
        """What it is, in words."""
        load = "" if self.rate is None else f"{self.rate:g}/s"
        changes = (f"{name}={value}" for name, value in self.varied)
        return ", ".join(filter(None, [*changes, self.policy.title, load, f"seed {self.seed}"]))


def points_of(table: Table) -> list[Point]:
    """All runs that a sweep file asks for, each once; raises SlosimError for what makes no sense, naming the setting.

    The policies of one trace follow each other, so that a worker builds it once.
    """
    table = dict(table)
    grid, cases = _axes(table.pop("grid", {})), _cases(table.pop("cases", [{}]))
    base = scenario_of(defaults=table)
    found: dict[Scenario, Point] = {}
    _not_too_many(base, grid, cases)
    for case in cases:
        for values in product(*grid.values()):
            for point in _points(base, table, (*case.items(), *zip(grid, values, strict=True))):
                found.setdefault(point.scenario, point)
    _check_names(found)
    return list(found.values())


def _not_too_many(base: Scenario, grid: Mapping[str, list[Any]], cases: list[Any]) -> None:
    """Raises SlosimError before a grid that was not meant fills the memory."""
    loads = len({*base.rates, *base.sweep}) or 1
    number = prod(map(len, grid.values())) * len(cases) * loads * base.seeds * len(base.policies)
    if number > MOST_POINTS:
        raise SlosimError(f"grid: {number:,} points are more than {MOST_POINTS:,}; list fewer values or seeds")


def _check_names(scenarios: Iterable[Scenario]) -> None:
    """Raises SlosimError for what the scenarios name and is not there, each name looked up once."""
    seen = set()
    for each in scenarios:
        trace = each.trace
        asked = (each.profile, each.model, trace.source, trace.format, str(trace.sources), each.policies[0].spec)
        if asked not in seen:
            seen.add(asked)
            check_names(each)


def _points(base: Scenario, table: Table, varied: Varied) -> Iterator[Point]:
    parameters = {name.removeprefix(POLICY): value for name, value in varied if name.startswith(POLICY)}
    policies = [with_parameters(policy, parameters) for policy in base.policies]
    scenario = _changed(base, table, [each for each in varied if not each[0].startswith(POLICY)])
    shown = tuple((name, json.dumps(value) if isinstance(value, list | dict) else value) for name, value in varied)
    listed: list[float | None] = [*sorted({*scenario.rates, *scenario.sweep}, reverse=True)]
    if listed and any(name == "trace.rate" for name, _ in varied):
        raise SlosimError("trace.rate is in the grid and rates are listed, too: keep one of them")
    for rate in listed or [scenario.trace.rate]:
        for seed in range(scenario.trace.seed, scenario.trace.seed + scenario.seeds):
            at = scenario.at(rate, seed)
            for policy in policies:
                yield Point(at.model_copy(update={"policies": (policy,)}), shown)


def _changed(base: Scenario, table: Table, varied: Iterable[tuple[str, Any]]) -> Scenario:
    """The scenario with some settings changed; its policies were checked before."""
    changed = deepcopy(table)
    for name, value in varied:
        put(changed, name, value)
    return scenario_of(defaults=changed | {"policies": base.policies})


def with_parameters(policy: PolicySettings, parameters: Mapping[str, Any]) -> PolicySettings:
    """The policy with some parameters more; raises SlosimError if it has none such."""
    if not parameters:
        return policy
    try:
        return PolicySettings(name=policy.name, parameters=policy.parameters | dict(parameters), label=policy.label)
    except ValidationError as error:
        raise SlosimError(literally("; ".join(complaints(error)))) from error


def _axes(grid: Any) -> dict[str, list[Any]]:
    axes = dict(_leaves(grid, "grid"))
    for name, values in axes.items():
        _allowed(name, "grid")
        if not isinstance(values, list) or not values:
            raise SlosimError(f"grid.{name}: write a list of values, not {values!r}")
    return axes


def _cases(cases: Any) -> list[dict[str, Any]]:
    if not isinstance(cases, list) or not cases:
        raise SlosimError("cases: write one table [[cases]] for each")
    found = [dict(_leaves(case, "cases")) for case in cases]
    for case in found:
        for name in case:
            _allowed(name, "cases")
    return found


def _allowed(name: str, where: str) -> None:
    if name in ELSEWHERE:
        raise SlosimError(f"{where}.{name}: {ELSEWHERE[name]}")


def _leaves(table: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Nested tables as dotted names with their values."""
    if not isinstance(table, Mapping):
        raise SlosimError(f"{where}: write a table, not {table!r}")
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from ((f"{name}.{inner}", each) for inner, each in _leaves(value, where))
        else:
            yield str(name), value
