"""Priors of the Llama models: hand-worked sums, and nothing faster than the hardware."""

from __future__ import annotations

import pytest

from calibrate.priors import llama_3_70b, llama_13b
from costmodel import Calibrated, Profile, profile

BANDWIDTH = 2.039e12
"""Bytes per second of an A100's memory, as published."""


@pytest.fixture(scope="module")
def single() -> Profile:
    return profile("opt-13b@a100-80gb")


@pytest.fixture(scope="module")
def sharded() -> Profile:
    return profile("opt-175b@a100-80gb-tp8")


def times(found: Profile) -> Calibrated:
    assert isinstance(found.cost_model, Calibrated)
    return found.cost_model


def test_llama_13b_is_opt_13b_with_a_gated_network(single: Profile) -> None:
    made, known = times(llama_13b(single)), times(single)
    assert made.per_token / known.per_token == pytest.approx(317_194_240 / 314_572_800, rel=1e-5)
    read = (40 * 317_194_240 + 32_000 * 5120) / (40 * 314_572_800 + 50_272 * 5120)
    assert made.weight_time / known.weight_time == pytest.approx(read, rel=1e-5)
    same = ("per_pair", "per_context_token", "per_swapped_token", "per_decode", "host_time", "sharpness", "tile_share")
    assert all(getattr(made, name) == getattr(known, name) for name in same)


def test_llama_3_70b_by_hand(single: Profile, sharded: Profile) -> None:
    """17.11e9 weights per GPU of OPT-13B's 12.58e9, and what OPT-175B's 21.74e9 take beyond that rate."""
    made, one, many = times(llama_3_70b(single, sharded)), times(single), times(sharded)
    own, theirs = 17_112_760_320 / 12_582_912_000, 21_743_271_936 / 12_582_912_000
    sent = (80 * 8192 * 3 / 4) / (96 * 12288 * 7 / 8)
    expected = own * one.per_token + sent * (many.per_token - theirs * one.per_token)
    assert made.per_token == pytest.approx(expected, rel=1e-5) == pytest.approx(1.818e-4, rel=1e-3)
    assert made.per_context_token == pytest.approx(one.per_context_token * 327_680 / 4 / 819_200, rel=1e-5)
    assert made.per_swapped_token == pytest.approx(327_680 / 4 / 25e9, rel=1e-5)
    assert made.per_pair == pytest.approx(one.per_pair * (80 * 8192 / 4) / (40 * 5120), rel=1e-5)
    assert made.host_time == pytest.approx(many.host_time * 80 / 96, rel=1e-5)
    assert (made.sharpness, made.tile_share) == (many.sharpness, many.tile_share)
    fixed = 1000 * (made.weight_time - one.weight_time * 69_501_714_432 / 4 / 12_840_304_640)
    assert fixed == pytest.approx(5.5, abs=0.1), "milliseconds: 160 exchanges of 34 us"


@pytest.mark.parametrize("name", ["llama-13b@a100-80gb", "llama-3-70b@a100-80gb-tp4"])
def test_a_prior_is_within_what_the_hardware_can(name: str) -> None:
    found, made = profile(name), times(profile(name))
    assert found.prior
    assert found.model is not None
    gpus = found.tensor_parallel
    assert 0.4 < 2 * found.model.matrix_parameters / made.per_token / found.peak_operations < 0.8
    assert 0.5 < found.model.weight_bytes / gpus / made.weight_time / BANDWIDTH < 0.9
    assert 0.5 < found.model.kv_bytes_per_token / gpus / made.per_context_token / BANDWIDTH < 0.9
    assert 0.1 < 4 * found.model.layers * found.model.hidden / made.per_pair / found.peak_operations < 0.8
