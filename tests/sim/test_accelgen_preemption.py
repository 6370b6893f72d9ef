"""Which requests yield to an urgent one, where they wait then, T_max; and decisions against the plain walk."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.request import Phase, Request
from sim.schedulers.accelgen import AccelGen, filling
from sim.schedulers.accelgen.bound import BoundAccelGen
from sim.schedulers.accelgen.decision import Decision
from sim.schedulers.accelgen.distance import Crowd, Line, distance
from sim.schedulers.accelgen.slack import RecentIterations
from sim.schedulers.accelgen.urgent import Urgent
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, PROFILE, blocks_for_largest, differences
from tests.sim.strategies import WORKLOADS
from tests.sim.test_accelgen import Stage
from traces import SLO, Trace, TraceRow

LOOSE, TIGHT = SLO(tbt=50.0), SLO(tbt=0.1)
URGENT = SLO(ttft=0.15)

# -- all or nothing -----------------------------------------------------------------------------------------------


def full_stage(prompt: int, **switches: Any) -> tuple[Stage, Request]:
    """Eleven deferrable decodes of two blocks, an urgent one of 70, eight blocks free; an urgent request arrives."""
    stage = Stage(blocks=100, pivot=400, **switches)
    for _ in range(11):
        stage.decoding(6, LOOSE)
    stage.decoding(278, TIGHT)
    stage.history(longest=0.1, chunk=400)
    assert stage.server.free_blocks == 8
    return stage, stage.waiting(prompt, URGENT)


def test_no_request_yields_in_vain() -> None:
    """The arriving request needs 31 blocks; 8 are free, the eleven hold 22: none is preempted, all twelve decode."""
    stage, newcomer = full_stage(121)
    served = stage.decide()
    assert not stage.batch.preempted
    assert served == dict.fromkeys(range(12), 1)
    assert newcomer.phase is Phase.WAITING


@pytest.mark.parametrize(("prompt", "gone"), [(32, 0), (33, 1), (40, 1), (41, 2), (112, 10), (120, 11)])
def test_as_many_yield_as_are_needed(prompt: int, gone: int) -> None:
    """Blocks are of four tokens; ties of remaining time go to the newest, so request 10 is the first to yield."""
    stage, newcomer = full_stage(prompt)
    assert stage.decide()[newcomer.id] == min(prompt, 99)  # of the 100 tokens that the tightest SLO allows
    assert [request.id for request in stage.batch.preempted] == list(range(10, 10 - gone, -1))


def test_a_newcomer_for_which_the_budget_has_no_token_preempts_nobody() -> None:
    """The tightest member allows one token in all, which the urgent decode takes."""
    stage, _ = full_stage(60)
    next(r for r in stage.server.pool if r.id == 11).slo = SLO(tbt=0.001)
    assert stage.decide() == {11: 1}
    assert not stage.batch.preempted


def test_only_the_place_is_lost_where_preemption_pauses() -> None:
    """The arriving request finds no room, and the others keep their cache; one that fits beside them starts."""
    stage, _ = full_stage(60, preemption="pause")
    stage.decide()
    assert not stage.batch.preempted
    stage, newcomer = full_stage(30, preemption="pause")
    assert stage.decide()[newcomer.id] == 30


def test_an_urgent_started_prompt_takes_only_what_its_chunk_needs() -> None:
    """30 of its tokens fit the budget of 0.03 s: 8 blocks, of which 1 is free; so of three decodes of 5, two yield."""
    stage = Stage(blocks=19, pivot=400)
    for _ in range(3):
        stage.decoding(18, LOOSE)
    prompt = stage.started(44, 8, SLO(ttft=0.03))
    stage.history(longest=0.1, chunk=400)
    assert stage.server.free_blocks == 2
    served = stage.decide()
    assert served[prompt.id] == 30
    assert [request.id for request in stage.batch.preempted] == [2, 1]


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """For every urgent request: how many yielded to it, and whether it then runs."""
    seen = []
    for name in ("_place_newcomer", "_place_prompt", "_place_decode"):
        place = getattr(Urgent, name)

        def watched(self: Urgent, request: Request, place: Any = place) -> None:
            before = len(self.batch.preempted)
            place(self, request)
            runs = request in self.batch.prefills or request in self.batch.decodes
            seen.append((len(self.batch.preempted) - before, runs or request in self.batch.preempted))

        monkeypatch.setattr(Urgent, name, watched)
    return seen


OPTIONS: list[dict[str, Any]] = [
    {},
    {"admission": "chunk"},
    {"admission": "output"},
    {"first": "remaining"},
    {"overdue": "urgent"},
    {"victim": "largest", "chunking": "time"},
    {"chunking": "pace", "admission": "chunk"},
    {"exclusive": False, "overdue": "last"},
]


@pytest.mark.parametrize("switches", OPTIONS)
def test_whoever_yields_makes_room_for_one_that_runs(force: list[tuple[int, bool]], switches: dict[str, Any]) -> None:
    random = np.random.default_rng(5)
    preemptions = 0
    for number in range(6):
        rows = [
            TraceRow(
                0.01 * n,
                int(random.choice((5, 30, 120)) * random.uniform(0.5, 1.5)),
                int(random.integers(2, 60)),
                SLO(float(random.uniform(0.02, 1.5)), float(random.choice((0.02, 0.3, 5.0)))),
            )
            for n in range(80)
        ]
        trace = Trace.from_rows(rows)
        blocks = blocks_for_largest(trace, 4) + 10 * number
        result = simulate(trace, AccelGen(pivot=64, **switches), MODEL, kv_blocks=blocks, block_size=4)
        preemptions += result.requests["preemptions"].sum()
    assert [each for each in force if each[0] and not each[1]] == []
    assert sum(yielded for yielded, _ in force) > 5
    assert preemptions > 5


# -- the place of the preempted -----------------------------------------------------------------------------------


def preempt(stage: Stage, *requests: Request) -> None:
    batch = stage.server.new_batch(1)
    for request in requests:
        batch.preempt(request)
    stage.apply(batch, 0.0)


@pytest.mark.parametrize(("victims", "order"), [("first", [0, 1, 2]), ("by_slack", [2, 0, 1])])
def test_where_the_preempted_wait(victims: str, order: list[int]) -> None:
    """Two lost their cache at 3 s and are late by 4 s; a backlog's first token was due at 2 s: by its remaining time
    it is before them. Among them the order is that of arrival, whichever was preempted first."""
    stage = Stage(victims=victims, multi_resource=False)
    older, newer = stage.decoding(20, SLO(tbt=0.5)), stage.decoding(20, SLO(tbt=0.5))
    stage.waiting(20, SLO(ttft=2.0))
    stage.history(longest=0.1, chunk=100)
    for request in (older, newer):
        request._last_token_at = 3.0
    stage.server.now = 3.0
    preempt(stage, newer, older)
    stage.server.now = 4.0
    assert list(stage.decide()) == order
    assert [request.id for request in stage.server.waiting] == order


@pytest.mark.parametrize(("victims", "starts"), [("first", [2, 4]), ("head_of_line", []), ("by_slack", [2, 4])])
def test_whether_a_preempted_request_without_room_blocks_the_others(victims: str, starts: list[int]) -> None:
    """24 blocks; a decode holds 12, a started prompt 2. Of two preempted ones the older needs 12 and the newer 2; an
    arrival needs 5."""
    stage = Stage(24, victims=victims)
    stage.decoding(46, LOOSE)
    older, newer = stage.decoding(20, LOOSE), stage.decoding(6, LOOSE)
    older._generated = 25
    preempt(stage, newer, older)
    stage.started(12, 8, LOOSE)
    stage.waiting(20, SLO(ttft=30.0))
    assert sorted(stage.decide().keys() - {0, 3}) == starts


@given(WORKLOADS, st.sampled_from((0, 3, 20)))
def test_under_head_of_line_the_preempted_return_before_newcomers_start(trace: Trace, spare: int) -> None:
    """A restated invariant of vLLM's queue: without urgency, no request is first admitted while a preempted one waits,
    unless it restarts in the same step."""
    policy = AccelGen(pivot=64, urgent=False, victims="head_of_line", exclusive=False)
    blocks = blocks_for_largest(trace, 4) + spare
    events = simulate(trace, policy, MODEL, kv_blocks=blocks, block_size=4).events
    away: set[int] = set()
    known: set[int] = set()
    for step in np.unique(events["iteration"]):
        of = events["iteration"] == step
        preempted = set(events["request"][of & (events["tokens"] <= 0)].tolist())
        computed = set(events["request"][of & (events["tokens"] > 0)].tolist())
        away = (away | preempted) - computed
        assert not (computed - known and away)
        known |= computed


# -- the longest iteration ----------------------------------------------------------------------------------------


def test_the_longest_of_the_latest_iterations() -> None:
    """Against a plain maximum; the server does not report iterations that it repeats."""
    random = np.random.default_rng(0)
    ends: list[float] = []
    recent, seconds = RecentIterations(7, ends), []
    assert recent.longest == 0.0
    for _ in range(300):
        start = (ends[-1] if ends else 0.0) + (random.random() if random.random() < 0.1 else 0.0)
        told = not ends or start > ends[-1] or random.random() < 0.5
        ends.append(start + float(random.integers(1, 20)) / 4)
        seconds.append(ends[-1] - start)
        if told:
            recent.ended(start)
        if random.random() < 0.5:
            assert recent.longest == max(seconds[-7:])


def test_the_longest_iteration_by_each_reading() -> None:
    """One long iteration counts for good, for a while, or not at all: the tightest decode allows 0.05 s."""
    for longest, seconds in (("ever", 0.9), ("budget", 0.05)):
        stage = Stage(longest=longest)
        stage.decoding(10, SLO(tbt=0.05))
        stage.history(longest=0.9, chunk=40)
        assert stage.server.scheduler.longest == pytest.approx(seconds)
        assert stage.server.scheduler.slack().longest == pytest.approx(seconds)
    rows = [TraceRow(0.0, 2000, 60), TraceRow(0.0, 20, 60)]
    for recent, ratio in ((10, 1), (1000, 20)):
        policy = AccelGen(longest="recent", recent=recent)
        seen = []

        class Spy(BoundAccelGen):
            def ended(self, server: Server, batch: Any) -> None:
                super().ended(server, batch)
                seen.append((self.longest, server.history.longest_iteration))  # noqa: B023

        result = simulate(Trace.from_rows(rows), Bound(policy, Spy), PROFILE, coast=False)
        latest = np.diff(result.iterations["end"])[-1]
        assert seen[-1][1] > 2 * latest
        assert (seen[-1][0] < 1.2 * latest) == (ratio == 1)


class Bound(AccelGen):
    """AccelGen whose memory of a server is of another class."""

    def __init__(self, policy: AccelGen, kind: type[BoundAccelGen]) -> None:
        vars(self).update(vars(policy), kind=kind)

    def bind(self, server: Server) -> BoundAccelGen:
        return self.kind(self, server)  # type: ignore[attr-defined, no-any-return]


# -- equal candidates are one candidate ---------------------------------------------------------------------------


class PlainBound(BoundAccelGen):
    """No case in short, and every decode a candidate of its own."""

    crowd = False  # type: ignore[assignment]

    def _all_decode(self, server: Server) -> None:
        return None


def plain_walk(decision: Decision, window: list[Request], crowds: Sequence[Crowd] = ()) -> None:
    """Algorithm 2 to the letter: the argmin over all candidates, one by one; of equal ones the prompts first."""
    assert not crowds
    left = list(window)
    while left:
        away = [distance(decision, Line(decision, [request])) for request in left]
        decodes = [request.phase is Phase.DECODING for request in left]
        place = min(range(len(left)), key=lambda n: (away[n], decodes[n], n))
        if away[place] == inf:
            return
        decision.offer(left.pop(place))


def told_plainly(monkeypatch: pytest.MonkeyPatch, trace: Trace, policy: AccelGen, **options: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(filling, "by_distance", plain_walk)
        return simulate(trace, Bound(policy, PlainBound), MODEL, coast=False, **options)


SOME_SLOS = st.sampled_from([SLO(), SLO(), SLO(ttft=0.3), SLO(tbt=0.05), SLO(0.5, 2.0), SLO(jct=3.0)])
ROWS = st.tuples(st.floats(0, 1), st.integers(1, 90), st.integers(1, 25), SOME_SLOS)
KINDS: list[dict[str, Any]] = [
    {},
    {"victims": "by_slack"},
    {"normalized": True},
    {"admission": "chunk"},
    {"stalls": False},
    {"slo_ordering": False},
    {"urgent": False, "overdue": "last"},
    {"exclusive": False, "victims": "head_of_line"},
    {"gamma": 0.0, "dynamic_chunking": False, "static_chunk": 8},
]


@pytest.mark.parametrize("slos", [True, False])
@pytest.mark.parametrize("switches", KINDS)
@settings(max_examples=settings().max_examples // 8)
@given(data=st.data())
def test_the_story_is_that_of_the_plain_walk(switches: dict[str, Any], slos: bool, data: st.DataObject) -> None:
    """With grouping, short cases and coasting, or with none of them: the same decisions, to the last token."""
    drawn = data.draw(st.lists(ROWS, min_size=1, max_size=25))
    trace = Trace.from_rows(
        TraceRow(at, prompt, output, slo if slos else SLO())
        for at, prompt, output, slo in sorted(drawn, key=lambda r: r[0])
    )
    size, spare = data.draw(st.sampled_from([(1, 9), (4, 0), (4, 12), (16, 3)]))
    options = {"kv_blocks": blocks_for_largest(trace, size) + spare, "block_size": size}
    policy = AccelGen(pivot=32, **switches)
    with pytest.MonkeyPatch.context() as patch:
        plain = told_plainly(patch, trace, policy, **options)
    assert not differences(plain, simulate(trace, policy, MODEL, **options))


def test_a_member_with_an_slo_may_make_the_budget_larger() -> None:
    """100 tokens without an SLO in the batch, 300 with one of 0.3 s: what did not fit the first fits the second."""
    stage = Stage(200, slo_ordering=False)
    for prompt, slo in ((10, SLO()), (10, SLO(ttft=0.3)), (100, SLO())):
        stage.waiting(prompt, slo)
    assert list(stage.decide().items()) == [(2, 100), (1, 10), (0, 10)]


def test_decodes_that_need_a_block_come_first_and_the_oldest_of_them() -> None:
    """Budget for four decodes, and two blocks: of three that need one two run, and of the others two."""
    stage = Stage(blocks=14, dynamic_chunking=False, static_chunk=4)
    for prompt in (5, 8, 5, 8, 8, 5):
        stage.decoding(prompt)
    assert list(stage.decide()) == [1, 3, 0, 2]


def test_equal_candidates_cost_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An overloaded trace without SLOs takes a fraction of the plain walk's CPU time, measured in turns."""
    random = np.random.default_rng(0)
    rows = [TraceRow(0.01 * n, int(random.integers(5, 400)), int(random.integers(5, 300))) for n in range(150)]
    trace, options = Trace.from_rows(rows), {"kv_blocks": 1500, "block_size": 16}
    seconds = {True: inf, False: inf}
    stories = {}
    for grouped in (True, False, True, False):
        began = process_time()
        policy = AccelGen(pivot=256)
        if grouped:
            stories[grouped] = simulate(trace, policy, MODEL, **options)
        else:
            stories[grouped] = told_plainly(monkeypatch, trace, policy, **options)
        seconds[grouped] = min(seconds[grouped], process_time() - began)
    assert not differences(stories[False], stories[True])
    assert seconds[False] > 2 * seconds[True]
