"""One story, told three ways: stepping with the plain pool, stepping with the fast pool, and coasting."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import inf
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel import Calibrated
from sim.audit import audit
from sim.batch import Batch
from sim.registry import BUILT_IN
from sim.result import RunResult
from sim.router import LeastLoaded
from sim.scheduler import Scheduler
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.cacheopt.policy import CacheOpt
from sim.schedulers.econoserve import EconoServe
from sim.schedulers.fastgen import FastGen
from sim.schedulers.oracle import Oracle
from sim.schedulers.orca import Orca
from sim.schedulers.planned import Agenda, Planned
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, Whimsical, blocks_for_largest, differences, little_trace
from tests.sim.strategies import POLICIES as ANY_POLICY
from tests.sim.strategies import WORKLOADS
from traces import SLO, Trace

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
    "oracle-requests": Oracle("requests", candidates=2),
    "planned": Planned(Agenda((5, 9, 2, 7, 11, 0), ((2, 0.3), (7, 0.7), (9, 50.0)))),
    "orca": Orca(max_num_seqs=8, max_output=20),
    "orca-model": Orca(max_model_len=70),
    "fastgen": FastGen(max_ragged_batch_size=40),
    "fastgen-early": FastGen(24, 16, max_tracked_sequences=8, max_model_len=50, flush="early"),
    "fastgen-immediate": FastGen(40, 6, flush="immediate"),
    "econoserve": EconoServe(forward_size=40, default_output=10),
    "econoserve-blocks": EconoServe(forward_size=40, exact_allocation=False, ordering=False, reserve=0.0),
    "cacheopt": CacheOpt(),
    "cacheopt-chunked": CacheOpt(True, 40, reserve_blocks=1, output_range=9.0, chunk=3, urgency=0.0, cuts="all"),
    "whimsical": Whimsical(),
    "whimsical-patient": Whimsical(patient=True, whim=0.5),
    "whimsical-ahead": Whimsical(ahead=0.5, whim=0.5),
    "whimsical-ahead-patient": Whimsical(ahead=0.3, whim=0.4, patient=True, release_delay=1),
    "whimsical-moody": Whimsical(patient=True, whim=0.4, mood=0.0625),
    "whimsical-late": Whimsical(release_delay=2),
    "whimsical-late-patient": Whimsical(release_delay=2, patient=True, whim=0.5),
}
LOADS = {"burst": 0.0, "busy": 1.0, "idle": 60.0}
CACHES = (0, 2, 20)
"""Blocks beyond what the largest request needs."""


def told_three_ways(trace: Trace, policy: Scheduler | str, model: Calibrated = MODEL, **options: Any) -> RunResult:
    """Simulates by all ways, and demands one story; returns it."""
    coasting = simulate(trace, policy, model, **options)
    stepping = simulate(trace, policy, model, coast=False, **options)
    plain = simulate(trace, policy, model, plain=True, **options)
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
    assert preemptions or name.startswith(("oracle", "orca", "planned"))


def test_the_grid_is_hard() -> None:
    """Everything that the three ways must agree on does happen."""
    trace = little_trace(3, requests=40)
    result = told_three_ways(trace, Whimsical(3), kv_blocks=blocks_for_largest(trace, 4) + 4, block_size=4)
    requests, iterations = result.requests, result.iterations
    assert requests["preemptions"].sum() > requests["swaps"].sum() > 3
    assert len(result.rejections) > 0
    assert iterations["swapped_tokens"].max() > 0
    assert np.bincount(result.spans["request"]).max() > 3, "pauses"
    assert (iterations["running"] > iterations["sequences"]).any()
    assert (np.diff(iterations["end"]) == 0).any(), "batches that only move"


@pytest.mark.parametrize("name", POLICIES)
def test_horizons_and_replicas(name: str) -> None:
    trace = little_trace(11, requests=40, spread=0.8)
    blocks = blocks_for_largest(trace, 4) + 8
    whole = told_three_ways(trace, POLICIES[name], kv_blocks=blocks, block_size=4, replicas=3)
    assert set(whole.iterations["server"]) == {0, 1, 2}
    routed = told_three_ways(trace, POLICIES[name], kv_blocks=blocks, block_size=4, replicas=2, router=LeastLoaded())
    assert not audit(routed)
    for horizon in (0.2, 0.6, 1.4):
        cut = told_three_ways(trace, POLICIES[name], kv_blocks=blocks, block_size=4, horizon=horizon)
        assert set(cut.requests["status"]) & {2, 3}
        assert cut.iterations["end"].max() <= horizon
        assert not audit(cut)


@given(ANY_POLICY, WORKLOADS, st.sampled_from((1, 3, 16)), st.sampled_from((0, 1, 3, 100)), st.integers(1, 2))
def test_any_policy_any_workload(policy: Scheduler, trace: Trace, size: int, spare: int, replicas: int) -> None:
    blocks = blocks_for_largest(trace, size) + spare
    result = told_three_ways(trace, policy, kv_blocks=blocks, block_size=size, replicas=replicas)
    assert not audit(result)


CONSTANT = Calibrated(per_token=0.0, host_time=0.125)
"""Every iteration lasts as long: with arrivals at multiples of it, nearly everything happens at once."""
PER_TOKEN = Calibrated(per_token=2.0**-10, host_time=0.125)
"""A power of two a token: replicas fall in and out of step, and their times are exact."""
ROWS = st.tuples(
    st.one_of(st.integers(0, 40).map(lambda eighths: eighths / 8), st.just(0.0), st.floats(0.0, 5.0)),
    st.one_of(st.integers(1, 60), st.integers(1, 300)),
    st.one_of(st.integers(1, 20), st.sampled_from((1, 4, 60, 200))),
    st.sampled_from((SLO(), SLO(ttft=0.5, tbt=0.2), SLO(ttft=2.0), SLO(jct=8.0), SLO(tbt=0.25))),
)
TIES = st.lists(ROWS, min_size=1, max_size=16).map(lambda rows: Trace.from_rows(sorted(rows, key=lambda row: row[0])))
SHARE = settings(max_examples=settings.default.max_examples // 8)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", BUILT_IN)
@SHARE
@given(
    trace=TIES,
    model=st.sampled_from((MODEL, CONSTANT, PER_TOKEN)),
    block_size=st.sampled_from((1, 2, 3, 4, 7, 16, 32, 64, 256, 1024, 4096)),
    spare=st.sampled_from((0, 1, 2, 3, 10, 100)),
    replicas=st.integers(1, 4),
    router=st.sampled_from((None, LeastLoaded())),
    horizon=st.sampled_from((None, None, 1.0, 2.5, 6.1)),
)
def test_every_policy_as_it_is_registered(
    name: str,
    trace: Trace,
    model: Calibrated,
    block_size: int,
    spare: int,
    replicas: int,
    router: LeastLoaded | None,
    horizon: float | None,
) -> None:
    """Default settings, times that tie exactly, replicas, blocks of 1 to 4,096 tokens, horizons."""
    options = {"block_size": block_size, "kv_blocks": blocks_for_largest(trace, block_size) + spare}
    result = told_three_ways(trace, name, model, **options, replicas=replicas, router=router, horizon=horizon)
    assert not audit(result)


def test_late_blocks_end_coasting_beside_a_router() -> None:
    """The first replica's first request finishes while none waits and its last one decodes on. Its two blocks come free
    when the second batch after starts, and not when that last one has finished, too."""
    trace = Trace.from_rows([(0.5, 5, 3), (0.5, 6, 4), (0.625, 5, 4)])
    result = told_three_ways(trace, "fastgen", PER_TOKEN, kv_blocks=11, block_size=4, replicas=2)
    mine = result.iterations["server"] == 0
    assert result.iterations["sequences"][mine].tolist() == [1, 2, 2, 1, 1]
    assert result.iterations["free_blocks"][mine].tolist() == [9, 7, 7, 7, 9]


class Stalls(Scheduler):
    """Admits whoever fits with the first chunk: a started prompt may wait for memory until somebody finishes."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1000)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        if not server.prefilling:
            for request in server.waiting:
                batch.admit(request, 8, reserve=30 if request.prompt_tokens < 8 else 8)
        batch.hold()
        return batch


