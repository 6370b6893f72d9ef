"""What of a comparison the calibration leaves open: the same runs on machines that the measured points allow as well.

A fitted profile keeps draws: fits to its points drawn again. The comparison is run on each, with the same requests and
the same objectives; what differs from draw to draw is not known. Draws tell of the scatter of the points about the form
that was fitted, and of nothing else: not of a form that is wrong, nor of another day or another machine.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import StringIO
from itertools import combinations, product
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from costmodel import Calibrated, Profile
from experiments.console import Steps
from experiments.escaping import in_csv
from experiments.files import write_text
from experiments.grid import rate_text
from experiments.inputs import Inputs, build, run, the_profile
from experiments.pool import run_all
from experiments.replications import METRICS
from experiments.scenario import Scenario
from experiments.table_rows import SECTIONS, Kind
from traces.errors import SlosimError

Summary = Mapping[str, float]
SETTLED = 0.95
"""Share of the draws in which a policy must be ahead."""
KINDS = {metric.key: metric.kind for section in SECTIONS.values() for metric in section}


def drawn(profile: Profile, number: int) -> list[Profile]:
    """The first draws of a profile; raises SlosimError if it has none, or fewer."""
    told: Any = profile.provenance.get("draws")
    if not told or not isinstance(profile.cost_model, Calibrated):
        raise SlosimError(
            f"profile {profile.name} has no draws: it keeps no more than its best parameters. Fit one of your own to "
            "measured points (slosim fit POINTS.csv -o mine.json, or slosim calibrate) and name it with --profile"
        )
    names, values = told["parameters"], told["values"]
    if number > len(values):
        raise SlosimError(f"profile {profile.name} has {len(values)} draws, not {number}: ask for as many at most")
    return [
        replace(
            profile,
            name=f"{profile.name}, draw {place}",
            cost_model=replace(profile.cost_model, **dict(zip(names, row, strict=True))),
        )
        for place, row in enumerate(values[:number], 1)
    ]


class Task(NamedTuple):
    """One policy at one load on one draw; draw nought is the profile itself."""

    scenario: Scenario
    policy: int
    rate: float | None
    draw: int
    draws: int

    @property
    def title(self) -> str:
        """What the policy is called."""
        return self.scenario.policies[self.policy].title


def run_draw(task: Task) -> Summary:
    """Runs one; the requests' objectives are those under the profile itself."""
    inputs, profiles = _inputs(task.scenario, task.draws)
    return run(
        task.scenario, task.scenario.policies[task.policy], inputs._replace(profile=profiles[task.draw])
    ).summary()


@lru_cache(maxsize=2)
def _inputs(scenario: Scenario, draws: int) -> tuple[Inputs, list[Profile]]:
    inputs = build(scenario)
    return inputs, [inputs.profile, *drawn(inputs.profile, draws)]


@dataclass(frozen=True)
class Drawn:
    """The metrics of every policy at one load: under the profile itself first, then under each draw."""

    rate: float | None
    runs: Mapping[str, Sequence[Summary]]

    def values(self, policy: str, metric: str) -> tuple[float, list[float]]:
        """Under the profile itself, and under the draws."""
        first, *others = (run[metric] for run in self.runs[policy])
        return first, others

    def lines(self) -> Iterator[list[str]]:
        """A row per metric: each policy's value, and where 95 % of the draws lie."""
        yield ["", *self.runs]
        for metric, label in METRICS.items():
            cells = [self.values(policy, metric) for policy in self.runs]
            if all(isfinite(value) for own, others in cells for value in (own, *others)):
                yield [label, *(_said(own, others) for own, others in cells)]

    def verdicts(self) -> Iterator[str]:
        """A sentence for every two policies and metric whose order is not the same in nearly all draws."""
        for (one, other), (metric, label) in product(combinations(self.runs, 2), METRICS.items()):
            sign = -1 if KINDS[metric] is Kind.LESS else 1
            (own, draws), (its, theirs) = self.values(one, metric), self.values(other, metric)
            lead = sign * (own - its)
            leads = [sign * (mine - yours) for mine, yours in zip(draws, theirs, strict=True)]
            ahead = sum(each * lead > 0 for each in leads)
            if lead and all(map(isfinite, (lead, *leads))) and ahead < SETTLED * len(leads):
                first, second = (one, other) if lead > 0 else (other, one)
                yield f"{label}: {first} is ahead of {second} in {ahead} of {len(leads)} draws only"

    def text(self) -> str:
        """Both, as text."""
        rows = list(self.lines())
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        number = len(next(iter(self.runs.values()))) - 1
        head = f"{load(self.rate)}: the profile's value, and where 95 % of {number} draws of the calibration lie"
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        open_questions = list(self.verdicts())
        told = (
            "not settled by the calibration:" if open_questions else "the calibration settles every order of policies"
        )
        return "\n".join([head, *table, told, *(f"  {line}" for line in open_questions)]) + "\n"


def _said(own: float, others: Sequence[float]) -> str:
    low, high = np.percentile(others, (2.5, 97.5)).tolist()
    return f"{own:.4g} ({low:.4g} to {high:.4g})"


def compare_draws(scenario: Scenario, number: int, folder: Path, out: Console, jobs: int = 1) -> list[Drawn]:
    """Runs all policies and loads over so many draws, shows what they leave open, writes draws.txt and draws.csv."""
    rates = scenario.rates or (scenario.trace.rate,)
    tasks = [
        Task(scenario.at(rate), policy, rate, draw, number)
        for rate in rates
        for draw in range(number + 1)
        for policy in range(len(scenario.policies))
    ]
    done: dict[Task, Summary] = {}
    with Steps(out, "draws", len(tasks)) as steps:
        for task, summary in run_all(run_draw, tasks, jobs):
            done[task] = summary
            steps.finished(f"{task.title}, {load(task.rate)}, draw {task.draw}")
    found = [Drawn(rate, _by_policy({task: done[task] for task in tasks if task.rate == rate})) for rate in rates]
    told = "\n".join(each.text() for each in found)
    write_text(folder / "draws.txt", told)
    write_text(folder / "draws.csv", _csv(done))
    out.print(told, markup=False)
    return found


def load(rate: float | None) -> str:
    """A load in words."""
    return "the arrivals of the trace" if rate is None else f"{rate:g} requests/s"


def _by_policy(done: Mapping[Task, Summary]) -> dict[str, list[Summary]]:
    runs: dict[str, list[Summary]] = {}
    for task, summary in done.items():
        runs.setdefault(task.title, []).append(summary)
    return runs


def check(scenario: Scenario, number: int) -> None:
    """Raises SlosimError now rather than after the comparison if the profile has too few draws."""
    if number < 2:
        raise SlosimError(f"{number} draws tell nothing of what varies: ask for at least 2, better 20")
    drawn(the_profile(scenario), number)


def _csv(done: Mapping[Task, Summary]) -> str:
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["policy", "rate", "draw", *next(iter(done.values()))])
    for task, summary in sorted(done.items(), key=lambda each: (each[0].policy, each[0].rate or 0.0, each[0].draw)):
        values = (repr(value) if isfinite(value) else "" for value in summary.values())
        writer.writerow([in_csv(task.title), "" if task.rate is None else rate_text(task.rate), task.draw, *values])
    return file.getvalue()
