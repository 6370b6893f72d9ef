"""Oracle: its plan against a step-by-step account of the cache, and what it does with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from math import inf
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel import BatchShape
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.machine import Machine
from sim.predictor import Mean, Noisy, unknown
from sim.replica import Replica
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.clairvoyance.line import Line
from sim.schedulers.clairvoyance.plan import Plan
from sim.schedulers.clairvoyance.selection import NEVER, Offer, select
from sim.schedulers.oracle import BoundOracle, Oracle
from sim.schedulers.planned import Agenda, Planned
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, blocks_for_largest, little_trace
from traces import SLO, Trace, TraceRow

LENGTHS = st.tuples(st.integers(1, 30), st.integers(1, 30))
SHORT = st.tuples(st.integers(1, 14), st.integers(1, 14))


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


def decode(server: Replica) -> None:
    """An iteration in which all decode."""
    batch = server.new_batch(1000)
    batch.decode_all()
    server.start(batch)
    server.finish(batch, server.now + 1.0, 0)


def peak(running: list[tuple[int, int]], newcomer: tuple[int, int]) -> int:
    """Most blocks held at once, one step after the other, if all decode in every step."""
    return peak_of([*((prompt + 1, output - 1) for prompt, output in running), newcomer])


def peak_of(alive: list[tuple[int, int]]) -> int:
    """The same of requests with so many tokens now, and so many steps to the end."""
    most = 0
    while alive := [(tokens, left) for tokens, left in alive if left > 0]:
        most = max(most, sum(-(-tokens // 4) for tokens, _ in alive))
        alive = [(tokens + 1, left - 1) for tokens, left in alive]
    return most


def enough(running: list[tuple[int, int]], waiting: list[tuple[int, int]]) -> int:
    """Blocks that hold these running ones to their ends, and each of those who wait alone."""
    started = [-(-prompt // 4) for prompt, _ in running]
    return max([sum(started), peak(running, (0, 0)), *(peak([], each) for each in waiting)])


def alone(plan: Plan, waiting: list[Request], tokens: float) -> list[int]:
    """Whom the plan holds, asked one by one."""
    known = [request.known_tokens for request in waiting]
    steps = [plan.steps(request) for request in waiting]
    return [row for row in range(len(waiting)) if plan.holds(known[row], steps[row], known[row] <= tokens)]


@given(st.lists(LENGTHS, max_size=5), st.lists(LENGTHS, min_size=1, max_size=3), st.integers(0, 5))
def test_the_plan_is_the_brute_force_account(
    running: list[tuple[int, int]], newcomers: list[tuple[int, int]], passed: int
) -> None:
    """Of one newcomer and of several, each alone; also when the plan was asked before and steps have passed since."""
    needed, least = [peak(running, each) for each in newcomers], enough(running, newcomers)
    for blocks in {least, *(total for need in needed for total in range(max(least, need - 1), need + 2))}:
        server = decoding(running, blocks)
        plan = Plan(server)
        for step in range(passed + 1):
            needed = [peak([(prompt + step, output - step) for prompt, output in running], each) for each in newcomers]
            assert [plan.holds(*each) for each in newcomers] == [need <= blocks for need in needed]
            assert plan.hold(*np.array(newcomers).T).tolist() == [need <= blocks for need in needed]
            decode(server)


@given(st.lists(LENGTHS, max_size=4), st.lists(LENGTHS, min_size=1, max_size=9), st.integers(0, 20), st.integers(1, 30))
def test_all_who_wait_are_looked_at_together_as_if_alone(
    running: list[tuple[int, int]], lengths: list[tuple[int, int]], spare: int, tokens: int
) -> None:
    plan = Plan(decoding(running, enough(running, lengths) + spare))
    line, waiting = Line(), [member(50 + number, *each) for number, each in enumerate(lengths)]
    for request in waiting:
        line.add(request, plan)
    expected, fitting = alone(plan, waiting, tokens), line.fitting(plan)
    assert fitting.tolist() == line.fitting(plan, np.arange(len(waiting))).tolist() == alone(plan, waiting, inf)
    assert line.within(plan, fitting, tokens).tolist() == expected
    assert [row for row in range(len(waiting)) if line.fits(plan, row, tokens)] == expected


def test_a_line_is_a_set_of_requests() -> None:
    plan = Plan(decoding([], 1000))
    line, there = Line(), []
    for number in range(300):
        there.append(request := member(number, 1 + number % 50, 1 + number % 7))
        line.add(request, plan)
        if number % 3 == 0:
            line.remove(there.pop(number * 7 % len(there)))
    assert line.size == len(there) == 200
    for request in there:
        row = line.row(request)
        assert line.requests[row] is request
        assert line.counts[:, row].tolist() == [request.prompt_tokens, plan.steps(request)]


def test_who_is_admitted_counts_from_then_on() -> None:
    plan = Plan(decoding([], 5))
    assert plan.holds(8, 4)
    trial = plan.copy()
    trial.add(8, 4)
    assert trial.holds(4, 4)
    assert not trial.holds(8, 4)
    assert plan.holds(8, 4), "a copy was tried"


def test_what_an_unfinished_prompt_needs_in_the_end_is_set_aside() -> None:
    plan = Plan(decoding([(8, 4)], 8))
    assert plan.holds(4, 13)
    assert plan.holds(4, 13, whole=False)
    assert plan.holds(4, 18), "the other is gone by then"
    assert not plan.holds(4, 18, whole=False)
    plan.add(4, 13, whole=False)
    assert plan.holds(1, 4)
    assert not plan.holds(5, 2)


class Watched(BoundOracle):
    """Compares its plan, which follows what happens, with one made anew, whenever it is asked."""

    compared = 0

    def schedule(self, server: Server) -> Batch:
        if self._world is not None:
            plan, anew = self._world[1], Plan(server)
            assert plan.free(300).tolist() == anew.free(300).tolist()
            assert plan.unfinished == anew.unfinished
            type(self).compared += bool(plan.unfinished)
        return super().schedule(server)


class Watching(Oracle):
    def bind(self, server: Server) -> Scheduler:
        return Watched(self)


def test_the_plan_that_follows_is_the_plan_made_anew() -> None:
    for seed in range(5):
        trace = little_trace(seed, 30, prompt=200, output=60)
        simulate(trace, Watching(), MODEL, kv_blocks=blocks_for_largest(trace, 4) + 30, block_size=4, coast=False)
    assert Watched.compared > 30


@settings(max_examples=50)
@given(
    st.integers(0, 10**6),
    st.sampled_from((0.0, 1.0)),
    st.sampled_from((1, 4, 16)),
    st.sampled_from((0, 2, 30)),
    st.sampled_from(("oracle", "oracle,candidates=1", "oracle,value=requests", "planned")),
    st.sampled_from((0.5, 4.0)),
)
def test_it_never_preempts(seed: int, spread: float, size: int, spare: int, policy: str, budget: float) -> None:
    trace, policy = little_trace(seed, 25, spread, prompt=150), f"{policy},largest_budget={budget}"
    result = simulate(trace, policy, MODEL, kv_blocks=blocks_for_largest(trace, size) + spare, block_size=size)
    assert result.requests["preemptions"].sum() == 0
    assert (result.requests["status"] == 0).all()


def choices(number: int) -> Iterator[tuple[tuple[int, ...], int | None]]:
    """Everybody who might start whole, and everybody else, or nobody, who might in part."""
    for size in range(number + 1):
        for whole in combinations(range(number), size):
            yield whole, None
            yield from ((whole, part) for part in range(number) if part not in whole)


@st.composite
def offers(draw: st.DrawFn) -> Offer:
    number, peaks = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    integers = st.integers(0, 9)
    rows = st.lists(st.lists(integers, min_size=peaks, max_size=peaks), min_size=number, max_size=number)
    needs = np.array(draw(rows))
    each = st.lists(st.integers(1, 9), min_size=number, max_size=number)
    late = st.lists(st.sampled_from((NEVER, NEVER, 5, 9, 14, 20)), min_size=number, max_size=number)
    last = needs.max(axis=1) + np.array(draw(st.lists(st.integers(0, 1), min_size=number, max_size=number)))
    tokens = np.array(draw(each))
    limits = np.array([limit if limit >= known else NEVER for limit, known in zip(draw(late), tokens, strict=True)])
    room = np.full(peaks, last.max()) + np.array(draw(st.lists(integers, min_size=peaks, max_size=peaks)))
    worth = np.array(draw(each)) if draw(st.booleans()) else np.ones_like(tokens)
    return Offer(needs, last, room, tokens, draw(st.integers(1, 25)), limits, worth)


@given(offers())
def test_the_selection_is_the_best_of_all_subsets_and_all_chunks(offer: Offer) -> None:
    def score(whole: tuple[int, ...], part: int | None, chunk: int) -> tuple[int, int, int] | None:
        used = sum((offer.needs[row] for row in whole), np.zeros_like(offer.room))
        used = used + (0 if part is None else offer.last[part])
        total = int(offer.tokens[list(whole)].sum()) + chunk
        if (used > offer.room).any() or total > offer.budget:
            return None
        started = [*whole] if part is None else [*whole, part]
        return sum(offer.limits[row] >= total for row in whole), int(offer.worth[started].sum()), total

    found = [
        score(whole, part, chunk)
        for whole, part in choices(len(offer.worth))
        for chunk in ([0] if part is None else range(1, offer.tokens[part]))
    ]
    assert score(*select(offer)) == max(each for each in found if each)


@settings(max_examples=150)
@given(
    st.lists(LENGTHS, max_size=3),
    st.lists(st.tuples(SHORT, st.sampled_from((0.5, 0.5, 0.5, 1.02, 1.03, 1.05))), min_size=2, max_size=4),
    st.sampled_from((0, 1, 3, 6)),
    st.sampled_from((10, 20, 1000)),
    st.sampled_from(("tokens", "tokens", "requests")),
)
def test_a_decision_is_the_best_of_all(
    running: list[tuple[int, int]],
    waiting: list[tuple[tuple[int, int], float]],
    spare: int,
    most: int,
    value: Literal["tokens", "requests"],
) -> None:
    """Against all subsets and chunks, each with the cache step by step and the time of the iteration."""
    server = decoding(running, enough(running, [each for each, _ in waiting]) + spare)
    there = [member(50 + number, *each, SLO(ttft=due)) for number, (each, due) in enumerate(waiting)]
    for request in there:
        server.arrive(request)
    policy = Oracle(value, largest_budget=most / server.machine.pivot.forward_size)
    decodes, context = server.pool.size, server.pool.context

    def score(whole: tuple[int, ...], chunk: int) -> tuple[int, int, int]:
        total = sum(there[row].prompt_tokens for row in whole) + chunk
        shape = BatchShape(total, decodes, context, total * total / 2, decodes + 1)
        seconds = MODEL.iteration_time(shape)
        return sum(seconds <= waiting[row][1] - server.now for row in whole), 0, total

    def worth(row: int) -> int:
        prompt, output = waiting[row][0]
        return output * (2 * prompt + output - 1) if value == "tokens" else 1

    def scores() -> Iterator[tuple[int, int, int]]:
        for whole, part in choices(len(there)):
            aside = 0 if part is None else peak([], waiting[part][0])
            started = [waiting[row][0] for row in whole]
            if peak_of([(p + 1, o - 1) for p, o in running] + started) + aside <= server.total_blocks:
                valued = sum(map(worth, whole)) + (0 if part is None else worth(part))
                for chunk in [0] if part is None else range(1, there[part].prompt_tokens):
                    on_time, _, total = score(whole, chunk)
                    if total <= max(1, int(policy.largest_budget * server.machine.pivot.forward_size) - decodes):
                        yield on_time, valued, total

    batch = policy.schedule(server)
    granted = {there.index(request): tokens for request, tokens in batch.prefills.items()}
    whole = tuple(row for row, tokens in granted.items() if tokens == there[row].prompt_tokens)
    parts = [row for row in granted if row not in whole]
    assert len(parts) <= 1
    on_time, _, total = score(whole, sum(granted[row] for row in parts))
    assert (on_time, sum(map(worth, granted)), total) == max(scores())


@pytest.mark.parametrize("policy", [Oracle(candidates=1), Planned(Agenda((50, 51)))])
def test_who_fits_as_a_whole_only_does_not_start_with_what_the_budget_has_left(policy: Oracle | Planned) -> None:
    """The cache is full in the end: both who wait must be gone by then, and the second one's prompt would not be."""
    server = decoding([(8, 40)], 13)
    first, second = member(50, 9, 2, SLO(ttft=0.5)), member(51, 12, 1, SLO(ttft=0.5))
    for request in (first, second):
        server.arrive(request)
    for tokens, expected in ((12, {first: 9}), (21, {first: 9, second: 12})):
        budget = (tokens + server.pool.size) / server.machine.pivot.forward_size
        assert replace(policy, largest_budget=budget).schedule(server).prefills == expected


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


