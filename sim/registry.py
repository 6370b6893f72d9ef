"""Policies, predictors and routers by name, for the command line and result files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from sim.errors import UnknownScheduler
from sim.faults import accusing
from sim.parameters import checked, fitted, meant, parameters_of, shown, split, texts_read
from sim.predictor import Mean, Noisy, Padded, Perfect, Predictor, Unknown
from sim.router import LeastLoaded, RoundRobin, Router, ShortestQueue
from sim.scheduler import Scheduler
from traces.errors import SlosimError

GROUP = "slosim.schedulers"
BUILT_IN = {
    "vllm": "sim.schedulers.vllm:Vllm",
    "vllm-v1": "sim.schedulers.vllm_v1:VllmV1",
    "sarathi": "sim.schedulers.sarathi:Sarathi",
    "fastserve": "sim.schedulers.fastserve:FastServe",
    "accelgen": "sim.schedulers.accelgen:AccelGen",
    "punctual": "sim.schedulers.punctual:Punctual",
    "oracle": "sim.schedulers.oracle:Oracle",
    "planned": "sim.schedulers.planned:Planned",
    "orca": "sim.schedulers.orca:Orca",
    "fastgen": "sim.schedulers.fastgen:FastGen",
    "econoserve": "sim.schedulers.econoserve:EconoServe",
    "cacheopt": "sim.schedulers.cacheopt.policy:CacheOpt",
}
PREDICTORS: dict[str, type[Any]] = {
    "unknown": Unknown,
    "perfect": Perfect,
    "mean": Mean,
    "noisy": Noisy,
    "padded": Padded,
}
"""Output-length predictors by name; parameters follow as for policies."""
ROUTERS: dict[str, type[Any]] = {
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
    "shortest_queue": ShortestQueue,
}
"""Routers by name; `module:Class` is one of your own."""


def schedulers() -> dict[str, str]:
    """All names and where they lead (``module:Class``); entry points come before built-ins."""
    return BUILT_IN | dict(_installed(entry_points, tuple(sys.path)))


@lru_cache(maxsize=8)
def _installed(find: Callable[..., Any], places: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Policies of installed packages; looking for them takes milliseconds."""
    return tuple((entry.name, entry.value) for entry in find(group=GROUP))


def scheduler(spec: Scheduler | str, parameters: Mapping[str, Any] | None = None) -> Scheduler:
    """The policy that ``spec`` means: itself, a name, or ``module:Class``, with parameters as ``name,key=value,...``.

    ``parameters`` are further ones, as data. All are checked against the types and bounds that the class declares
    (``sim.parameters``), those of a policy that was made elsewhere, too. Raises ``UnknownScheduler`` with a suggestion,
    and names the parameter where one is wrong.
    """
    if not isinstance(spec, str):
        return checked(spec)  # type: ignore[no-any-return]
    name, texts = _split(spec)
    kind, path = _load(name), schedulers().get(name, name)
    with accusing(path, path.partition(":")[0].partition(".")[0]):
        policy = _made(kind, name, texts_read(kind, texts) | dict(parameters or {}))
    if not callable(getattr(policy, "schedule", None)):
        raise UnknownScheduler(f"{name} has no schedule(server) method, which every scheduler needs")
    return policy  # type: ignore[no-any-return]


def parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of a policy given as text, read as its class wants them.

    >>> parsed("sarathi,chunk_size=256")
    ('sarathi', {'chunk_size': 256})
    """
    name, texts = _split(spec)
    return name, texts_read(_load(name), texts)


def predictor(spec: Predictor | str) -> Predictor:
    """The predictor that ``spec`` means: itself, or a name with parameters such as ``noisy,sigma=0.3``.

    >>> predictor("noisy,sigma=0.3")
    Noisy(sigma=0.3)
    """
    if not isinstance(spec, str):
        return checked(spec)  # type: ignore[no-any-return]
    name, texts = split(spec)
    if name not in PREDICTORS:
        raise SlosimError(f"no predictor {shown(name)}; {meant(name, PREDICTORS)}")
    kind = PREDICTORS[name]
    try:
        made: Predictor = kind(**fitted(kind, texts_read(kind, texts)))
    except SlosimError as error:
        raise SlosimError(f"predictor {name!r}: {error}") from None
    return made


def router(spec: Router | str) -> Router:
    """The router that ``spec`` means: itself, a name, or ``module:Class``, with parameters as ``name,key=value,...``.

    >>> router("least_loaded")
    LeastLoaded()
    """
    if not isinstance(spec, str):
        return checked(spec)  # type: ignore[no-any-return]
    name, texts = split(spec)
    if name not in ROUTERS and ":" not in name:
        raise SlosimError(f"no router {shown(name)}; {meant(name, ROUTERS)}, and module:Class")
    module, _, attribute = name.partition(":")
    try:
        kind = ROUTERS.get(name) or getattr(import_module(module), attribute)
        made: Router = kind(**fitted(kind, texts_read(kind, texts)))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SlosimError(f"router {shown(name)}: {error}") from error
    if not callable(getattr(made, "route", None)):
        raise SlosimError(f"router {shown(name)} has no route(request, servers) method, which every router needs")
    return made


def _split(spec: str) -> tuple[str, dict[str, str]]:
    try:
        return split(spec)
    except SlosimError as error:
        name = spec.partition(",")[0].strip()
        keys = ", ".join(parameters_of(_load(name)) or ["its parameters"])
        raise UnknownScheduler(f"scheduler {name!r}: {error} with a key of {keys}") from None


def _load(name: str) -> Callable[..., Any]:
    known = schedulers()
    path = known.get(name, name)
    if ":" not in path:
        hint = meant(name, sorted(known))
        raise UnknownScheduler(f"no scheduler {shown(name)}; {hint}, and module:Class")
    module, _, attribute = path.partition(":")
    try:
        with accusing(path, module.partition(".")[0]):
            found = getattr(import_module(module), attribute)
    except SlosimError:
        raise
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        where = "" if path == name else f" ({path})"
        raise UnknownScheduler(f"scheduler {shown(name)}{where}: {error}") from error
    if not callable(found):
        raise UnknownScheduler(f"scheduler {shown(name)}: {shown(found)} is not a policy class")
    return found  # type: ignore[no-any-return]


def _made(kind: Callable[..., Any], name: str, values: Mapping[str, Any]) -> Any:
    """A policy; raises UnknownScheduler for parameters that are wrong, missing or too many."""
    try:
        return checked(kind(**fitted(kind, values)))
    except SlosimError as error:
        raise UnknownScheduler(f"scheduler {name!r}: {error}") from error
    except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise  # from within the policy's own code
        raise UnknownScheduler(f"scheduler {name!r}: {error}; write {name},key=value") from error
