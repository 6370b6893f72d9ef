"""A search at work: processes, limits, what it tells, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.text import Text

from experiments.escaping import literally
from experiments.pool import workers
from experiments.scenario import Scenario
from experiments.search.climb import Climb, Evaluate
from experiments.search.moves import Workload
from experiments.search.objective import Objective, refuse_undefined
from experiments.search.problem import Task, evaluate, inputs, serve
from experiments.search.report import progress, standings, write
from experiments.table import Comparison
from sim.schedulers.planned import Agenda

EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass
class Searching:
    """One search of a scenario for the best order by one objective."""

    scenario: Scenario
    goal: Objective
    folder: Path
    out: Console
    jobs: int = 1
    seed: int = 0
    together: int = 8
    seconds: float = inf
    """When to stop, from the first simulation on."""
    simulations: int | None = None
    """How many to make."""

    def run(self) -> Climb:
        """Searches, shows what was found and writes it; so it does after an interrupt, too, which it then passes on."""
        trace = inputs(self.scenario).trace
        refuse_undefined(self.goal, trace)
        policies = [policy.spec for policy in self.scenario.policies]
        with self._processes() as simulate:
            climb = Climb(Workload.of(trace), policies, simulate, self.seed, self.together)
            began = perf_counter()
            try:
                self._search(climb, began)
            except (KeyboardInterrupt, BrokenExecutor, MemoryError) as error:
                self.out.print("\nInterrupted." if isinstance(error, KeyboardInterrupt) else "\nA worker failed.")
                self._conclude(climb, perf_counter() - began)
                raise
        self._conclude(climb, perf_counter() - began)
        return climb

    @contextmanager
    def _processes(self) -> Iterator[Evaluate]:
        """Something that simulates candidates, on all cores that it may use."""

        def tasks(candidates: Sequence[Agenda | str]) -> list[Task]:
            return [Task(self.scenario, self.goal, each) for each in candidates]

        if self.jobs < 2:
            yield lambda candidates: map(evaluate, tasks(candidates))
            return
        with workers(self.jobs) as executor:
            yield lambda candidates: executor.map(evaluate, tasks(candidates))

    def _search(self, climb: Climb, began: float) -> None:
        told = began
        with self.out.status("") as status:
            for _ in climb.run(self.simulations):
                now = perf_counter()
                left = self._left(climb, now - began)
                line = progress(climb, self.goal, now - began, left)
                if self.out.is_terminal:
                    status.update(Text(literally(line)))
                elif now - told > EVERY:
                    told = now
                    self.out.print(line, markup=False)
                if now - began >= self.seconds:
                    break

    def _left(self, climb: Climb, seconds: float) -> float | None:
        """Seconds until it stops, by whichever limit comes first."""
        limits = [self.seconds - seconds]
        if self.simulations is not None:
            limits.append((self.simulations - climb.simulations) * seconds / climb.simulations)
        return min(limits) if min(limits) < inf else None

    def _conclude(self, climb: Climb, seconds: float) -> None:
        if not climb.history:
            self.out.print("Nothing was simulated yet: there is no order to keep")
            return
        result = serve(self.scenario, climb.best)
        path = write(self.folder / "plan.json", climb, self.goal, self.scenario, result, seconds)
        self.out.print(progress(climb, self.goal, seconds, None), markup=False)
        for line in standings(climb, self.goal):
            self.out.print("  " + line, markup=False)
        for table in Comparison.of({"search": result.summary()}).tables(self.out.width):
            table.caption = None
            self.out.print(table)
        self.out.print(f"The order is in {path}: serve it with  planned,plan={path}", markup=False)
