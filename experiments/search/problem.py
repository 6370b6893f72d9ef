"""One candidate of a search, simulated: the work of a worker process."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.inputs import Inputs, build, run
from experiments.scenario import Scenario
from experiments.search.objective import Objective, Score, score
from sim.result import RunResult
from sim.schedulers.planned import Agenda, Planned


class Task(NamedTuple):
    """An order to be tried, or a policy by its name."""

    scenario: Scenario
    goal: Objective
    what: Agenda | str


class Story(NamedTuple):
    """What a search needs to know of a run: one row per request of the trace."""

    score: Score
    admitted_at: NDArray[np.float64]
    """Seconds; nan if never."""
    finished_at: NDArray[np.float64]
    met: NDArray[np.bool_]
    """Whether it met all its SLOs."""

    @classmethod
    def of(cls, result: RunResult, goal: Objective) -> Story:
        """What a run came to."""
        rows, met = result.requests, np.asarray(result.verdicts.met == 1)
        return cls(score(result, goal), rows["admitted_at"], rows["finished_at"], met)


def evaluate(task: Task) -> Story:
    """Simulates a task."""
    return Story.of(serve(task.scenario, task.what), task.goal)


def serve(scenario: Scenario, what: Agenda | str) -> RunResult:
    """The scenario's trace, served in an order or by a policy. Orders are told true lengths unless the scenario says
    what policies are told."""
    return run(scenario, what if isinstance(what, str) else Planned(what), inputs(scenario))


@lru_cache(maxsize=2)
def inputs(scenario: Scenario) -> Inputs:
    """What a scenario comes to; kept, for it is the same for all candidates."""
    return build(scenario)
