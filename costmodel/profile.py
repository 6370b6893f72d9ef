"""A profile: the cost model of one model on some GPUs, with what is known of both and where the numbers come from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from costmodel.facts import GPUS, MODELS, GPUFacts, ModelFacts
from costmodel.facts_json import gpu_of, model_of, named
from costmodel.fields import Fields
from costmodel.forms import Form, as_json, of_json
from costmodel.pivot import Pivot, pivot
from costmodel.shape import BatchShape, prompt
from traces.errors import SlosimError

FORMAT = "slosim-profile/1"
FOLDER = Path(__file__).with_name("profiles")
PROVENANCE = ("measured_on", "what", "by", "licence")
"""Texts that every provenance must have, besides the flag `prior`."""
NAMES = ("format", "name", "model", "gpu", "tensor_parallel", "cost_model", "paper", "provenance")

NUMBERS = re.compile(r"\[[^\[\]{}]*\]")
"""A list in JSON without lists in it."""

BLOCK_SIZE = 32
"""Tokens per cache block unless another size is given: the paper's (vLLM's own default is 16)."""
MEMORY_UTILIZATION = 0.9
"""Share of the GPU's memory that the engine takes, weights included, unless another share is given: vLLM's for long."""


class Cache(NamedTuple):
    """The key-value cache of one replica."""

    kv_blocks: int
    block_size: int
    """Tokens per block."""


@dataclass(frozen=True)
class Profile:
    """What `simulate` needs of a model on its GPUs.

    `provenance` says what was measured, on what, by whom, under which licence, and whether it is a mere prior; further
    entries are for readers. `paper` holds the figures that the paper uses instead: `pivot_forward_size`, `kvc_bytes`.
    `model` and `gpu` are None where a fit was told nothing of them: then cache size and operations are unknown.
    """

    name: str
    cost_model: Form
    model: ModelFacts | None = None
    gpu: GPUFacts | None = None
    tensor_parallel: int = 1
    provenance: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)

    def kv_tokens(self, memory_utilization: float = 0.9, kvc_bytes: float | None = None) -> int:
        """Tokens that the key-value cache of all GPUs together holds.

        What weights and workspace leave of the share `memory_utilization` of the memory; or what `kvc_bytes`, a total
        over all GPUs, holds. Raises SlosimError if the weights do not fit or the facts are unknown.
        """
        if self.model is None or (self.gpu is None and kvc_bytes is None):
            raise SlosimError(f"profile {self.name} does not say its model and GPU: state the cache size (kv_blocks)")
        if kvc_bytes is None:
            assert self.gpu is not None
            per_gpu = memory_utilization * self.gpu.memory_bytes - self.gpu.reserved_bytes
            kvc_bytes = per_gpu * self.tensor_parallel - self.model.weight_bytes
        if kvc_bytes < self.model.kv_bytes_per_token:
            raise SlosimError(f"profile {self.name}: no memory is left for the cache; use more of it or more GPUs")
        return int(kvc_bytes // self.model.kv_bytes_per_token)

    def kv_blocks(self, block_size: int = 16, memory_utilization: float = 0.9, kvc_bytes: float | None = None) -> int:
        """Whole cache blocks of `block_size` tokens; the rest as in `kv_tokens`."""
        return self.kv_tokens(memory_utilization, kvc_bytes) // block_size

    def cache(
        self,
        kv_blocks: int | None = None,
        block_size: int | None = None,
        *,
        kvc_bytes: float | None = None,
        memory_utilization: float | None = None,
    ) -> Cache:
        """The cache that `simulate` and the command line take: this method alone holds their defaults.

        Blocks have `block_size` tokens, else `BLOCK_SIZE`. Their number is `kv_blocks`; else what fits into `kvc_bytes`
        or into what the weights leave of `memory_utilization`; else what fits into the paper's cache, where the profile
        knows it; else into what the weights leave of 90 % of the memory. Raises SlosimError as in `kv_tokens`.
        """
        size = BLOCK_SIZE if block_size is None else block_size
        if kv_blocks is not None:
            return Cache(kv_blocks, size)
        if kvc_bytes is None and memory_utilization is None:
            kvc_bytes = self.paper.get("kvc_bytes")
        return Cache(self.kv_blocks(size, memory_utilization or MEMORY_UTILIZATION, kvc_bytes), size)

    @cached_property
    def pivot(self) -> Pivot:
        """S_pf and T_pf as this profile's cost model has them."""
        return pivot(self.cost_model)

    @property
    def peak_operations(self) -> float:
        """Operations per second of all GPUs at their dense half-precision peak; nan if unknown."""
        return float("nan") if self.gpu is None else self.gpu.peak_operations * self.tensor_parallel

    def operations(self, shape: BatchShape) -> float:
        """Equation (4)'s operations of a batch (see `ModelFacts.operations`); fields may be arrays; nan if unknown."""
        return float("nan") if self.model is None else self.model.operations(shape)

    def prefill_time(self, tokens: int) -> float:
        """Seconds of one whole prompt computed alone."""
        return self.cost_model.iteration_time(prompt(tokens))

    @property
    def measured(self) -> Mapping[str, float]:
        """The largest batch that can have been measured, by the names of `BatchShape`; empty where that is not known.

        From the provenance: `ranges`, which fits write; else the cache of the measured engine, which no prompt and no
        context exceeded, and a table of prompts.
        """
        known = self.provenance.get("ranges")
        if isinstance(known, Mapping):
            return {str(name): float(value) for name, value in known.items() if name in BatchShape._fields}
        table, cache = getattr(getattr(self.cost_model, "prompt", None), "tokens", None), "kv_tokens_measured"
        names = ("prefill_tokens", "context_tokens") if cache in self.provenance else ()
        found = {name: float(self.provenance[cache]) for name in names}
        return found | ({"prefill_tokens": float(max(table))} if table else {})

    @property
    def prior(self) -> bool:
        """Nothing was measured: the numbers are expectations."""
        return bool(self.provenance.get("prior", False))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes a simulation: all but the provenance."""
        told = {name: value for name, value in self.as_json().items() if name != "provenance"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """The profile as a JSON object; known models and GPUs go by name."""
        values = {
            "format": FORMAT,
            "name": self.name,
            "model": named(self.model, MODELS),
            "gpu": named(self.gpu, GPUS),
            "tensor_parallel": self.tensor_parallel,
            "cost_model": as_json(self.cost_model),
            "paper": dict(self.paper),
            "provenance": dict(self.provenance),
        }
        return {name: value for name, value in values.items() if value is not None}

    def save(self, path: str | Path) -> None:
        """Writes the profile as JSON; raises SlosimError if the place cannot be written."""
        try:
            text = NUMBERS.sub(_in_one_line, json.dumps(self.as_json(), indent=2))
            Path(path).write_text(text + "\n", "utf-8")
        except OSError as error:
            raise SlosimError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def _in_one_line(numbers: re.Match[str]) -> str:
    return " ".join(numbers[0].split()).replace("[ ", "[").replace(" ]", "]")


def load(path: str | Path) -> Profile:
    """The profile in a JSON file; raises SlosimError naming the file and the field that is wrong."""
    top = Fields.of_file(Path(path))
    if top.text("format") != FORMAT:
        raise top.error("format", f"must be {FORMAT!r}, not {top.text('format')!r}")
    top.only(NAMES)
    model = model_of(top)
    return Profile(
        name=top.text("name"),
        cost_model=of_json(top.section("cost_model"), model),
        model=model,
        gpu=gpu_of(top),
        tensor_parallel=top.count("tensor_parallel"),
        provenance=_provenance(top.section("provenance")),
        paper=_paper(top),
    )


def profiles() -> list[str]:
    """The names of the profiles that come with slosim.

    >>> "opt-13b@a100-80gb" in profiles()
    True
    """
    return sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))


def profile(name_or_path: str | Path) -> Profile:
    """The profile of that name, or in that JSON file; raises SlosimError with the names that come near.

    >>> profile("opt-13b@a100-80gb-vllm").pivot.forward_size
    768
    """
    name = str(name_or_path)
    if name.endswith(".json") or isinstance(name_or_path, Path):
        return load(name_or_path)
    if name not in profiles():
        near = get_close_matches(name, profiles(), n=3, cutoff=0.4)
        meant = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(profiles())}"
        raise SlosimError(f"there is no profile {name!r:.80}: {meant} A path of your own must end in .json")
    return load(FOLDER / f"{name}.json")


def _provenance(section: Fields) -> Mapping[str, Any]:
    for name in PROVENANCE:
        section.text(name)
    section.flag("prior")
    return dict(section.values)


def _paper(top: Fields) -> Mapping[str, float]:
    if "paper" not in top.values:
        return {}
    section = top.section("paper")
    section.only(("pivot_forward_size", "kvc_bytes"))
    return {name: section.number(name, 1.0) for name in section.values}
