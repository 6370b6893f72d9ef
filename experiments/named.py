"""What configurations refer to by name: policies with parameters, predictors, routers, metrics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from sim.parameters import meant, shown
from sim.registry import parsed, predictor, router, scheduler
from sim.scheduler import Scheduler
from traces.errors import SlosimError

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
    """The predictor's name and parameters if there is such a one; raises SlosimError otherwise."""
    if isinstance(value, str):
        predictor(value)
    return value


def check_router(value: Any) -> Any:
    """The router's name and parameters if there is such a one; raises SlosimError otherwise."""
    if isinstance(value, str):
        router(value)
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
        raise SlosimError(f"{where}: there is no metric {shown(name)}; {meant(name, names)}")
    return name
