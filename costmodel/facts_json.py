"""Model and GPU facts in a profile: known ones by their name, others spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from costmodel.facts import GPUS, MODELS, GPUFacts, ModelFacts
from costmodel.fields import Fields
from costmodel.forms import names_of


def named(facts: ModelFacts | GPUFacts | None, known: Mapping[str, Any]) -> Any:
    """The name of known facts, the facts spelled out of others, None for none."""
    if facts is None or known.get(facts.name) == facts:
        return facts.name if facts else None
    return {name: value for name, value in asdict(facts).items() if value is not None}


def model_of(top: Fields) -> ModelFacts | None:
    """The model that field `model` names or spells out; None without one; raises SlosimError if it is wrong."""
    given = top.values.get("model")
    if given is None or (isinstance(given, str) and given in MODELS):
        return MODELS[given] if given else None
    if isinstance(given, str):
        raise top.error("model", f"must be an object or one of {', '.join(MODELS)}, not {given!r}")
    section = top.section("model")
    names = names_of(ModelFacts)
    section.only(names)
    sizes = {name: section.count(name) for name in names if name not in ("name", "gated", "positions")}
    positions = section.count("positions") if "positions" in section.values else None
    gated = "gated" in section.values and section.flag("gated")
    return ModelFacts(section.text("name"), gated=gated, positions=positions, **sizes)


def gpu_of(top: Fields) -> GPUFacts | None:
    """The GPU that field `gpu` names or spells out; None without one; raises SlosimError if it is wrong."""
    given = top.values.get("gpu")
    if given is None or (isinstance(given, str) and given in GPUS):
        return GPUS[given] if given else None
    if isinstance(given, str):
        raise top.error("gpu", f"must be an object or one of {', '.join(GPUS)}, not {given!r}")
    section = top.section("gpu")
    section.only(("name", "memory_bytes", "peak_operations", "reserved_bytes"))
    peak = section.number("peak_operations", 1.0)
    return GPUFacts(section.text("name"), section.count("memory_bytes"), peak, section.count("reserved_bytes", 0))
