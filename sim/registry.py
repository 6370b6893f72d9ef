"""Policies by name, for the command line and result files."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sim.errors import UnknownScheduler
from sim.faults import accusing
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


def schedulers() -> dict[str, str]:
    """All names and where they lead (``module:Class``); entry points come before built-ins."""
    return BUILT_IN | {entry.name: entry.value for entry in entry_points(group=GROUP)}


def scheduler(spec: Scheduler | str) -> Scheduler:
    """The policy that ``spec`` means: itself, a name, or ``module:Class``, with parameters as ``name,key=value,...``.

    Raises ``UnknownScheduler`` with a suggestion, and names the parameters where one is wrong.
    """
    if not isinstance(spec, str):
        return spec
    name, *settings = spec.split(",")
    kind = _load(name.strip())
    path = schedulers().get(name.strip(), name.strip())
    with accusing(path, path.partition(":")[0].partition(".")[0]):
        policy = _made(kind, name, _parameters(kind, name, settings))
    if not callable(getattr(policy, "schedule", None)):
        raise UnknownScheduler(f"{name} has no schedule(server) method: it is no scheduler")
    return policy  # type: ignore[no-any-return]


def _load(name: str) -> Callable[..., Any]:
    known = schedulers()
    path = known.get(name, name)
    if ":" not in path:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UnknownScheduler(f"no scheduler {name!r}; {hint}there are {', '.join(sorted(known))}, and module:Class")
    module, _, attribute = path.partition(":")
    try:
        with accusing(path, module.partition(".")[0]):
            return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
    except SlosimError:
        raise
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        where = "" if path == name else f" ({path})"
        raise UnknownScheduler(f"scheduler {name!r}{where}: {error}") from error


def _made(kind: Callable[..., Any], name: str, parameters: dict[str, Any]) -> Any:
    """A policy; raises UnknownScheduler for parameters that are missing or too many."""
    try:
        return kind(**parameters)
    except TypeError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise  # from within the policy's own code
        raise UnknownScheduler(f"scheduler {name!r}: {error}; write {name},key=value") from error


def _parameters(kind: Callable[..., Any], name: str, settings: list[str]) -> dict[str, Any]:
    known = [field.name for field in fields(kind)] if is_dataclass(kind) else None
    values = {}
    for setting in settings:
        key, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or (known is not None and key not in known):
            raise UnknownScheduler(
                f"scheduler {name!r}: {setting.strip()!r} is no parameter; write key=value with a key of "
                f"{', '.join(known or ['its parameters'])}"
            )
        values[key] = _value(text)
        if (words := _words(kind, key)) and values[key] not in words and isinstance(values[key], str):
            raise UnknownScheduler(f"scheduler {name!r}: {key} = {values[key]!r}: write one of {', '.join(words)}")
    return values


def _words(kind: Callable[..., Any], key: str) -> list[str]:
    """The words that a parameter may be, if it is declared as some of them; any others are the policy's own affair."""
    try:
        hint = get_type_hints(kind).get(key)
    except NameError:
        return []
    kinds = [hint, *get_args(hint)]
    words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
    return [] if str in kinds else [word for word in words if isinstance(word, str)]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
