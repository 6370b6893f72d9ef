"""Priors for the paper's Llama models, of which nothing was measured here: measured A100 profiles, scaled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from calibrate.fit import brief
from costmodel.facts import MODELS, ModelFacts
from costmodel.forms import names_of
from costmodel.model import Calibrated
from costmodel.profile import Profile

PAPER = {"llama-13b": {"kvc_bytes": 12e9}, "llama-3-70b": {"kvc_bytes": 135e9}}
"""Stated in the paper; read as powers of ten (inferred)."""
SCALED = {
    "per_token": "per weight of the layers' matrices",
    "weight_time": "per weight that a forward reads: the layers' matrices and the head",
    "per_pair": "per layer and width of the heads",
    "per_context_token": "per byte of cache that a token takes",
    "per_swapped_token": "per byte of cache that a token takes",
}
"""What each coefficient is in proportion to, on one GPU."""


def llama_13b(measured: Profile) -> Profile:
    """Llama-13B on one GPU, of the profile of OPT-13B on one."""
    told = SCALED | {"others": "as they are: sharpness, tiles, host time, per_decode"}
    return _prior(measured, _scaled(measured, MODELS["llama-13b"], 1), "llama-13b", 1, measured.name, told)


def llama_3_70b(single: Profile, sharded: Profile) -> Profile:
    """Llama-3-70B on four GPUs: the arithmetic and reading of `single`, the exchange and the host of `sharded`.

    The exchange is what `sharded` takes beyond `single` scaled to its model and GPUs (inferred): its part per token
    goes with the bytes that a ring of GPUs sends, its fixed part and the host time with the layers (guesses).
    """
    facts, gpus = MODELS["llama-3-70b"], 4
    assert sharded.model is not None
    assert isinstance(sharded.cost_model, Calibrated)
    theirs, alone = sharded.cost_model, _scaled(single, sharded.model, sharded.tensor_parallel)
    layers = facts.layers / sharded.model.layers
    sent = _sent(facts, gpus) / _sent(sharded.model, sharded.tensor_parallel)
    own = _scaled(single, facts, gpus)
    model = replace(
        own,
        per_token=own.per_token + sent * (theirs.per_token - alone.per_token),
        weight_time=own.weight_time + layers * (theirs.weight_time - alone.weight_time),
        host_time=layers * theirs.host_time,
        sharpness=theirs.sharpness,
        tile_share=theirs.tile_share,
        per_decode=theirs.per_decode,
    )
    told = SCALED | {
        "exchange": f"what {sharded.name} takes beyond {single.name} scaled to it: of per_token in proportion to the "
        "bytes that a ring sends, layers x width x 2 (n - 1) / n; of weight_time to the layers (guesses)",
        "host_time": f"of {sharded.name}, per layer (a guess; there it is an upper estimate)",
        "others": f"as they are in {sharded.name}: sharpness, tiles, per_decode",
    }
    return _prior(single, model, facts.name, gpus, f"{single.name} and {sharded.name}", told)


def _scaled(measured: Profile, facts: ModelFacts, gpus: int) -> Calibrated:
    """A profile's rates on another model's share per GPU, nothing exchanged."""
    assert measured.model is not None
    assert isinstance(measured.cost_model, Calibrated)
    known, here = _demands(measured.model, measured.tensor_parallel), _demands(facts, gpus)
    return replace(
        measured.cost_model,
        **{name: getattr(measured.cost_model, name) * here[name] / known[name] for name in SCALED},
    )


def _demands(facts: ModelFacts, gpus: int) -> dict[str, float]:
    """What each coefficient of SCALED is in proportion to."""
    cache = facts.kv_bytes_per_token / gpus
    return {
        "per_token": facts.matrix_parameters / gpus,
        "weight_time": (facts.matrix_parameters + facts.vocabulary * facts.hidden) / gpus,
        "per_pair": facts.layers * facts.hidden / gpus,
        "per_context_token": cache,
        "per_swapped_token": cache,
    }


def _sent(facts: ModelFacts, gpus: int) -> float:
    """Numbers that a GPU sends for a token in the sums over shards, but for a constant."""
    return facts.layers * facts.hidden * 2 * (gpus - 1) / gpus


def _prior(like: Profile, model: Calibrated, name: str, gpus: int, source: str, told: dict[str, str]) -> Profile:
    provenance: dict[str, Any] = {
        "measured_on": "nothing",
        "what": f"a prior: {source}, scaled to the model's sizes; `scaled` says how",
        "by": "slosim",
        "licence": "Apache-2.0",
        "prior": True,
        "scaled": told,
    }
    rounded = Calibrated(**{each: brief(getattr(model, each)) for each in names_of(Calibrated)})
    title = f"{name}@a100-80gb" + f"-tp{gpus}" * (gpus > 1)
    return Profile(title, rounded, MODELS[name], like.gpu, gpus, provenance, PAPER[name])
