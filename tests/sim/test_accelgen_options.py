"""AccelGen's readings and options: any combination keeps the rules, and each tells another story or says why not."""

from __future__ import annotations

from dataclasses import fields
from math import inf
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.audit import audit
from sim.predictor import perfect
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.accelgen.budget import last_before
from sim.schedulers.accelgen.reservation import Reservation
from sim.simulation import simulate
from tests.sim.stories import MODEL, PROFILE, blocks_for_largest, differences
from tests.sim.strategies import WORKLOADS
from tests.sim.test_accelgen import Stage
from traces import SLO, Trace, TraceRow

HINTS = get_type_hints(AccelGen)
WORDS = {name: get_args(hint) for name, hint in HINTS.items() if get_args(hint) and isinstance(get_args(hint)[0], str)}
ANY = st.builds(
    AccelGen,
    **{name: st.sampled_from(words) for name, words in WORDS.items() if name != "pivot"},
    **{each.name: st.booleans() for each in fields(AccelGen) if each.type == "bool"},
    pivot=st.sampled_from((16, 64, 200)),
    gamma=st.sampled_from((0.0, 0.1, 0.75)),
    largest_budget=st.sampled_from((None, 1.0)),
    refresh=st.sampled_from((0.0, 0.1)),
    static_chunk=st.integers(20, 80),
    candidates=st.sampled_from((2, 64)),
    recent=st.sampled_from((1, 5)),
)


@given(ANY, WORKLOADS, st.sampled_from((1, 4, 16)), st.sampled_from((0, 1, 3, 100)), st.booleans())
def test_any_combination_keeps_the_rules(policy: AccelGen, trace: Trace, size: int, spare: int, told: bool) -> None:
    """Every request is served, everything adds up, and the story does not depend on how often it is asked."""
    blocks = blocks_for_largest(trace, size) + spare
    options: dict[str, Any] = {"kv_blocks": blocks, "block_size": size, "predictor": perfect if told else None}
    coasting = simulate(trace, policy, MODEL, **options)
    assert not audit(coasting)
    assert not differences(simulate(trace, policy, MODEL, coast=False, **options), coasting)
    assert (coasting.requests["status"] == 0).all()


def busy_trace(seed: int, number: int = 150) -> Trace:
    """Prompts long and short, SLOs tight and loose, some for the whole, more than the machine serves at once."""
    random = np.random.default_rng(seed)
    return Trace.from_rows(
        TraceRow(
            0.03 * n,
            int(random.choice((20, 300, 1500)) * random.uniform(0.5, 1.5)),
            int(random.integers(2, 80)),
            SLO(float(random.uniform(0.1, 4)), float(random.choice((0.05, 0.2))), 6.0 if n % 5 == 0 else inf),
        )
        for n in range(number)
    )


OTHERWISE: list[dict[str, Any]] = [
    {"urgent": False},
    {"largest_budget": 0.5},
    {"chunking": "time"},
    {"chunking": "pace"},
    {"first": "remaining"},
    {"overdue": "last"},
    {"execution": "exact"},
    {"execution": "mean"},
    {"execution": "one"},
    {"completion": "spread"},
    {"completion": "proportional"},
    {"victims": "by_slack"},
    {"victims": "head_of_line"},
    {"longest": "recent", "recent": 5},
    {"longest": "budget"},
    {"preemption": "pause"},
    {"overflow": "deferrable"},
    {"overflow": "loosest"},
    {"overflow": "longest"},
    {"overflow": "largest"},
    {"refresh": 0.0},
    {"stalls": False},
    {"admission": "output"},
    {"after_preemption": True},
]


def test_each_tells_another_story() -> None:
    trace = busy_trace(1)

    def ends(policy: AccelGen) -> list[float]:
        return simulate(trace, policy, PROFILE, kv_blocks=300).iterations["end"].tolist()  # type: ignore[no-any-return]

    standard = ends(AccelGen())
    assert [switch for switch in OTHERWISE if ends(AccelGen(**switch)) == standard] == []


