"""No policy is better than the bounds of its run, on random workloads, machines and settings.

SLOSIM_SEEDS=40 tries forty times as many.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import pytest

from costmodel import Calibrated, CostModel, Equation4, WholeEngine, profile
from costmodel.facts import MODELS as FACTS
from costmodel.whole_engine import DecodeLine, PromptTable
from experiments.bound.course import Course, unpacked
from experiments.bound.shares import Bounds, bounds_of, share, shares
from sim.batch import Batch
from sim.machine import Machine
from sim.registry import BUILT_IN
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, Whimsical, blocks_for_largest, little_trace
from traces import SLO, Trace, TraceRow

MACHINES: tuple[CostModel, ...] = (
    MODEL,
    profile("opt-13b@a100-80gb-vllm").cost_model,
    WholeEngine(
        PromptTable((8, 64, 256), (0.02, 0.03, 0.09)),
        (DecodeLine(1, 0.02, 1e-6, 1e-4), DecodeLine(6, 0.018, 5e-7, 4e-4)),
        1e-8,
        1e-6,
    ),
    Equation4(FACTS["opt-13b"], 2e13),
    Calibrated(per_token=1e-4, weight_time=0.02, sharpness=3.0, tile_share=0.5, per_decode=1e-4, host_time=0.002),
)


MANY = int(os.environ.get("SLOSIM_SEEDS", "1"))


def bounds_of_run(result: RunResult, trace: Trace, model: CostModel, replicas: int = 1) -> Bounds:
    machine = Machine(model, result.capacity.kv_blocks, result.capacity.block_size)
    return bounds_of(trace, machine, [Course.of(result)], replicas)[0]


def runs(seed: int) -> tuple[list[RunResult], list[Bounds]]:
    """One workload served by every policy."""
    random = Random(seed)
    requests, spread = random.choice((1, 2, 5, 12, 25)), random.choice((0.0, 1.0, 5.0, 30.0))
    trace = little_trace(seed, requests, spread, random.choice((5, 60, 200)), random.choice((1, 20, 60)))
    size, model = random.choice((1, 4, 16)), random.choice(MACHINES)
    setting: dict[str, Any] = {
        "kv_blocks": max(1, blocks_for_largest(trace, size) + random.choice((-2, 3, 10, 40))),
        "block_size": size,
        "replicas": random.choice((1, 1, 2)),
        "horizon": random.choice((None, None, random.uniform(0.1, 10.0))),
    }
    policies: list[str | Scheduler] = [*BUILT_IN, Whimsical(seed, 20, 0.3), Whimsical(seed, 64, 0.5)]
    results = [simulate(trace, policy, model, **setting) for policy in policies]
    courses = [Course.of(result) for result in results]
    return results, bounds_of(trace, Machine(model, setting["kv_blocks"], size), courses, setting["replicas"])


def test_no_policy_is_better_than_its_bounds() -> None:
    best = dict.fromkeys(("serving_share_goodput", "refusing_share_request_goodput"), 0.0)
    for seed in range(18 * MANY):
        for result, bounds in zip(*runs(seed), strict=True):
            found = shares(result.summary(), bounds)
            told = {name: value for name, value in found.items() if "_share_" in name and not np.isnan(value)}
            assert max(told.values(), default=0.0) <= 1, (seed, result, found)
            best = {name: max(value, told.get(name, 0.0)) for name, value in best.items()}
    assert min(best.values()) > 0.95, "some come near"


@dataclass(frozen=True)
class GivesUp(Scheduler):
    """Lets one request finish, lets the other get all but its last token, and gives it up."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1000)
        for long in server.everyone():
            if long.generated == 19 and long in server.decoding:
                batch.preempt(long)
                return batch
            if long.generated == 19:
                batch.reject(long, "no more")
                return batch
        batch.decode_all()
        for request in batch.waiting():
            batch.admit(request)
        return batch


def test_tokens_of_a_request_that_is_given_up_take_their_time() -> None:
    trace = Trace.from_rows([TraceRow(0.0, 5, 1, SLO(ttft=99.0)), TraceRow(0.0, 30, 20, SLO(ttft=99.0))])
    result = simulate(trace, GivesUp(), MODEL, kv_blocks=100, block_size=4)
    assert result.requests["generated"].tolist() == [1, 19]
    assert result.requests["finished_at"][0] < result.token_times(1)[-1] == result.end
    told = shares(result.summary(), bounds_of_run(result, trace, MODEL))
    assert 0.5 < told["serving_share_goodput"] <= 1


def test_a_course_says_whom_a_run_served() -> None:
    trace = Trace.from_rows([TraceRow(1.0 + n, 5 if n != 1 else 500, 3) for n in range(3)])
    result = simulate(trace, "vllm", MODEL, kv_blocks=10, block_size=4)
    course = Course.of(result)
    assert unpacked(course.finished, 3).tolist() == unpacked(course.begun, 3).tolist() == [True, False, True]
    assert course[2:] == (result.summary()["duration"], False, False)
    cut = Course.of(simulate(trace, "vllm", MODEL, kv_blocks=10, block_size=4, horizon=3.01))
    assert unpacked(cut.finished, 3).tolist() == [True, False, False]
    assert cut.span == pytest.approx(2.01)
    assert cut.cut


def test_with_a_warm_up_no_bound_is_known() -> None:
    trace = little_trace(1)
    result = simulate(trace, "vllm", MODEL, kv_blocks=100, warmup=0.5)
    assert Course.of(result).warmed
    assert np.isnan(bounds_of_run(result, trace, MODEL)).all()


def test_alone_and_unhurried_a_policy_reaches_the_bound() -> None:
    """One request on a machine whose floor is exact: no share is lost."""
    line = profile("opt-13b@a100-80gb-distserve").cost_model
    trace = Trace.from_rows([TraceRow(0.0, 400, 1, SLO(ttft=10.0))])
    result = simulate(trace, "vllm", line, kv_blocks=100, block_size=16)
    told = shares(result.summary(), bounds_of_run(result, trace, line))
    assert told["serving_share_goodput"] == pytest.approx(1)
    assert told["serving_bound_goodput"] == pytest.approx(1 / result.end)


def test_more_of_anything_is_no_lower_bound() -> None:
    """More memory, more replicas and looser objectives never lower the bound."""
    trace, model = little_trace(7, 25, 2.0), MODEL
    result = simulate(trace, "sarathi", model, kv_blocks=30, block_size=4)
    course = Course.of(result)

    def bound(served: Trace, blocks: int = 30, replicas: int = 1) -> np.ndarray:
        return np.ravel(bounds_of(served, Machine(model, blocks, 4), [course], replicas)[0])

    hurried = trace.with_slos(**{name: getattr(trace, name) / 10 for name in ("ttft", "tbt", "jct")})
    small = bound(trace)
    for less, more in ((small, bound(trace, 60)), (small, bound(trace, 30, 2)), (bound(hurried), small)):
        assert (more >= less * (1 - 1e-6)).all()
        assert (more > less * 1.01).any()


def test_shares_of_nothing_say_nothing() -> None:
    assert np.isnan(share(0.0, 0.0))
    assert share(1.0, 4.0) == 0.25
