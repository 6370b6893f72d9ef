"""What a worker does: runs one point, and hands back its file as text. It writes nothing and never raises."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

from experiments.files import plain, without_nan
from experiments.inputs import Inputs, build, quiet_reading, run
from experiments.named import check_policy
from experiments.provenance import origin, provenance
from experiments.scenario import Scenario
from experiments.selections import by_selection
from experiments.sweeps.bands import by_tbt
from experiments.sweeps.digests import key_of
from experiments.sweeps.overload import overloaded
from experiments.sweeps.quantiles import tails
from sim.scheduler import Scheduler
from traces.errors import SlosimError


class Task(NamedTuple):
    """A run and the name under which it is kept."""

    scenario: Scenario
    """With one policy."""
    key: str


class Answer(NamedTuple):
    """The content of a point's file."""

    text: str
    failed: bool = False


def run_point(task: Task) -> Answer:
    """Runs a point; whatever goes wrong in it is an answer, too."""
    try:
        return Answer(as_text(_result(task)))
    except Exception as error:
        return Answer(as_text(failure(task, error, "".join(traceback.format_exception(error)))), failed=True)


def failure(task: Task, error: BaseException | str, told: str = "") -> dict[str, Any]:
    """The content of the file of a point that failed."""
    name = "" if isinstance(error, str | SlosimError) else f"{type(error).__name__}: "
    return {
        "key": task.key,
        "error": f"{name}{error}",
        "traceback": told,
        "provenance": origin({"config": config_of(task.scenario)}),
    }


def config_of(scenario: Scenario) -> dict[str, Any]:
    """What asked for a run."""
    return scenario.model_dump(mode="json") | {"digest": scenario.digest}


def as_text(content: Mapping[str, Any]) -> str:
    """JSON on one line."""
    return json.dumps(content, allow_nan=False, default=plain, separators=(",", ":")) + "\n"


def _result(task: Task) -> dict[str, Any]:
    scenario = task.scenario
    here = key_of(scenario)
    if here != task.key:
        raise SlosimError(
            f"{task.key} is {here} on this worker: its slosim, Python, libraries, files or policy are not the same, or "
            "changed during the sweep; make them the same, restart the workers, and run again"
        )
    began = perf_counter()
    policy = deepcopy(_policy(scenario.policies[0].spec))
    result = run(scenario, policy, _inputs(scenario.model_copy(update={"policies": ()})))
    seconds = perf_counter() - began
    content = {
        "key": task.key,
        "seconds": seconds,
        "overloaded": overloaded(result),
        "cautions": list(result.about["cautions"]),
        "summary": result.summary() | by_tbt(result) | by_selection(result),
        "applications": result.by_application(),
        "provenance": provenance(result, config_of(scenario)),
    }
    return {**without_nan(content), "tails": {name: sketch._asdict() for name, sketch in tails(result).items()}}


@lru_cache(maxsize=4)
def _inputs(scenario: Scenario) -> Inputs:
    """What a scenario comes to, whichever policy serves it."""
    with quiet_reading():
        return build(scenario)


@lru_cache(maxsize=64)
def _policy(spec: str) -> Scheduler:
    """A policy that is never run, to be copied: finding one by its name takes milliseconds."""
    return check_policy(spec)