@pytest.mark.parametrize(
    ("victim", "goes"), [("deferrable", 1), ("loosest", 2), ("longest", 0), ("largest", 3), ("newest", 4)]
)
def test_who_yields_to_the_urgent(victim: str, goes: int) -> None:
    """Five decodes of which each is the extreme of one kind; the prompt that must run needs the blocks of one."""
    stage = Stage(blocks=60, victim=victim)
    slo = SLO(tbt=50.0)
    expected = {0: 900.0, 1: 400.0, 2: 300.0, 3: 200.0, 4: 100.0}
    for number, prompt in enumerate((40, 40, 40, 60, 40)):
        request = stage.decoding(prompt, SLO(tbt=60.0) if number == 2 else slo)
        request.predicted_output = expected[number]
        stage.server.now += 5.0 if number == 0 else 0.0
    stage.server.now += 1.0
    stage.history(longest=0.1, chunk=100)
    for request in list(stage.server.pool):
        request._last_token_at = {1: 25.0}.get(request.id, 5.0 if request.id else 0.0)
    urgent = stage.waiting(30, SLO(ttft=0.15))
    assert stage.decide()[urgent.id] == 30
    assert [request.id for request in stage.batch.preempted] == [goes]


def test_without_urgency_nobody_is_preempted_for_another() -> None:
    stage = Stage(blocks=15, urgent=False)
    stage.decoding(20, SLO(tbt=5.0))
    stage.decoding(20, SLO(tbt=9.0))
    stage.history(longest=0.1, chunk=100)
    stage.waiting(24, SLO(ttft=0.15))
    assert stage.decide() == {0: 1, 1: 1}
    assert not stage.batch.preempted


def test_who_yields_when_the_decodes_outgrow_the_cache() -> None:
    for overflow, goes in (("newest", 2), ("largest", 0), ("longest", 1)):
        stage = Stage(blocks=9, overflow=overflow)
        for prompt, predicted in ((16, 10.0), (8, 90.0), (12, 20.0)):
            stage.decoding(prompt, SLO(tbt=0.1)).predicted_output = predicted
        stage.history(longest=0.1, chunk=10)
        stage.decide()
        assert [request.id for request in stage.batch.preempted] == [goes]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_decode_that_is_not_urgent_waits_for_a_block(ordered: bool) -> None:
    """No block is free, and only one decode needs none; with vLLM's rule the newest yields to the others."""
    for stalls, runs, gone in ((True, {1: 1}, []), (False, {0: 1, 1: 1}, [2])):
        stage = Stage(blocks=9, stalls=stalls, slo_ordering=ordered)
        for prompt in (16, 7, 12):
            stage.decoding(prompt, SLO(tbt=5.0))
        stage.history(longest=0.1, chunk=10)
        assert stage.decide() == runs
        assert [request.id for request in stage.batch.preempted] == gone


def test_the_late_come_last() -> None:
    for overdue, first in (("late", 0), ("last", 1)):
        stage = Stage(overdue=overdue, multi_resource=False)
        stage.waiting(30, SLO(ttft=0.5))
        stage.server.now = 3.0
        stage.waiting(30, SLO(ttft=5.0))
        assert next(iter(stage.decide())) == first


def test_a_budget_of_all_who_might_be_members() -> None:
    """The larger prompt, with 1 s for its first token, is taken before one with 0.5 s, or as if that were in."""
    for members, tokens in (("batch", 900), ("candidates", 500)):
        stage = Stage(400, members=members)
        stage.history(longest=0.01, chunk=100)
        stage.waiting(900, SLO(ttft=1.0))
        stage.waiting(10, SLO(ttft=0.5))
        assert stage.decide() == {0: tokens}


def test_a_capped_budget() -> None:
    stage = Stage(largest_budget=0.4)
    stage.waiting(90, SLO(ttft=0.2))
    assert stage.decide() == {0: 40}


@pytest.mark.parametrize(("execution", "seconds"), [("chunks", 0.3), ("exact", 0.25), ("mean", 0.12), ("one", 0.1)])
def test_remaining_execution(execution: str, seconds: float) -> None:
    stage = Stage(execution=execution)
    stage.history(longest=0.1, chunk=40, iterations=10, seconds=0.4)
    request = stage.waiting(100, SLO(ttft=2.0))
    assert stage.slack().remaining(request) == pytest.approx(2.0 - seconds)


