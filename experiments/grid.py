"""The runs of a comparison: every policy at every load with every seed, and where the files of each go."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from experiments.bench_json import bench_json
from experiments.bound.course import Course
from experiments.causes.files import write_causes
from experiments.escaping import folded, in_path
from experiments.files import write_json
from experiments.inputs import Inputs, build, quiet_reading, run
from experiments.pool import name_of, reason
from experiments.provenance import made, provenance
from experiments.results import save, summary_of
from experiments.scenario import Scenario
from experiments.timeline import write_timeline
from sim.attribution import attribute
from sim.result import RunResult

Summary = dict[str, float]
OWN_FILES = frozenset(
    {
        "table.txt",
        "table.md",
        *(f"{name}.png" for name in ("goodput", "latency", "utilization", "attainment", "causes")),
    }
)
"""Files of a load beside the folders of its policies."""


class Cell(NamedTuple):
    """One run of a comparison."""

    scenario: Scenario
    """At one rate and with one seed."""
    policy: int
    """Which of the scenario's policies."""
    rate: float | None
    """Requests per second; None: as the trace has it."""
    seed: int
    folder: Path
    """Of the whole comparison."""
    detailed: bool
    """Whether tables are kept, or only the metrics."""
    timeline: bool = False

    @property
    def title(self) -> str:
        """What the policy is called."""
        return self.scenario.policies[self.policy].title

    @property
    def place(self) -> Path:
        """The folder of a detailed run, or the file of another."""
        name = folder_names(tuple(policy.title for policy in self.scenario.policies))[self.title]
        if self.detailed:
            return self.folder / load_name(self.rate) / name
        return self.folder / "runs" / f"{load_name(self.rate)}-seed-{self.seed}-{name}.json"


class Outcome(NamedTuple):
    """What is kept in memory of a run; the rest is in its files."""

    summary: Summary
    seconds: float
    """Wall time of the simulation."""
    requests: int
    course: Course
    """What bounds need to know of it."""


def cells(scenario: Scenario, folder: Path, timeline: bool = False) -> Iterator[Cell]:
    """All runs, those shown in detail first and then the largest loads, which take longest."""
    shown = scenario.rates or (scenario.trace.rate,)
    further = sorted(set(scenario.sweep) - set(shown), reverse=True)
    seeds = range(scenario.trace.seed, scenario.trace.seed + scenario.seeds)
    for rate in (*sorted(shown, key=lambda each: -(each or 0.0)), *further):
        for seed in seeds:
            at = scenario.at(rate, seed)
            detailed = rate in shown and seed == seeds[0]
            for policy in reversed(range(len(scenario.policies))):
                yield Cell(at, policy, rate, seed, folder, detailed, timeline and detailed)


def run_cell(cell: Cell) -> Outcome:
    """Runs one cell and writes its files, each whole or not at all."""
    inputs = _inputs(cell.scenario)
    began = perf_counter()
    result = run(cell.scenario, cell.scenario.policies[cell.policy], inputs)
    seconds = perf_counter() - began
    keep(result, cell, cell.place)
    return Outcome(result.summary(), seconds, len(result), Course.of(result))


class Failure(NamedTuple):
    """Something of a comparison that has no result."""

    what: str
    """A run, a picture or the bounds."""
    why: str
    trace: str = ""
    """Python's traceback."""

    @classmethod
    def of(cls, what: str, error: Exception) -> Failure:
        """The failure that records this exception with its traceback."""
        return cls(what, reason(error), "".join(traceback.format_exception(error)))


def try_cell(cell: Cell) -> Outcome | Failure:
    """Runs one cell; returns what it raises as its failure, so that other cells still run."""
    try:
        return run_cell(cell)
    except Exception as error:
        return Failure.of(name_of(cell), error)


def keep(result: RunResult, cell: Cell, place: Path) -> None:
    """Writes the files of a run: into a folder if it is a detailed one, else one file."""
    config = cell.scenario.model_dump(mode="json") | {"policies": [cell.title], "digest": cell.scenario.digest}
    if not cell.detailed:
        write_json(place, summary_of(result) | {"provenance": provenance(result, config)})
        return
    with suppress(OSError):
        (place / "timeline.json.gz").unlink()  # a former run's
    save(result, place, config)
    write_causes(result, attribute(result, _inputs(cell.scenario).profile.cost_model), place, config)
    write_json(place / "bench.json", bench(result, cell))
    if cell.timeline:
        write_timeline(result, place / "timeline.json.gz")


def bench(result: RunResult, cell: Cell) -> dict[str, object]:
    """The run as `vllm bench serve` writes it."""
    profile = _inputs(cell.scenario).profile
    return bench_json(
        result,
        date=made()["date"],
        label=cell.title,
        model=profile.model.name if profile.model else profile.name,
        request_rate=cell.rate or float("inf"),
        burstiness=cell.scenario.trace.burstiness,
    )


@lru_cache(maxsize=2)
def _inputs(scenario: Scenario) -> Inputs:
    with quiet_reading():
        return build(scenario)


def load_name(rate: float | None) -> str:
    """A load as part of a file name: `rate-0.6`."""
    return "as-recorded" if rate is None else f"rate-{rate_text(rate)}"


def rate_text(rate: float) -> str:
    """A rate in few characters, but with all of its digits, so that no two share a name.

    >>> rate_text(0.6), rate_text(0.60000001)
    ('0.6', '0.60000001')
    """
    short = f"{rate:g}"
    return short if float(short) == rate else repr(rate)


@lru_cache(maxsize=64)
def folder_names(titles: tuple[str, ...]) -> dict[str, str]:
    """A folder for each policy, by its title, and no two the same, also where letters have no case.

    A title whose plain name is taken, by another title or a file, gets a digest.
    """
    often = Counter(folded(in_path(title)) for title in titles)
    taken = frozenset(OWN_FILES | {name for name, number in often.items() if number > 1})
    return {title: in_path(title, taken) for title in titles}