def test_a_finish_is_news_to_a_started_prompt() -> None:
    """Nobody waits and one prompt is half done for lack of memory: it goes on as soon as another request finishes."""
    trace = Trace.from_rows([(0.0, 8, 8), (0.0, 24, 1), (0.0, 4, 30)])
    result = told_three_ways(trace, Stalls(), kv_blocks=12, block_size=6)
    finished = result.requests["finished_at"]
    assert finished[0] < finished[1] < finished[2]
    assert (result.requests["status"] == 0).all()


class Rests(Scheduler):
    """The three oldest decode, the others sit out with their cache; newcomers start while there is room for two."""

    asked = 0

    def schedule(self, server: Server) -> Batch:
        type(self).asked += 1
        batch = server.new_batch(1000)
        batch.decode_all()
        for request in server.running[3:]:
            batch.pause(request)
        for request in server.waiting:
            if server.running_count + len(batch.admitted) > 8 or not batch.admit(request, reserve=12):
                break
        batch.hold(head_of_line=True)
        return batch


def test_who_sits_out_does_not_keep_the_others_from_coasting() -> None:
    """One after the other finishes, and with nobody waiting the next of those who rest takes the place at once."""
    trace = Trace.from_rows([(0.0, 4, 9 + 7 * number % 40) for number in range(20)])
    result = told_three_ways(trace, Rests(), kv_blocks=200, block_size=4)
    assert result.iterations["decode_tokens"].max() == 3
    assert len(set(result.requests["finished_at"])) == len(trace)
    Rests.asked = 0
    simulate(trace, Rests(), MODEL, kv_blocks=200, block_size=4)
    assert Rests.asked < len(result.iterations["end"]) / 3