@pytest.mark.parametrize(
    ("completion", "waits"),
    [("spread", (9.0 - 30 * 0.1) / 30), ("deadline", 9.0 - 30 * 0.1), ("proportional", 10.0 * 11 / 40 - 1.0 - 0.1)],
)
def test_iteration_deadlines_of_a_completion_slo(completion: str, waits: float) -> None:
    """10 of 40 tokens are there after 1 of 10 seconds; iterations take 0.1 s."""
    stage = Stage(completion=completion)
    request = stage.decoding(10, SLO(jct=10.0))
    request.predicted_output = 40.0
    stage.history(longest=0.5, chunk=10, iterations=10, seconds=1.0)
    for _ in range(9):
        stage.server.pool.step(0.0)
    stage.server.now = 1.0
    assert request.generated == 10
    assert stage.slack().remaining(request) == pytest.approx(waits)


def test_chunks_that_end_in_time_or_are_as_long_as_needed() -> None:
    """A millisecond a token: 200 tokens in 0.2 s by the model where Equation (6) is given a slower pivot. A prompt of
    1,000 tokens with 10 s left and iterations of 1 s needs 100 in each."""
    timely = Stage(1000, chunking="time", pivot=400)
    timely.decoding(3, SLO(tbt=0.2))
    timely.waiting(900, SLO(ttft=50.0))
    assert timely.decide() == {0: 1, 1: 199}
    paced = Stage(1000, chunking="pace", pivot=400)
    paced.history(longest=1.0, chunk=100, iterations=10, seconds=10.0)
    paced.waiting(1000, SLO(ttft=10.0))
    assert paced.decide() == {0: 101}
    paced.server.now = 11.0
    assert paced.decide() == {0: 400}, "late: all that there is"


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=8),
    st.tuples(st.integers(1, 40), st.integers(1, 30)),
    st.integers(10, 60),
)
def test_room_until_the_end(running: list[tuple[int, int]], newcomer: tuple[int, int], blocks: int) -> None:
    """Against a step-by-step count of everybody's tokens, with half a block for each sequence's last one."""
    stage = Stage(10_000)
    members = []
    for prompt, output in running:
        request = stage.decoding(prompt)
        request.predicted_output = 1.0 + output
        members.append(request)
    other = stage.waiting(newcomer[0])
    other.predicted_output = float(newcomer[1])
    stage.server.total_blocks = blocks
    stays = [
        (r.known_tokens + 2.0, min(stage.slack().outputs_left(r), max(1.0, 4 * blocks - r.known_tokens - 2)))
        for r in [*members, other]
    ]
    use = [sum(tokens + step for tokens, steps in stays if steps >= step) for step in range(1, 60)]
    fractional = [sum(tokens + end for tokens, steps in stays if steps >= end) for _, end in stays]
    held = Reservation(stage.server, stage.slack(), members)
    assert held.holds(other) == (max(use + fractional) <= 4 * blocks)
    assert Reservation(stage.server, stage.slack(), []).holds(other)


@given(st.integers(0, 300), st.integers(0, 400))
def test_the_last_before_it_is_late(limit: int, near: int) -> None:
    """Wherever the search begins; 0 if even one is late."""
    assert last_before(lambda number: number > limit, near) == limit


def test_punctual_is_accelgen_with_two_options() -> None:
    trace = busy_trace(2)
    own = simulate(trace, "punctual", PROFILE, kv_blocks=300)
    same = simulate(trace, AccelGen(overdue="last", admission="output"), PROFILE, kv_blocks=300)
    assert not differences(own, same)
    assert own.about["scheduler"].startswith("Punctual(")


@pytest.mark.parametrize("budget", ["eq6", "inverse"])
def test_an_objective_that_no_iteration_meets_is_missed_not_waited_for(budget: str) -> None:
    trace = Trace.from_rows([TraceRow(0.0, 40, 5, SLO(ttft=1e-5, tbt=1e-5))])
    result = simulate(trace, f"accelgen,token_budget={budget}", MODEL, kv_blocks=20)
    assert result.summary()["finished"] == 1
    assert result.iterations["prefill_tokens"][:2].tolist() == [1, 39], "late after the first token, it is as any other"
