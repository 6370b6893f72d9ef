"""The statistical gate: a policy against its baseline on the same requests, with more seeds until it is decided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isnan
from typing import Any, NamedTuple

from experiments.grid import load_name
from experiments.inputs import Inputs, build, run
from experiments.pool import run_all
from experiments.regress.margins import Judgement, Margin, judge
from experiments.scenario import PolicySettings, Scenario
from traces.errors import SlosimError

DEFAULT_MARGINS = (
    Margin("p99_ttft", "max", 0.05),
    Margin("p99_tbt", "max", 0.05),
    Margin("mean_jct", "max", 0.05),
    Margin("goodput", "min", 0.02),
    Margin("request_goodput", "min", 0.05),
)
"""The default margins; without SLOs only those of latencies apply."""
RATES = (0.4, 0.6)
"""The default loads, requests/s: for the paper's machine light, and nearly full."""
REQUESTS = 400


class Task(NamedTuple):
    """One run."""

    scenario: Scenario
    policy: PolicySettings
    rate: float | None
    seed: int


class Run(NamedTuple):
    """What is kept of it."""

    summary: dict[str, float]
    digests: dict[str, str]
    """Of trace and profile: runs may be compared only if they are equal."""


def perform(task: Task) -> Run:
    """Runs it."""
    scenario = task.scenario.at(task.rate, task.seed)
    result = run(scenario, task.policy, _inputs(scenario))
    about: dict[str, Any] = dict(result.about)
    return Run(result.summary(), {name: str(about[name]) for name in ("trace_digest", "profile_digest")})


@lru_cache(maxsize=2)
def _inputs(scenario: Scenario) -> Inputs:
    return build(scenario)


@dataclass
class Runs:
    """The runs of one policy by load and seed, made when they are asked for."""

    scenario: Scenario
    """With its rates; its policies do not matter."""
    policy: PolicySettings
    jobs: int = 1
    told: Callable[[str], object] = lambda text: None
    """Hears of every finished run."""
    known: dict[tuple[float | None, int], Run] = field(default_factory=dict)

    @property
    def loads(self) -> tuple[float | None, ...]:
        """The rates that are looked at."""
        return self.scenario.rates or (None,)

    def make(self, seeds: Sequence[int]) -> None:
        """Runs what of these seeds is missing."""
        asked = [(rate, seed) for rate in self.loads for seed in seeds if (rate, seed) not in self.known]
        tasks = [Task(self.scenario, self.policy, rate, seed) for rate, seed in asked]
        for task, made in run_all(perform, tasks, self.jobs):
            self.known[task.rate, task.seed] = made
            self.told(f"{self.policy.title}, {load_name(task.rate)}, seed {task.seed}")

    def values(self, metric: str, rate: float | None, seeds: Sequence[int]) -> list[float]:
        """One metric, seed by seed; raises SlosimError if there is none of this name."""
        found = [self.known[rate, seed].summary for seed in seeds]
        if any(metric not in summary for summary in found):
            raise SlosimError(f"{metric!r} is not a metric: choose one of {', '.join(sorted(found[0]))}")
        return [float(summary[metric]) for summary in found]


@dataclass
class Gate:
    """A comparison of two policies' runs against margins."""

    ours: Runs
    baseline: Runs
    margins: Sequence[Margin] = DEFAULT_MARGINS
    seeds: int = 8
    """To begin with."""
    most_seeds: int = 32
    """While something is inconclusive the number of seeds is doubled up to here."""
    error: float = 0.01
    """Probability of failing a change that is just within a margin, all looks at more and more seeds together."""

    def run(self) -> list[Judgement]:
        """Runs until all is decided or seeds run out."""
        looks = list(self._looks())
        first = self.ours.scenario.trace.seed
        found: list[Judgement] = []
        for number in looks:
            seeds = range(first, first + number)
            self.baseline.make(seeds)
            self.ours.make(seeds)
            self._refuse_other_inputs(seeds)
            found = [
                judge(margin, load_name(rate), ours, theirs, self.error / len(looks))
                for rate in self.ours.loads
                for margin in self.margins
                for ours, theirs in self._values(margin, rate, seeds)
            ]
            if all(each.verdict != "inconclusive" for each in found):
                break
        return found

    def _values(
        self, margin: Margin, rate: float | None, seeds: Sequence[int]
    ) -> Iterator[tuple[list[float], list[float]]]:
        """The metric of both, by seed; nothing for a usual margin that no run has a value for, as without SLOs."""
        ours, theirs = (each.values(margin.metric, rate, seeds) for each in (self.ours, self.baseline))
        if self.margins is not DEFAULT_MARGINS or not all(map(isnan, (*ours, *theirs))):
            yield ours, theirs

    def _looks(self) -> Iterator[int]:
        number = self.seeds
        while number < self.most_seeds:
            yield number
            number *= 2
        yield max(self.seeds, self.most_seeds)

    def _refuse_other_inputs(self, seeds: Sequence[int]) -> None:
        for rate in self.ours.loads:
            for seed in seeds:
                ours, theirs = self.ours.known[rate, seed].digests, self.baseline.known[rate, seed].digests
                differing = [name.split("_")[0] for name, value in ours.items() if theirs.get(name) != value]
                if differing:
                    raise SlosimError(
                        f"the baseline was run on another {' and '.join(differing)} ({load_name(rate)}, seed {seed}): "
                        "make it anew with --write"
                    )


def verdict(found: Sequence[Judgement]) -> str:
    """``fail`` if anything failed, else ``inconclusive`` if anything is, else ``pass``."""
    verdicts = {each.verdict for each in found}
    return next((each for each in ("fail", "inconclusive") if each in verdicts), "pass")