def test_so_many_candidates_are_refused() -> None:
    with pytest.raises(SchedulerError, match="candidates must be from 1 to 12"):
        Oracle(candidates=13)
    with pytest.raises(SchedulerError, match="value must be 'tokens' or 'requests'"):
        Oracle("goodput")  # type: ignore[arg-type]


def test_who_can_be_on_time_comes_first() -> None:
    """Both wait; the second still can make its first token, the first cannot any more."""
    late, soon = SLO(ttft=0.001), SLO(ttft=0.2)
    trace = Trace.from_rows([TraceRow(0.0, 40, 3, late), TraceRow(0.0, 40, 3, soon)])
    first = simulate(trace, Oracle(), MODEL, kv_blocks=11, block_size=4).requests["first_token_at"]
    assert first[1] < first[0]
    assert first[1] <= 0.2


@pytest.mark.parametrize(("other", "expected"), [(25, [1]), (30, [0, 2])])
def test_of_the_late_those_start_who_fill_the_cache_longest(other: int, expected: list[int]) -> None:
    """Three wait in a cache that holds the second, or the first and the third: more tokens x steps go first."""
    trace = Trace.from_rows([TraceRow(0.0, prompt, 3, SLO(ttft=0.001)) for prompt in (10, 40, other)])
    first = simulate(trace, Oracle(), MODEL, kv_blocks=11, block_size=4).requests["first_token_at"]
    assert np.flatnonzero(first == first.min()).tolist() == expected


def test_chunks_respect_the_tightest_decode() -> None:
    """While a request with a 30 ms objective decodes, no iteration takes longer, for all that a long prompt waits."""
    trace = Trace.from_rows([TraceRow(0.0, 5, 60, SLO(tbt=0.03)), TraceRow(0.05, 400, 3)])
    result = simulate(trace, Oracle(), MODEL, kv_blocks=1000)
    rows = result.iterations
    during = (rows["decode_tokens"] > 0) & (rows["prefill_tokens"] > 0)
    assert during.sum() > 3
    assert (rows["end"] - rows["start"])[during].max() <= 0.03
    assert rows["prefill_tokens"][during].max() < 400
