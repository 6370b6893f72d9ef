"""The search itself: starts, changes, and that on tiny cases it finds what trying all orders finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import profile
from experiments.search.climb import Climb, Evaluate
from experiments.search.moves import MOMENT, MOVES, Draft, Workload, neighbour
from experiments.search.objective import OBJECTIVES, WORST, Score, objective, score
from experiments.search.problem import Story
from experiments.search.starts import by_length, execution_order
from sim.result import RunResult
from sim.schedulers.planned import Agenda, Planned
from sim.simulation import simulate
from tests.sim.stories import blocks_for_largest, little_trace
from traces import SLO, Trace, TraceRow
from traces.errors import SlosimError

MACHINE = profile("opt-13b@a100-80gb-vllm")
POLICIES = ("vllm", "sarathi", "oracle")


def serve(trace: Trace, what: Agenda | str) -> RunResult:
    policy = what if isinstance(what, str) else Planned(what)
    return simulate(trace, policy, MACHINE, kv_blocks=blocks_for_largest(trace, 4) + 4, block_size=4)


def evaluation(trace: Trace, goal: str) -> Evaluate:
    def evaluate(candidates: Sequence[Agenda | str]) -> Iterator[Story]:
        return (Story.of(serve(trace, each), objective(goal)) for each in candidates)

    return evaluate


def climb_of(trace: Trace, goal: str = "goodput", policies: Sequence[str] = POLICIES, seed: int = 0) -> Climb:
    return Climb(Workload.of(trace), policies, evaluation(trace, goal), seed)


def climbed(climb: Climb, most: int) -> Climb:
    for _ in climb.run(most):
        pass
    return climb


def tiny(seed: int) -> Trace:
    """Five requests that arrive together, in a cache for one or two, whose tokens count if all come in time."""
    random = np.random.default_rng(seed)
    prompts, outputs = random.integers(200, 400, 5).tolist(), random.integers(5, 30, 5).tolist()
    due = random.choice((0.8, 1.2, 1.6, 2.0, 3.0), 5).tolist()
    return Trace.from_rows(
        [TraceRow(0.0, *lengths, SLO(jct=jct)) for *lengths, jct in zip(prompts, outputs, due, strict=True)]
    )


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_on_tiny_cases_it_finds_the_best_of_all_orders(seed: int) -> None:
    trace = tiny(seed)
    orders = [Agenda(order) for order in permutations(range(len(trace)))]
    best = max(story.score.value for story in evaluation(trace, "goodput")(orders))
    climb = climb_of(trace, policies=("vllm",))
    assert any(climb.best_score.value >= best for _ in climb.run(250))
    assert max(each.value for each in climb.scores.values()) < best, "the starts alone are not enough"


@pytest.mark.parametrize("goal", OBJECTIVES)
def test_it_is_never_worse_than_what_it_starts_from(goal: str) -> None:
    trace = little_trace(5, requests=12)
    climb = climbed(climb_of(trace, goal), 40)
    assert set(POLICIES) < set(climb.scores)
    assert climb.best_score >= max(climb.scores.values())
    assert climb.best_score == score(serve(trace, climb.best), objective(goal))
    assert [found.score for found in climb.history] == sorted({found.score for found in climb.history})
    assert climb.history[-1].score == climb.best_score
    assert climb.simulations == 40


def test_same_seed_same_outcome_and_another_seed_another() -> None:
    trace = little_trace(6, requests=15)
    one, same, other = (climbed(climb_of(trace, seed=seed), 36) for seed in (1, 1, 2))
    assert (one.best, one.history, one.scores) == (same.best, same.history, same.scores)
    assert one._current != other._current


def test_it_does_not_go_downhill() -> None:
    climb = climb_of(tiny(6))
    scores = [climb._current[1].score for _ in climb.run(80) if climb._current]
    assert scores == sorted(scores)
    assert len(set(scores)) > 1


def test_it_may_be_stopped_after_any_round() -> None:
    trace = little_trace(6, requests=15)
    climb = climb_of(trace)
    for _ in islice(climb.run(), 2):
        assert climb.best_score > WORST
    assert climb.simulations == len(climb.scores), "starts only"
    assert climb.best_score == max(climb.scores.values())


def test_a_policy_that_beats_all_orders_is_what_is_found() -> None:
    trace = little_trace(6, requests=15)

    def evaluate(candidates: Sequence[Agenda | str]) -> Iterator[Story]:
        for each, story in zip(candidates, evaluation(trace, "goodput")(candidates), strict=True):
            yield story._replace(score=Score(1e9, 0.0)) if each == "sarathi" else story

    climb = climbed(Climb(Workload.of(trace), POLICIES, evaluate), 30)
    assert climb.best == Agenda(policy="sarathi")
    assert climb.history[-1].what == "sarathi"


def test_one_request_has_one_order() -> None:
    climb = climbed(climb_of(Trace.from_rows([(0.0, 5, 5)])), 50)
    assert climb.simulations == len(climb.scores)


def test_starts() -> None:
    trace = Trace.from_rows([(0.0, 30, 9), (0.1, 4, 2), (0.2, 10, 5), (0.3, 40, 12)])
    workload = Workload.of(trace)
    assert workload.volume.tolist() == [30 * 9 + 9 * 4.5, 4 * 2 + 2 * 1, 10 * 5 + 5 * 2.5, 40 * 12 + 12 * 6]
    starts = dict(by_length(workload))
    assert starts["in order of arrival"].order == (0, 1, 2, 3)
    assert starts["largest first"].order == (3, 0, 2, 1)
    assert starts["smallest first"].order == (1, 2, 0, 3)
    late = starts["the largest 50% put off, smallest first"]
    assert late.order == (1, 2, 0, 3)
    assert late.not_before == ((0, 0.3 + MOMENT), (3, 0.3 + MOMENT))
    assert all(agenda.lengths == (30, 4, 10, 40) for agenda in starts.values())
    nothing, nan = np.zeros(4), np.nan
    story = Story(WORST, np.array([0.4, nan, 0.2, 0.2]), nothing, nothing.astype(bool))
    assert execution_order(story, workload).order == (2, 3, 0, 1)


@given(st.integers(0, 10**6), st.integers(2, 12))
def test_neighbours_are_orders_of_the_same_requests(seed: int, requests: int) -> None:
    trace = little_trace(seed, requests)
    workload, random = Workload.of(trace), np.random.default_rng(seed)
    agenda = next(by_length(workload))[1]
    finished = workload.arrived_at + random.random(requests)
    story = Story(WORST, workload.arrived_at, finished, random.random(requests) < 0.5)
    for _ in range(5):
        agenda, what = neighbour(agenda, story, workload, random)
        assert sorted(agenda.order) == list(range(requests))
        assert {row for row, _ in agenda.not_before} <= set(range(requests))
        assert agenda.lengths == workload.lengths
        assert what


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
def test_every_move_moves(move: Callable[[Draft], None]) -> None:
    """Each kind of change alone makes another plan, most of the time."""
    trace = little_trace(1, 12)
    workload = Workload.of(trace)
    story = Story(WORST, workload.arrived_at, workload.arrived_at + 1.0, np.arange(12) % 2 == 0)
    moved = 0
    for seed in range(40):
        draft = Draft(list(range(12)), {3: 0.5, 5: 0.7}, workload, story, np.random.default_rng(seed))
        before = draft.agenda()
        move(draft)
        moved += draft.agenda() != before
    assert moved > 25


def test_objectives() -> None:
    trace = little_trace(2)
    result = serve(trace, "sarathi")
    summary = result.summary()
    for goal in OBJECTIVES.values():
        assert score(result, goal).value == pytest.approx(goal.sign * summary[goal.key])
        assert score(result, goal).tie == pytest.approx(-summary["mean_jct"])
    assert score(serve(trace, "oracle"), objective("mean_jct")) > score(result, objective("mean_jct"))
    with pytest.raises(SlosimError, match="--objective speed: there is no such objective; choose one of goodput, "):
        objective("speed")
