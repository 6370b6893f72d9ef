"""What a comparison left in its folder, read back for a report."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from experiments.causes.files import read_causes
from experiments.escaping import from_csv, in_csv
from experiments.grid import folder_names, load_name
from experiments.results import read
from sim.attribution import Attribution, RollUp, roll_up
from sim.parameters import written
from sim.result import RunResult
from traces.errors import SlosimError


class Run(NamedTuple):
    """One row of runs.csv."""

    policy: str
    rate: float | None
    """Requests per second; None: as recorded."""
    seed: int
    summary: Mapping[str, float]


@dataclass(frozen=True)
class Load:
    """One load in detail: the runs with the first seed, by policy."""

    rate: float | None
    results: Mapping[str, RunResult]
    causes: Mapping[str, Attribution]
    origins: Mapping[str, Mapping[str, Any]]
    """What made each: the provenance that its summary holds."""

    @property
    def title(self) -> str:
        """In words."""
        return "Arrivals as recorded" if self.rate is None else f"{self.rate:g} requests/s"

    @cached_property
    def rolled(self) -> dict[str, RollUp]:
        """What missed SLOs were made of, by policy."""
        return {name: roll_up(result, self.causes[name]) for name, result in self.results.items()}


@dataclass(frozen=True)
class Gathered:
    """A whole comparison."""

    folder: Path
    scenario: Mapping[str, Any]
    runs: tuple[Run, ...]
    loads: tuple[Load, ...]

    @classmethod
    def of(cls, folder: Path) -> Gathered:
        """Reads a folder; raises SlosimError if no finished comparison is there."""
        try:
            scenario = json.loads((folder / "scenario.json").read_text("utf-8"))
            rows = list(csv.DictReader(StringIO((folder / "runs.csv").read_text("utf-8"), newline="")))
            titles = _titles(scenario)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SlosimError(
                f"{folder}: no finished comparison is there ({error}); name a folder that `slosim compare` filled"
            ) from error
        runs = tuple(_whole([_run(row, titles) for row in rows]))
        policies = tuple(dict.fromkeys(run.policy for run in runs))
        rates = sorted({run.rate for run in runs}, key=lambda rate: rate or 0.0)
        detailed = [rate for rate in rates if (folder / load_name(rate)).is_dir()]
        names = folder_names(policies) | scenario.get("folders", {})
        own = {rate: {run.policy: names[run.policy] for run in runs if run.rate == rate} for rate in detailed}
        loads = tuple(_load(folder / load_name(rate), rate, own[rate]) for rate in detailed)
        return cls(folder, scenario, runs, loads)

    @property
    def policies(self) -> tuple[str, ...]:
        """In the order in which they were named."""
        return tuple(dict.fromkeys(run.policy for run in self.runs))

    @property
    def seeds(self) -> int:
        """Replications of each load."""
        return len({run.seed for run in self.runs})

    def at(self, rate: float | None) -> dict[str, list[Mapping[str, float]]]:
        """The metrics of each policy at a load, by seed."""
        return {
            policy: [run.summary for run in self.runs if (run.policy, run.rate) == (policy, rate)]
            for policy in self.policies
        }

    def means(self, rate: float | None) -> dict[str, dict[str, float]]:
        """The mean of each metric over seeds."""
        return {
            policy: {key: sum(one[key] for one in each) / len(each) for key in each[0]}
            for policy, each in self.at(rate).items()
            if each
        }


def _titles(scenario: Mapping[str, Any]) -> dict[str, str]:
    """What policies are called, by how runs.csv writes it."""
    known = (each["label"] or written(each["name"], each["parameters"]) for each in scenario["policies"])
    return {in_csv(title): title for title in known}


def _whole(runs: list[Run]) -> Iterator[Run]:
    """The runs of policies and loads that have one with every seed; of the others some failed."""
    seeds = len({run.seed for run in runs})
    number = Counter((run.policy, run.rate) for run in runs)
    yield from (run for run in runs if number[run.policy, run.rate] == seeds)


def _run(row: dict[str, str], titles: Mapping[str, str]) -> Run:
    policy, rate, seed = row.pop("policy"), row.pop("rate"), row.pop("seed")
    policy = titles.get(policy, from_csv(policy))
    summary = {name: float(value) if value else float("nan") for name, value in row.items()}
    return Run(policy, float(rate) if rate else None, int(seed), summary)


def _load(folder: Path, rate: float | None, names: Mapping[str, str]) -> Load:
    places = {policy: folder / name for policy, name in names.items() if (folder / name).is_dir()}
    origins = {
        policy: json.loads((place / "summary.json").read_text("utf-8"))["provenance"]
        for policy, place in places.items()
    }
    return Load(
        rate,
        {policy: read(place) for policy, place in places.items()},
        {policy: read_causes(place) for policy, place in places.items()},
        origins,
    )
