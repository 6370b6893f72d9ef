"""Scenarios from TOML files and command lines: read, overlaid, checked; every mistake is told at once.

A file holds the tables of `Scenario`:

    policies = ["vllm", "sarathi,chunk_size=256", "accelgen"]
    profile = "opt-13b@a100-80gb-vllm"
    rates = [0.6, 8.0]

    [trace]
    source = "paper_mix"
    requests = 3000
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from experiments.escaping import literally
from experiments.scenario import Scenario
from sim.parameters import cut, literal, read, shown
from traces.errors import SlosimError

Table = dict[str, Any]
LONGEST = 1000
"""Characters of a complaint."""


class Override(NamedTuple):
    """A setting by its path in the configuration, such as trace.rate, and its value."""

    name: str
    value: Any

    @classmethod
    def of_text(cls, text: str) -> Override:
        """From ``trace.rate=2.0``; the value is read as TOML writes what the setting takes, else as a text."""
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise SlosimError(f"--set {cut(text)}: write it as name=value, such as trace.rate=2.0")
        return cls(name, read(value, _hint_at(steps_of(name)), _as_toml))


def scenario_of(
    path: str | Path | None = None, overrides: Iterable[Override] = (), defaults: Mapping[str, Any] | None = None
) -> Scenario:
    """The scenario of a TOML file (None: of `defaults`), with overrides on top, the later the stronger.

    Raises SlosimError with one line per mistake: where it is, what is wrong, and what was probably meant.
    """
    table: Table = dict(defaults or {}) if path is None else read_toml(Path(path))
    for name, value in overrides:
        put(table, name, value)
    try:
        return Scenario(**table)
    except ValidationError as error:
        lines = list(dict.fromkeys(literally(each)[:LONGEST] for each in complaints(error)))
        where = f"{path}" if path else "the settings"
        told = lines if len(lines) == 1 else [f"{where}: {len(lines)} mistakes", *lines]
        raise SlosimError(*told) from error


def read_toml(path: Path) -> Table:
    """The tables of a TOML file; raises SlosimError naming the line that is none."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SlosimError(
            f"{path}: cannot be read ({error.strerror or error}); name a scenario file (.toml)"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SlosimError(f"{path}: is not TOML: {error}") from error


def put(table: Table, name: str, value: Any) -> None:
    """Sets ``a.b.c`` in nested tables, making those that are missing."""
    *path, last = steps_of(name)
    for step in path:
        inner = table.get(step)
        table[step] = dict(inner) if isinstance(inner, Mapping) else {}
        table = table[step]
    table[last] = value


def steps_of(name: str) -> list[str]:
    """The keys of a dotted name; one with dots of its own stands in quotes, as in TOML.

    >>> steps_of('slos.per_application."chat 2.0".ttft')
    ['slos', 'per_application', 'chat 2.0', 'ttft']
    """
    if not {"'", '"'} & set(name):
        return name.split(".")
    try:
        rest: Any = tomllib.loads(f"{name} = 0")
    except (ValueError, RecursionError):
        return name.split(".")
    steps = []
    while isinstance(rest, dict) and len(rest) == 1:
        step, rest = next(iter(rest.items()))
        steps.append(step)
    return steps if rest == 0 else name.split(".")


def _as_toml(text: str) -> Any:
    """A value as TOML writes it, else as Python does; anything else is a text."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return literal(text)
    return found["value"] if len(found) == 1 else text


def _hint_at(steps: list[str]) -> Any:
    """The type of a setting; Any where that is not known."""
    hint: Any = Scenario
    for step in steps:
        models, tables = list(_models_in(hint)), [each for each in (hint, *get_args(hint)) if get_origin(each) is dict]
        field = _field(models[0], step) if models and not tables else None
        hint = field.annotation if field else get_args(tables[0])[1] if tables else Any
    return hint


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    """The field of a setting, by its own name or by the one that files have for it."""
    known = model.model_fields
    return known.get(name) or next((field for field in known.values() if field.alias == name), None)


def complaints(error: ValidationError) -> Iterable[str]:
    """One line for each mistake: its path in the configuration, what is wrong, and what was probably meant."""
    for each in error.errors():
        place = ".".join(cut(str(step)) for step in each["loc"])
        if each["type"] == "extra_forbidden":
            yield f"{place}: there is no such setting; {_meant(each['loc'])}"
        elif each["type"] == "value_error":
            yield ": ".join(part for part in (place, str(each["ctx"]["error"])) if part)
        else:
            message = each["msg"].removeprefix("Input ")
            yield f"{place}: {message}, not {shown(each['input'])}"


def _meant(place: tuple[int | str, ...]) -> str:
    """The settings that there are beside a wrong one, the nearest first if one comes near."""
    known = list(_model_at(place[:-1]).model_fields)
    near = get_close_matches(str(place[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _model_at(place: Iterable[int | str]) -> type[BaseModel]:
    """The model that describes a table of the configuration."""
    model: type[BaseModel] = Scenario
    for step in place:
        field = _field(model, str(step))
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
