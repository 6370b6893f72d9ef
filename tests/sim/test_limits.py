"""Limits that a run went beyond: reported once, with shares that a count over all iterations gives."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import MODELS, profile
from sim.limits import UNITS, LimitWarning
from sim.result import RunResult
from sim.simulation import simulate
from tests.sim.stories import MODEL, little_trace
from traces import Trace, paper_mix

PROFILE = profile("opt-13b@a100-80gb-vllm")


def with_ranges(**ranges: float) -> Any:
    return replace(PROFILE, provenance={**PROFILE.provenance, "ranges": ranges})


def about(result: RunResult, word: str) -> list[str]:
    return [str(warning) for warning in result.warnings if word in str(warning)]


def test_a_long_prompt_in_a_vast_cache_is_told_and_served() -> None:
    """A prompt of 500,000 tokens under OPT-13B (2,048 positions, weights of 25.7 GB) in a cache of 24 TiB."""
    blocks = 24 * 2**40 // (PROFILE.model.kv_bytes_per_token * 32)  # type: ignore[union-attr]
    with pytest.warns(LimitWarning) as caught:
        result = simulate(Trace.from_rows([(0.0, 500_000, 3)]), "vllm", PROFILE, kv_blocks=blocks)
    told = [str(each.message) for each in caught]
    assert told == [str(each) for each in result.warnings]
    assert told[0].startswith("1 of 1 requests longer than the 2,048 positions of opt-13b (up to 500,003 tokens)")
    assert told[1].startswith("the KV cache of 26.4 TB does not fit: a100-80gb has 84.9 GB")
    assert "leave 59.2 GB" in told[1]
    assert told[2].startswith(
        "100.0% of iterations are extrapolated beyond what opt-13b@a100-80gb-vllm was measured on"
    )
    assert "500,000 prompt tokens (measured up to 66,144)" in told[2]
    assert result.requests["status"].tolist() == [0], "told, not enforced"


def test_within_all_limits_nothing_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = simulate(Trace.from_rows([(0.0, 1000, 100)] * 5), "vllm", PROFILE)
        assert result.warnings == []
        assert simulate(little_trace(0), "vllm", MODEL, kv_blocks=10**9).warnings == [], (
            "a bare cost model says nothing"
        )


def test_what_max_model_len_rejects_is_not_too_long() -> None:
    trace = paper_mix(60, 2.0)
    tokens = trace.prompt_tokens.astype(np.int64) + trace.output_tokens
    longer = int((tokens > 2048).sum())
    assert longer
    assert about(simulate(trace, "vllm", PROFILE), "positions")[0].startswith(f"{longer} of 60 requests")
    assert not about(simulate(trace, "vllm", PROFILE, max_model_len=2048), "positions")
    between = int(((tokens > 2048) & (tokens <= 4096)).sum())
    told = about(simulate(trace, "vllm", PROFILE, max_model_len=4096), "positions")
    assert told[0].startswith(f"{between} of 60 requests") if between else not told


@given(st.integers(0, 50), st.integers(1, 60), st.integers(1, 12), st.integers(1, 400), st.integers(1, 3))
def test_the_share_is_that_of_all_iterations(
    seed: int, prefill: int, decodes: int, context: int, replicas: int
) -> None:
    ranges = {"prefill_tokens": prefill, "decode_tokens": decodes, "context_tokens": context}
    trace = little_trace(seed, requests=25)
    result = simulate(trace, "vllm", with_ranges(**ranges), kv_blocks=30, block_size=16, replicas=replicas)
    rows = result.iterations
    over = np.zeros(len(rows["end"]), bool)
    for name, most in ranges.items():
        over |= rows[name] > most
    told = about(result, "extrapolated")
    assert bool(told) == over.any()
    if told:
        share = over.mean()
        number = f"{share:.1%} of" if share >= 0.001 else f"{over.sum():,} of {len(over):,}"
        assert told[0].startswith(number)
        for name, most in ranges.items():
            peak = rows[name].max()
            assert (f"{peak:,.0f} {UNITS[name]} (measured up to {most:,})" in told[0]) == (peak > most)


def test_known_models_have_positions() -> None:
    """OPT: 2,048 (Zhang et al.); BLOOM: trained on 2,048; Llama 2,048, Llama 3 8,192, Llama 3.1 131,072."""
    assert {model.positions for name, model in MODELS.items() if name.startswith(("opt", "bloom"))} == {2048}
    assert [MODELS[f"llama-{name}"].positions for name in ("13b", "3-70b", "3.1-8b")] == [2048, 8192, 131_072]
    unknown = replace(PROFILE, model=replace(MODELS["opt-13b"], positions=None))
    assert not about(simulate(Trace.from_rows([(0.0, 5000, 3)]), "vllm", unknown), "positions")
