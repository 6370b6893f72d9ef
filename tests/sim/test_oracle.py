"""Oracle: its plan against a step-by-step account of the cache, and what it does with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.errors import SchedulerError
from sim.machine import Machine
from sim.predictor import Mean, Noisy, unknown
from sim.replica import Replica
from sim.request import Request
from sim.schedulers.oracle import Oracle, Plan
from sim.simulation import simulate
from tests.sim.stories import MODEL, blocks_for_largest, little_trace
from traces import SLO, Trace, TraceRow

LENGTHS = st.tuples(st.integers(1, 30), st.integers(1, 30))


def member(id: int, prompt: int, output: int, slo: SLO = SLO()) -> Request:
    return Request(id, 0.0, prompt, output, slo, predicted_output=float(output))


def decoding(running: list[tuple[int, int]], blocks: int) -> Replica:
    """A server on which requests of these (prompt, output) have just got their first token."""
    server = Replica(0, Oracle(), Machine(MODEL, blocks, 4))
    batch = server.new_batch(10_000)
    for id, (prompt, output) in enumerate(running):
        request = member(id, prompt, output)
        server.arrive(request)
        assert batch.admit(request, prompt)
    server.start(batch)
    server.finish(batch, 1.0, 0)
    return server


def peak(running: list[tuple[int, int]], newcomer: tuple[int, int]) -> int:
    """Most blocks held at once, one step after the other, if all decode in every step."""
    prompt, output = newcomer
    alive = [[p + 1, o - 1] for p, o in running if o > 1] + [[prompt, output]]
    most = 0
    while alive:
        most = max(most, sum(-(-tokens // 4) for tokens, _ in alive))
        alive = [[tokens + 1, left - 1] for tokens, left in alive if left > 1]
    return most


@given(st.lists(LENGTHS, max_size=5), LENGTHS)
def test_the_plan_is_the_brute_force_account(running: list[tuple[int, int]], newcomer: tuple[int, int]) -> None:
    needed = peak(running, newcomer)
    least = max(peak([], lengths) for lengths in [*running, newcomer])
    least = max(least, sum(-(-prompt // 4) for prompt, _ in running))
    for blocks in {least, *range(max(least, needed - 1), needed + 2)}:
        plan, request = Plan(decoding(running, blocks)), member(99, *newcomer)
        assert plan.holds(request) == (needed <= blocks)
        fits_now = plan.server.blocks_for(request.known_tokens) <= plan.server.free_blocks
        alone = plan.fitting([request], plan.server.free_blocks)
        assert alone == ([request] if fits_now and needed <= blocks else [])


@given(st.lists(LENGTHS, max_size=4), st.lists(LENGTHS, min_size=1, max_size=6))
def test_many_are_tried_at_once_as_if_alone(running: list[tuple[int, int]], waiting: list[tuple[int, int]]) -> None:
    blocks = sum(-(-prompt // 4) for prompt, _ in running) + 10
    plan = Plan(decoding(running, blocks))
    requests = [member(50 + n, *lengths) for n, lengths in enumerate(waiting)]
    alone = [request for request in requests if plan.holds(request)]
    free = plan.server.free_blocks
    assert plan.fitting(requests, free) == [r for r in alone if plan.server.blocks_for(r.known_tokens) <= free]


def test_who_is_admitted_counts_from_then_on() -> None:
    plan = Plan(decoding([], 5))
    assert plan.holds(member(0, 8, 4))
    plan.add(member(0, 8, 4))
    assert plan.holds(member(1, 4, 4))
    assert not plan.holds(member(1, 8, 4))


@given(st.integers(0, 10**6), st.sampled_from((0.0, 1.0)), st.sampled_from((1, 4, 16)), st.sampled_from((0, 2, 30)))
def test_it_never_preempts(seed: int, spread: float, size: int, spare: int) -> None:
    trace = little_trace(seed, 25, spread)
    result = simulate(trace, "oracle", MODEL, kv_blocks=blocks_for_largest(trace, size) + spare, block_size=size)
    assert result.requests["preemptions"].sum() == 0
    assert (result.requests["status"] == 0).all()


def test_what_an_unfinished_prompt_needs_in_the_end_is_set_aside() -> None:
    plan = Plan(decoding([(8, 4)], 8))
    assert plan.holds(member(5, 4, 13), at_once=True)
    assert plan.holds(member(5, 4, 13), at_once=False)
    assert plan.holds(member(5, 4, 18), at_once=True), "the other is gone by then"
    assert not plan.holds(member(5, 4, 18), at_once=False)
    plan.add(member(5, 4, 13), at_once=False)
    assert plan.holds(member(6, 1, 4))
    assert not plan.holds(member(6, 5, 2))


def test_it_needs_to_be_told() -> None:
    trace = little_trace(0)
    with pytest.raises(SchedulerError, match="use the predictor 'perfect'"):
        simulate(trace, "oracle", MODEL, kv_blocks=100, predictor=unknown)
    wrong = simulate(trace, "oracle", MODEL, kv_blocks=blocks_for_largest(trace, 4), block_size=4, predictor=Mean())
    assert (wrong.requests["status"] == 0).all()


def test_predictions_beyond_the_cache_strand_nobody() -> None:
    trace = little_trace(2, requests=30)
    options: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, 4), "block_size": 4}
    for seed in range(5):
        result = simulate(trace, "oracle", MODEL, predictor=Noisy(2.0), seed=seed, **options)
        assert (result.requests["status"] == 0).all()


def test_who_can_be_on_time_comes_first() -> None:
    """Both wait; the second still can make its first token, the first cannot any more."""
    late, soon = SLO(ttft=0.001), SLO(ttft=0.2)
    trace = Trace.from_rows([TraceRow(0.0, 40, 3, late), TraceRow(0.0, 40, 3, soon)])
    first = simulate(trace, Oracle(), MODEL, kv_blocks=11, block_size=4).requests["first_token_at"]
    assert first[1] < first[0]
    assert first[1] <= 0.2


def test_of_the_late_the_largest_comes_first() -> None:
    trace = Trace.from_rows([TraceRow(0.0, prompt, 3, SLO(ttft=0.001)) for prompt in (10, 40, 30)])
    first = simulate(trace, Oracle(), MODEL, kv_blocks=11, block_size=4).requests["first_token_at"]
    assert np.argsort(first).tolist()[0] == 1


def test_chunks_respect_the_tightest_decode() -> None:
    """While a request with a 30 ms objective decodes, no iteration takes longer, for all that a long prompt waits."""
    trace = Trace.from_rows([TraceRow(0.0, 5, 60, SLO(tbt=0.03)), TraceRow(0.05, 400, 3)])
    result = simulate(trace, Oracle(), MODEL, kv_blocks=1000)
    rows = result.iterations
    during = (rows["decode_tokens"] > 0) & (rows["prefill_tokens"] > 0)
    assert during.sum() > 3
    assert (rows["end"] - rows["start"])[during].max() <= 0.03
    assert rows["prefill_tokens"][during].max() < 400
