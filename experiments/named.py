"""What configurations refer to by name: policies with parameters, predictors, routers, metrics."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from experiments.workload_settings import GENERATED, TraceSettings
from sim.parameters import cut, meant, plain, shown, written
from sim.registry import parsed, predictor, router, scheduler
from sim.scheduler import Scheduler
from traces.errors import SlosimError

if TYPE_CHECKING:
    from experiments.scenario import Scenario

PolicyName = Annotated[str, Field(min_length=1)]


def split_spec(value: Any) -> Any:
    """A policy given as text, ``name,key=value,...``, as the table that it is short for.

    >>> split_spec("sarathi,chunk_size=256")
    {'name': 'sarathi', 'parameters': {'chunk_size': 256}}
    """
    if not isinstance(value, str):
        return value
    name, parameters = parsed(value)
    return {"name": name, "parameters": parameters}


def check_policy(spec: str | Scheduler) -> Scheduler:
    """The policy; raises SlosimError if there is none such or a parameter is not as its class declares it."""
    return scheduler(spec)


def check_predictor(value: Any) -> Any:
    """The predictor's name and parameters if there is such a one; raises SlosimError otherwise.

    A table of name and parameters is as good as the text that it stands for.
    """
    value = _spec(value)
    if isinstance(value, str):
        predictor(value)
    return value


def check_router(value: Any) -> Any:
    """The router's name and parameters if there is such a one; raises SlosimError otherwise."""
    value = _spec(value)
    if isinstance(value, str):
        router(value)
    return value


def _spec(value: Any) -> Any:
    """A table of name and parameters as text; anything else as it is."""
    if isinstance(value, dict) and isinstance(value.get("name"), str) and set(value) <= {"name", "parameters"}:
        parameters = value.get("parameters", {})
        return written(value["name"], plain(parameters)) if isinstance(parameters, dict) else value
    return value


@cache
def metrics() -> tuple[str, ...]:
    """The names of a run's metrics, in the order of its summary."""
    from costmodel import profile
    from sim.simulation import simulate
    from traces import Trace

    nothing = Trace.from_rows([])
    return tuple(simulate(nothing, "vllm", profile("opt-13b@a100-80gb-vllm"), kv_blocks=1).summary())


def check_metric(name: str, where: str, known: Iterable[str] = ()) -> str:
    """The name of a metric; raises SlosimError with a suggestion if no run has it. ``where``: what asked for it."""
    names = [*metrics(), *known]
    if name not in names:
        raise SlosimError(f"{where}: {shown(name)} is not a metric; {meant(name, names)}")
    return name


SECONDS = ("ttft", "tbt", "tpot", "jct", "_latency", "_time", "_seconds", "makespan", "duration")
"""How the names of metrics end that are in seconds."""
SHARES = ("slo_attainment_", "gpu_", "kvc_", "pivot_")
"""How the names of metrics begin that are shares."""


def is_share(metric: str) -> bool:
    """Whether a metric is a share, from 0 to 1."""
    return metric.startswith(SHARES)


def in_seconds(metric: str) -> bool:
    """Whether a metric is in seconds."""
    return metric.endswith(SECONDS) and not is_share(metric)


def check_names(scenario: Scenario) -> Scenario:
    """The scenario if all that it names is there: profile, model, trace and lengths, format, plans of policies.

    Nothing is run and no trace is read. Raises SlosimError with a suggestion for the first that is not.
    """
    from experiments.inputs import the_profile

    the_profile(scenario)
    _check_sources(scenario.trace)
    _check_applications(scenario)
    for policy in scenario.policies:
        getattr(scheduler(policy.name, policy.parameters), "predictor", None)  # reads the file of a plan
    return scenario


def _check_sources(trace: TraceSettings) -> None:
    """Raises SlosimError for a file, format or lengths that there are not."""
    from traces import FORMATS, lengths_names

    if not trace.generated and not os.path.exists(trace.source):
        raise SlosimError(f"{cut(trace.source)}: no such file or folder; {_near_file(trace.source)}")
    if trace.format is not None and trace.format not in FORMATS:
        raise SlosimError(f"no format is called {shown(trace.format)}; {meant(trace.format, FORMATS)}")
    for label, source in trace.sources.items():
        if source not in lengths_names() and not os.path.exists(source):
            hint = meant(source, lengths_names(), "a trace file or one of")
            raise SlosimError(f"trace.sources.{label} = {shown(source)}: no such lengths; {hint}")


def _check_applications(scenario: Scenario) -> None:
    """Raises SlosimError for settings of an application that a generated trace does not have."""
    trace = scenario.trace
    known = [name for name in GENERATED[1:] if trace.source in ("paper_mix", name)]
    asked: dict[str, Iterable[str]] = {
        "trace.sources": trace.sources,
        "slos.per_application": scenario.slos.per_application,
    }
    for setting, table in asked.items() if trace.generated else ():
        for label in table:
            if label not in known:
                raise SlosimError(f"{setting}: no application is called {shown(label)}; {meant(label, known)}")


def _near_file(source: str) -> str:
    """What a trace's name was probably meant to be: a known workload, or a file beside it."""
    folder, name = os.path.split(source)
    try:
        beside = os.listdir(folder or ".")[:10_000]
    except (OSError, ValueError):
        beside = []
    near = get_close_matches(source, GENERATED, n=1) or [
        os.path.join(folder, each) for each in get_close_matches(name, sorted(beside), n=1, cutoff=0.75)
    ]
    return f"did you mean {near[0]!r}?" if near else f"name a trace, or one of {', '.join(GENERATED)}"
