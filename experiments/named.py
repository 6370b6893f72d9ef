"""What configurations refer to by name: policies with parameters, and predictors."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sim.predictor import Mean, Noisy, Padded, Perfect, Predictor, Unknown
from sim.registry import scheduler
from sim.scheduler import Scheduler
from traces.errors import SlosimError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PolicyName = Annotated[str, Field(min_length=1)]

PREDICTORS: dict[str, type[Any]] = {
    "unknown": Unknown,
    "perfect": Perfect,
    "mean": Mean,
    "noisy": Noisy,
    "padded": Padded,
}
"""Output-length predictors by name; parameters follow as for policies."""


def split_spec(value: Any) -> Any:
    """A policy given as text, ``name,key=value,...``, as the table that it is short for.

    >>> split_spec("sarathi,chunk_size=256")
    {'name': 'sarathi', 'parameters': {'chunk_size': 256}}
    """
    if not isinstance(value, str):
        return value
    name, *settings = (part.strip() for part in value.split(","))
    wrong = next((setting for setting in settings if "=" not in setting), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is no parameter; write {name},key=value")
    pairs = (setting.split("=", 1) for setting in settings)
    return {"name": name, "parameters": {key.strip(): literal(text.strip()) for key, text in pairs}}


def literal(text: str) -> Any:
    """A number, truth value or list as Python and TOML write them; anything else is a text."""
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def check_policy(spec: str | Scheduler) -> Scheduler:
    """The policy; raises SlosimError if there is none such or a parameter has the wrong type."""
    policy = scheduler(spec)
    check_types(policy)
    return policy


def check_types(made: Any) -> None:
    """Raises SlosimError naming the field whose value is not of the type that its dataclass declares."""
    from pydantic import PydanticUserError, ValidationError

    kind: Any = type(made)
    if not is_dataclass(made):
        return
    values = {field.name: getattr(made, field.name) for field in fields(made) if field.init}
    try:
        _adapter(kind).validate_python(values, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"][:1]))
        raise SlosimError(f"{field} = {first['input']!r}: {first['msg'].lower()}") from error
    except (PydanticUserError, NameError):
        return  # fields of kinds that cannot be checked: the policy's own affair


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What knows the types of a dataclass's fields; making one takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def check_predictor(value: Any) -> Any:
    """The predictor's name and parameters if there is such a one; raises SlosimError otherwise."""
    if isinstance(value, str):
        predictor(value)
    return value


def predictor(spec: str) -> Predictor:
    """The predictor that a text such as ``noisy,sigma=0.3`` means.

    >>> predictor("noisy,sigma=0.3")
    Noisy(sigma=0.3)
    """
    table: Mapping[str, Any] = split_spec(spec)
    name, parameters = table["name"], table.get("parameters", {})
    if name not in PREDICTORS:
        raise SlosimError(f"no predictor {name!r}; {_near(name, PREDICTORS)}there are {', '.join(PREDICTORS)}")
    known = [field.name for field in fields(PREDICTORS[name])]
    wrong = next((key for key in parameters if key not in known), None)
    if wrong is not None:
        raise SlosimError(f"predictor {name} has no parameter {wrong!r}; it has {', '.join(known) or 'none'}")
    made: Predictor = PREDICTORS[name](**parameters)
    check_types(made)
    return made


def _near(word: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}? " if near else ""