@dataclass(frozen=True)
class FirstThatFits(Scheduler):
    """Whoever fits whole beside those who run starts, in order of arrival; the others are passed over."""

    tells: bool = True
    """Whether it promises that who does not fit now will not fit."""
    asked: ClassVar[int] = 0

    def schedule(self, server: Server) -> Batch:
        type(self).asked += 1
        batch = server.new_batch(1000)
        batch.decode_all()
        for request in [] if batch.preempted else server.waiting:
            batch.admit(request, request.known_tokens)
        batch.hold(room=batch.blocks_left * server.block_size if self.tells else inf)
        return batch


def test_who_finds_no_room_does_not_end_coasting() -> None:
    """Long prompts come one after the other; a few short ones among them go first."""
    rows = [(0.0, 100, 95), *((0.3 + 0.02 * n, 3 if n % 20 == 7 else 110 + n, 2) for n in range(60))]
    trace, options = Trace.from_rows(rows), {"kv_blocks": 50, "block_size": 4}
    story, asked = told_three_ways(trace, FirstThatFits(), **options), []
    started = story.requests["admitted_at"]
    assert (started[8:49:20] < started[7:48:20]).all()
    for tells in (True, False):
        FirstThatFits.asked = 0
        simulate(trace, FirstThatFits(tells), MODEL, **options)
        asked.append(FirstThatFits.asked)
    assert asked[0] < asked[1] - 30


@dataclass(frozen=True)
class Counted(Scheduler):
    """Another policy, and how often it was asked after half a second, while the first request runs."""

    policy: Scheduler
    times: ClassVar[int] = 0

    def bind(self, server: Server) -> Scheduler:
        bound = self.policy.bind(server)
        decide = bound.schedule

        def schedule(server: Server) -> Batch:
            Counted.times += 0.5 < server.now < 1.5
            return decide(server)

        bound.schedule = schedule  # type: ignore[method-assign]
        return bound


NEARLY_FULL: dict[str, Scheduler] = {
    "accelgen": AccelGen(pivot=256),
    "cacheopt": CacheOpt(default_output=20, padding=False, reserve_blocks=0),
    "cacheopt-no-hosts": CacheOpt(allocation="prompt", embedding=False, reserve_blocks=0),
}


@pytest.mark.parametrize("name", NEARLY_FULL)
@pytest.mark.parametrize("late", [True, False])
def test_newcomers_of_all_lengths_while_the_cache_is_nearly_full(name: str, late: bool) -> None:
    """Those that just fit, and those that just do not, too; the policy is not asked about the long ones."""
    policy, slo = NEARLY_FULL[name], SLO(ttft=0.02 if late else 30.0, tbt=0.1)
    asked = {}
    for prompt in range(1, 71):
        rows = [(0.0, 200, 90, slo), (0.4, 110, 9, slo), *((0.6 + 0.08 * n, prompt, 3, slo) for n in range(10))]
        told_three_ways(trace := Trace.from_rows(rows), policy, kv_blocks=75, block_size=4)
        if prompt in (5, 70):
            Counted.times = 0
            simulate(trace, Counted(policy), MODEL, kv_blocks=75, block_size=4)
            asked[prompt] = Counted.times
    assert asked[70] < 5
    assert asked[5] > 10
