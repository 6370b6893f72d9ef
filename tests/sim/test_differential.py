"""One story, told three ways: stepping with the plain pool, stepping with the fast pool, and coasting."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.oracle import Oracle
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.simulation import simulate
from tests.sim.stories import MODEL, Whimsical, blocks_for_largest, differences, little_trace
from traces import Trace

POLICIES: dict[str, Scheduler] = {
    "vllm": Vllm(),
    "vllm-swap": Vllm(preemption="swap"),
    "vllm-chunked": Vllm(chunked_prefill=True, max_num_batched_tokens=40, max_num_seqs=8),
    "vllm-chunked-swap": Vllm(chunked_prefill=True, max_num_batched_tokens=40, preemption="swap"),
    "vllm-0.2.7": Vllm(max_num_batched_tokens=200, max_paddings=30),
    "v1": VllmV1(max_num_batched_tokens=64),
    "v1-optimist": VllmV1(max_num_batched_tokens=64, reserve_full_prompt=False, watermark=0.1),
    "v1-threshold": VllmV1(max_num_batched_tokens=64, long_prefill_token_threshold=10),
    "sarathi": Sarathi(chunk_size=40, max_num_seqs=32),
    "accelgen": AccelGen(pivot=64),
    "accelgen-chunk": AccelGen(pivot=64, admission="chunk", token_budget="inverse"),
    "oracle": Oracle(),
    "whimsical": Whimsical(),
    "whimsical-patient": Whimsical(patient=True, whim=0.5),
}
LOADS = {"burst": 0.0, "busy": 1.0, "idle": 60.0}
CACHES = (0, 2, 20)
"""Blocks beyond what the largest request needs."""


def told_three_ways(trace: Trace, policy: Scheduler, **options: Any) -> RunResult:
    """Simulates by all ways, and demands one story; returns it."""
    coasting = simulate(trace, policy, MODEL, **options)
    stepping = simulate(trace, policy, MODEL, coast=False, **options)
    plain = simulate(trace, policy, MODEL, plain=True, **options)
    assert not differences(plain, stepping), "plain pool and fast pool"
    assert not differences(stepping, coasting), "stepping and coasting"
    return plain


@pytest.mark.parametrize("name", POLICIES)
def test_grid(name: str) -> None:
    preemptions = 0
    for number, (spread, spare, block_size) in enumerate(product(LOADS.values(), CACHES, (1, 4, 16))):
        trace = little_trace(number, requests=25, spread=spread)
        blocks = blocks_for_largest(trace, block_size) + spare * 16 // block_size
        result = told_three_ways(trace, POLICIES[name], kv_blocks=blocks, block_size=block_size)
        assert (result.requests["status"] <= 1).all()
        preemptions += result.requests["preemptions"].sum()
    assert preemptions or name == "oracle"
