"""Cost models as JSON objects and back: which form, which parameters, within which bounds."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any

from costmodel.facts import ModelFacts
from costmodel.fields import Fields
from costmodel.model import Calibrated, Equation4
from costmodel.whole_engine import DecodeLine, PromptLine, PromptTable, WholeEngine

Form = Equation4 | Calibrated | WholeEngine
"""The cost models that a profile can hold."""

BOUNDS: dict[str, tuple[float, float]] = {"per_token": (1e-12, 1e3), "sharpness": (1.0, 20.0), "tile_share": (0.0, 1.0)}
"""Bounds of the calibrated parameters that have any besides being at least nought."""


def names_of(form: type[Calibrated | DecodeLine | PromptLine | ModelFacts]) -> list[str]:
    """The parameters of a form, in the order of its definition."""
    return [field.name for field in fields(form) if field.init]


def as_json(cost_model: Form) -> dict[str, Any]:
    """The cost model as a JSON object; parameters that are nought are left out of the calibrated form."""
    if isinstance(cost_model, Calibrated):
        values = {name: getattr(cost_model, name) for name in names_of(Calibrated)}
        return {"form": "calibrated", **{name: value for name, value in values.items() if value}}
    if isinstance(cost_model, Equation4):
        rest = {name: getattr(cost_model, name) for name in ("rate", "whole_forward", "per_swapped_token")}
        return {"form": "equation-4", **rest}
    prompt = cost_model.prompt
    table = isinstance(prompt, PromptTable)
    return {
        "form": "whole-engine",
        "prompt": {"curve": "table" if table else "line", **asdict(prompt)},
        "decode": [asdict(line) for line in cost_model.decode],
        "per_squared_token": cost_model.per_squared_token,
        "per_swapped_token": cost_model.per_swapped_token,
    }


def of_json(section: Fields, model: ModelFacts | None) -> Form:
    """The cost model that a JSON object describes; raises SlosimError naming the field that is wrong."""
    form = section.text("form")
    if form == "calibrated":
        return _calibrated(section)
    if form == "whole-engine":
        return _whole_engine(section)
    if form != "equation-4":
        raise section.error("form", f"must be calibrated, whole-engine or equation-4, not {form!r}")
    if model is None:
        raise section.error("form", "is equation-4, which needs the profile's 'model'")
    section.only(("form", "rate", "whole_forward", "per_swapped_token"))
    swap = section.number("per_swapped_token", default=0.0)
    return Equation4(model, section.number("rate", 1.0), section.flag("whole_forward"), swap)


def _calibrated(section: Fields) -> Calibrated:
    section.only(("form", *names_of(Calibrated)))
    values = {"per_token": section.number("per_token", *BOUNDS["per_token"])}
    for name in set(section.values) - {"form"}:
        values[name] = float(section.number(name, *BOUNDS.get(name, (0.0, math.inf))))
    return Calibrated(**values)


def _whole_engine(section: Fields) -> WholeEngine:
    section.only(("form", "prompt", "decode", "per_squared_token", "per_swapped_token"))
    pieces = tuple(_decode_line(piece) for piece in section.sections("decode"))
    starts = [piece.from_sequences for piece in pieces]
    if starts != sorted(set(starts)) or starts[0] != 1:
        raise section.error("decode", f"must start from 1 sequence and ascend, not {starts}")
    squared, swap = (section.number(name, default=0.0) for name in ("per_squared_token", "per_swapped_token"))
    return WholeEngine(_prompt(section.section("prompt")), pieces, squared, swap)


def _decode_line(piece: Fields) -> DecodeLine:
    names = names_of(DecodeLine)
    piece.only(names)
    return DecodeLine(piece.count("from_sequences"), *(piece.number(name) for name in names[1:]))


def _prompt(section: Fields) -> PromptLine | PromptTable:
    curve = section.text("curve")
    if curve == "line":
        section.only(("curve", *names_of(PromptLine)))
        return PromptLine(section.number("fixed"), section.number("per_token", 1e-12))
    if curve != "table":
        raise section.error("curve", f"must be line or table, not {curve!r}")
    section.only(("curve", "tokens", "measured"))
    return _table(section)


def _table(section: Fields) -> PromptTable:
    tokens, measured = _ascending(section, "tokens", (int,)), _ascending(section, "measured", (int, float))
    if len(tokens) != len(measured):
        raise section.error("measured", f"has {len(measured)} numbers for {len(tokens)} of 'tokens'")
    return PromptTable(tuple(map(int, tokens)), tuple(measured))


def _ascending(section: Fields, name: str, kinds: tuple[type, ...]) -> list[float]:
    values = section.values.get(name)
    if not isinstance(values, list) or len(values) < 2 or not all(type(value) in kinds for value in values):
        raise section.error(name, f"must be a list of two or more {'numbers' if float in kinds else 'whole numbers'}")
    if not all(map(math.isfinite, values)):
        raise section.error(name, f"must be finite numbers, not {values}")
    if values[0] <= 0 or any(low >= high for low, high in pairwise(values)):
        raise section.error(name, "must be positive and ascend")
    return values
