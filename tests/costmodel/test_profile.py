"""Profiles: cache sizes, round trips through JSON, and what a wrong file is told."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costmodel import (
    GPUS,
    MODELS,
    BatchShape,
    Calibrated,
    Equation4,
    GPUFacts,
    ModelFacts,
    Profile,
    load,
    profile,
    profiles,
    prompt,
)
from traces.errors import SlosimError

TOLD = {"measured_on": "a GPU", "what": "iterations", "by": "someone", "licence": "MIT", "prior": False}
PRIORS = {"opt-13b@h200", "llama-13b@a100-80gb", "llama-3-70b@a100-80gb-tp4"}
OWN_MODEL = ModelFacts("own", 2, 64, 4, 2, 256, 1000, 123_456, gated=True)
OWN_GPU = GPUFacts("own-gpu", 10**9, 1e12, 10**8)


@pytest.mark.parametrize(
    ("model", "gpu", "gpus", "thousands"),
    [
        ("opt-13b", "a100-40gb", 1, 13.4),
        ("opt-13b", "a100-80gb", 1, 60.1),
        ("opt-13b", "h200", 1, 132),
        ("opt-175b", "a100-80gb", 8, 53.1),
        ("opt-175b", "h200", 8, 153),
    ],
)
def test_cache_sizes_at_90_percent_of_memory(model: str, gpu: str, gpus: int, thousands: float) -> None:
    made = Profile("made", Calibrated(1e-4), MODELS[model], GPUS[gpu], gpus)
    assert made.kv_tokens() / 1000 == pytest.approx(thousands, rel=2e-3)


def test_the_papers_cache_sizes() -> None:
    small, large = profile("opt-13b@a100-80gb"), profile("opt-175b@a100-80gb-tp8")
    assert small.kv_tokens(kvc_bytes=12e9) == 14_648
    assert small.kv_tokens(kvc_bytes=12 * 2**30) == 15_728
    assert large.kv_tokens(kvc_bytes=8 * 33.75 * 2**30) == 61_440
    assert small.kv_blocks(32, kvc_bytes=small.paper["kvc_bytes"]) == 457
    assert small.kv_blocks() == small.kv_tokens() // 16
    llama, grouped = profile("llama-13b@a100-80gb"), profile("llama-3-70b@a100-80gb-tp4")
    assert llama.kv_tokens(kvc_bytes=llama.paper["kvc_bytes"]) == 14_648
    assert grouped.kv_tokens(kvc_bytes=grouped.paper["kvc_bytes"]) == 411_987
    assert grouped.kv_tokens(kvc_bytes=135 * 2**30) == 442_368


def test_a_model_that_does_not_fit_is_refused() -> None:
    made = Profile("made", Calibrated(1e-4), MODELS["opt-66b"], GPUS["a100-80gb"])
    with pytest.raises(SlosimError, match="made: no memory is left"):
        made.kv_tokens()


def test_without_facts_cache_and_operations_are_unknown() -> None:
    bare = Profile("bare", Calibrated(1e-4))
    with pytest.raises(SlosimError, match="kv_blocks"):
        bare.kv_tokens()
    assert math.isnan(bare.operations(prompt(5)))
    assert math.isnan(bare.peak_operations)
    assert not bare.prior


def test_utilisation_has_its_parts() -> None:
    made = profile("opt-175b@a100-80gb-tp8")
    assert made.peak_operations == 8 * 312e12
    assert made.operations(BatchShape(0, 1, 0, 0.0, 1)) == 24 * 96 * 12288**2
    assert made.prefill_time(100) == made.cost_model.iteration_time(prompt(100))


@pytest.mark.parametrize("name", profiles())
def test_profiles_of_ours_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    ours = profile(name)
    ours.save(tmp_path / "copy.json")
    again = profile(tmp_path / "copy.json")
    assert again == ours
    assert again.digest == ours.digest
    assert ours.name == name
    assert ours.prior == (name in PRIORS)
    assert ours.prior == (ours.provenance["measured_on"] == "nothing")


def test_the_expected_profiles_are_there() -> None:
    expected = {"opt-13b@a100-80gb", "opt-13b@a100-80gb-vllm", "opt-13b@h200", "opt-175b@a100-80gb-tp8"}
    assert expected | PRIORS <= set(profiles())
    kernel = profile("opt-13b@a100-80gb")
    assert isinstance(kernel.cost_model, Calibrated)
    assert kernel.cost_model.host_time == pytest.approx(kernel.provenance["host_time"]["seconds"], abs=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        Profile("paper", Equation4(MODELS["opt-13b"], 1e14, True), MODELS["opt-13b"], provenance=TOLD),
        Profile("own", Calibrated(1e-4), OWN_MODEL, OWN_GPU, 2, TOLD, {"kvc_bytes": 1e8}),
        Profile("plain", Equation4(OWN_MODEL, 1e14), replace(OWN_MODEL, gated=False), None, 1, TOLD),
        Profile("bare", Calibrated(1e-4, sharpness=3.0), provenance=TOLD),
    ],
)
def test_other_profiles_survive_too(made: Profile, tmp_path: Path) -> None:
    made.save(tmp_path / "made.json")
    again = load(tmp_path / "made.json")
    assert again.as_json() == made.as_json()
    assert again.model == made.model
    assert again.gpu == made.gpu


def test_the_papers_figures_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    path.write_text(json.dumps(calibrated_file(paper=...)))
    assert load(path).paper == {}


def test_the_digest_tells_what_changes_a_simulation() -> None:
    made = Profile("made", Calibrated(1e-4), MODELS["opt-13b"], provenance=TOLD)
    assert replace(made, provenance={**TOLD, "by": "another"}).digest == made.digest
    assert replace(made, cost_model=Calibrated(2e-4)).digest != made.digest
    assert replace(made, tensor_parallel=2).digest != made.digest


def test_an_unknown_name_is_told_which_come_near() -> None:
    with pytest.raises(SlosimError, match=re.escape("did you mean opt-13b@a100-80gb")):
        profile("opt13b@a100")
    with pytest.raises(SlosimError, match=r"there are .*opt-13b@h200.* must end in \.json"):
        profile("xyz")


def calibrated_file(**changes: Any) -> dict[str, Any]:
    values = Profile("made", Calibrated(1e-4), MODELS["opt-13b"], GPUS["h200"], 1, TOLD).as_json()
    return {name: value for name, value in (values | changes).items() if value is not ...}


def engine(**changes: Any) -> dict[str, Any]:
    return calibrated_file(cost_model=profile("opt-13b@a100-80gb-vllm").as_json()["cost_model"] | changes)


def table(**changes: Any) -> dict[str, Any]:
    return engine(prompt={"curve": "table", "tokens": [1, 2], "measured": [0.1, 0.2]} | changes)


LINE = {"from_sequences": 1, "fixed": 0.1, "per_context_token": 0.0, "per_sequence": 0.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (calibrated_file(format="slosim-profile/9"), "field 'format' must be 'slosim-profile/1'"),
        (calibrated_file(extra=1), "field 'extra' is not known; expected are format, name"),
        (calibrated_file(name=...), "field 'name' is missing"),
        (calibrated_file(name=""), "field 'name' must be a text"),
        (calibrated_file(model="opt-14b"), "field 'model' must be an object or one of opt-125m"),
        (calibrated_file(model={"name": "x", "layers": 0}), "model: field 'layers' must be at least 1, not 0"),
        (calibrated_file(gpu="b300"), "field 'gpu' must be an object or one of a100-40gb"),
        (calibrated_file(gpu={"name": "x"}), "gpu: field 'peak_operations' is missing"),
        (calibrated_file(tensor_parallel=1.5), "field 'tensor_parallel' must be a whole number"),
        (calibrated_file(tensor_parallel=0), "field 'tensor_parallel' must be at least 1"),
        (calibrated_file(provenance={**TOLD, "by": 3}), "provenance: field 'by' must be a text"),
        (calibrated_file(provenance={**TOLD, "prior": "no"}), "provenance: field 'prior' must be true or false"),
        (calibrated_file(paper={"rate": 8}), "paper: field 'rate' is not known"),
        (calibrated_file(cost_model=3), "cost_model: must be an object of named fields, not int"),
        (calibrated_file(cost_model={"form": "table"}), "field 'form' must be calibrated, whole-engine or equation-4"),
        (calibrated_file(cost_model={"form": "calibrated"}), "cost_model: field 'per_token' is missing"),
        (calibrated_file(cost_model={"form": "calibrated", "per_token": "1"}), "'per_token' must be a number"),
        (calibrated_file(cost_model={"form": "calibrated", "per_token": True}), "'per_token' must be a number"),
        (calibrated_file(cost_model={"form": "calibrated", "per_token": 1e-4, "alpha": 1}), "'alpha' is not known"),
        (
            calibrated_file(cost_model={"form": "calibrated", "per_token": 1e-4, "sharpness": 0.5}),
            "'sharpness' must be from 1 to 20, not 0.5",
        ),
        (calibrated_file(model=..., cost_model={"form": "equation-4"}), "needs the profile's 'model'"),
        (calibrated_file(cost_model={"form": "equation-4", "rate": 0}), "'rate' must be at least 1"),
        (engine(decode=[]), "field 'decode' must be a list of objects"),
        (engine(decode=[{**LINE, "from_sequences": 2}]), "field 'decode' must start from 1 sequence"),
        (engine(decode=[LINE, LINE]), "must start from 1 sequence and ascend, not [1, 1]"),
        (engine(decode=[LINE, {**LINE, "slope": 1}]), "decode[1]: field 'slope' is not known"),
        (engine(prompt={"curve": "spline"}), "prompt: field 'curve' must be line or table"),
        (engine(prompt={"curve": "line", "fixed": 0.1}), "prompt: field 'per_token' is missing"),
        (table(tokens=[1]), "prompt: field 'tokens' must be a list of two or more whole numbers"),
        (table(tokens=[1, 1.5]), "prompt: field 'tokens' must be a list of two or more whole numbers"),
        (table(measured=[True, 2]), "prompt: field 'measured' must be a list of two or more numbers"),
        (table(measured=[0.1, math.nan]), "prompt: field 'measured' must be finite numbers, not [0.1, nan]"),
        (table(measured=[0.2, 0.1]), "prompt: field 'measured' must be positive and ascend"),
        (table(measured=[0.1, 0.2, 0.3]), "prompt: field 'measured' has 3 numbers for 2 of 'tokens'"),
        ([], "must be an object of named fields, not list"),
    ],
)
def test_a_wrong_field_is_named(values: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(values))
    with pytest.raises(SlosimError) as raised:
        profile(path)
    assert str(raised.value).startswith(str(path))
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="cannot be read"):
        profile(str(tmp_path / "none.json"))
    (tmp_path / "cut.json").write_text('{"format": ')
    with pytest.raises(SlosimError, match="is not JSON"):
        load(tmp_path / "cut.json")
    with pytest.raises(SlosimError, match="cannot be written"):
        profile("opt-13b@h200").save(tmp_path / "no" / "folder.json")


def test_nan_in_a_file_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "nan.json"
    path.write_text(json.dumps(calibrated_file(cost_model={"form": "calibrated", "per_token": math.nan})))
    with pytest.raises(SlosimError, match="must be a number"):
        load(path)


def test_importing_costmodel_and_reading_a_profile_loads_nothing_heavy(root: Path) -> None:
    program = (
        "import sys, costmodel; costmodel.profile('opt-13b@h200').pivot;"
        "print(*(name for name in ('scipy', 'pandas', 'pydantic', 'torch') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == []


def test_the_default_cache_is_the_paper_s_where_the_profile_knows_it() -> None:
    """12 GB hold 14,648 tokens of 819,200 bytes: 457 blocks of 32; without the paper's cache, 90 % of the memory."""
    ours = profile("opt-13b@a100-80gb-vllm")
    assert ours.cache() == (12_000_000_000 // 819_200 // 32, 32) == (457, 32)
    assert ours.cache(block_size=16) == (915, 16)
    assert ours.cache(kv_blocks=5) == (5, 32)
    assert ours.cache(memory_utilization=0.5) == (ours.kv_blocks(32, 0.5), 32)
    assert ours.cache(kvc_bytes=819_200 * 320) == (10, 32)
    other = replace(ours, paper={})
    assert other.cache() == (ours.kv_blocks(32, 0.9), 32)
    assert other.cache().kv_blocks > 457


def test_the_measured_range_of_a_profile() -> None:
    """From the ranges that a fit wrote, else from the engine's cache or its table of prompts; of a prior nothing."""
    kernels, engine, prior = (profile(f"opt-13b@{name}") for name in ("a100-80gb", "a100-80gb-vllm", "h200"))
    assert kernels.measured["prefill_tokens"] == 4096
    assert kernels.measured["context_tokens"] == 65_536
    assert engine.measured == {"prefill_tokens": 66_144, "context_tokens": 66_144}
    assert profile("bloom-176b@a100-80gb-tp8").measured["prefill_tokens"] == 8192
    assert prior.measured == {}
    assert replace(kernels, provenance={**kernels.provenance, "ranges": {}}).digest == kernels.digest


def test_positions_of_a_model_of_one_s_own_are_kept(tmp_path: Path) -> None:
    for positions in (None, 4096):
        mine = replace(profile("opt-13b@a100-80gb"), model=replace(OWN_MODEL, positions=positions))
        mine.save(tmp_path / "mine.json")
        assert load(tmp_path / "mine.json").model == mine.model
        assert ("positions" in json.loads((tmp_path / "mine.json").read_text())["model"]) == (positions is not None)
