"""AccelGen by hand: budget, remaining time, urgency, windows, exclusive prompts, the nearest demand, each switch."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import BatchShape
from sim.batch import Batch
from sim.machine import Machine
from sim.replica import Replica
from sim.request import Phase, Request
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.accelgen.budget import equation_6, inverse, static
from sim.schedulers.accelgen.slack import Slack, deadline
from sim.simulation import simulate
from tests.sim.stories import PROFILE
from traces import SLO, Trace, TraceRow
from traces.errors import SlosimError


class PerToken:
    """A millisecond per token, and nothing else: S_pf tokens take S_pf milliseconds."""

    def iteration_time(self, shape: BatchShape) -> float:
        return 1e-3 * shape.forward_size


class Stage:
    """A server under AccelGen whose requests are put where the examples need them."""

    def __init__(self, blocks: int = 100, pivot: int = 100, **switches: Any) -> None:
        self.policy = AccelGen(pivot=pivot, watermark=0.0, **switches)
        self.server = Replica(0, self.policy, Machine(PerToken(), blocks, 4))
        self.ids = 0

    def waiting(self, prompt: int, slo: SLO = SLO(), at: float | None = None) -> Request:
        request = Request(self.ids, self.server.now if at is None else at, prompt, 1000, slo)
        self.ids += 1
        self.server.arrive(request)
        return request

    def started(self, prompt: int, tokens: int, slo: SLO = SLO()) -> Request:
        request = self.waiting(prompt, slo)
        batch = self.server.new_batch(10_000)
        assert batch.admit(request, tokens) == tokens
        self.apply(batch, 0.0)
        return request

    def decoding(self, prompt: int, slo: SLO = SLO()) -> Request:
        return self.started(prompt, prompt, slo)

    def apply(self, batch: Batch, seconds: float) -> None:
        self.server.start(batch)
        self.server.finish(batch, self.server.now + seconds, 0)

    def history(self, longest: float, chunk: int, iterations: int = 1, seconds: float | None = None) -> None:
        """Sets what has been measured so far: seconds, tokens."""
        history = self.server.history
        history.longest_iteration = longest
        history._chunks, history._chunk_tokens = 1, chunk
        history.iterations, history.seconds = iterations, longest if seconds is None else seconds

    def decide(self) -> dict[int, int]:
        """Tokens by request, as scheduled now."""
        self.server.prepare()
        self.batch = self.server.scheduler.schedule(self.server)
        chosen = self.server.decoding if self.batch.everyone else self.batch.decodes
        decodes = {request.id: 1 for request in chosen if request not in self.batch.preempted}
        return decodes | {request.id: tokens for request, tokens in self.batch.prefills.items()}

    def slack(self) -> Slack:
        return Slack(self.server, (100, 0.1), self.policy)


# -- Equation (6) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slo", "tokens"), [(0.1, 100), (0.05, 50), (0.2, 200), (0.0125, 12), (inf, 100)])
def test_budget_is_proportional_to_the_tightest_slo(slo: float, tokens: int) -> None:
    """S_b = S_pf SLO_min / T_pf; S_pf where nobody has an SLO."""
    assert equation_6((100, 0.1))(Stage().server, slo) == tokens


def test_the_papers_pivot_on_the_papers_machine() -> None:
    size, time = Machine.of(PROFILE, None, 16).pivot_of("paper")
    assert size == 768
    assert equation_6((size, time))(Stage().server, 0.1875) == int(768 * 0.1875 / time)
    with pytest.raises(SlosimError, match="the paper has no pivot forward size"):
        Stage(pivot="paper").decide()  # type: ignore[arg-type]


@given(st.integers(0, 30), st.floats(0.001, 2.0))
def test_the_inverse_budget_is_the_largest_that_is_on_time(decodes: int, slo: float) -> None:
    stage = Stage(1000)
    for _ in range(decodes):
        stage.decoding(3)
    budget = inverse((100, 0.1))(stage.server, slo)
    tokens = budget - decodes
    model = stage.server.cost_model
    assert budget >= 1, "or who is alone would wait for ever"
    assert tokens >= 0
    assert model.iteration_time(BatchShape(tokens + 1, decodes)) > slo
    assert model.iteration_time(BatchShape(tokens, decodes)) <= slo or tokens == 0 or budget == 1


def test_budgets_without_an_slo_or_a_choice() -> None:
    assert inverse((100, 0.1))(Stage().server, inf) == 100
    assert static(512)(Stage().server, 0.001) == 512


# -- remaining time -----------------------------------------------------------------------------------------------


def test_remaining_time_of_a_prompt() -> None:
    """T_r = SLO - T_w - ceil(prompt / mean chunk) x T_max = 2 - 0.5 - 3 x 0.1."""
    stage = Stage()
    stage.history(longest=0.1, chunk=40)
    request = stage.waiting(100, SLO(ttft=2.0), at=1.0)
    stage.server.now = 1.5
    assert stage.slack().remaining(request) == pytest.approx(2.0 - 0.5 - 3 * 0.1)
    assert stage.slack().iteration_slo(request) == 2.0
    assert deadline(request) == 3.0


def test_remaining_time_of_a_decode() -> None:
    """From its latest token on, one iteration more."""
    stage = Stage()
    request = stage.decoding(10, SLO(ttft=2.0, tbt=0.3))
    stage.history(longest=0.1, chunk=40)
    stage.server.now = 0.15
    assert request.generated == 1
    assert stage.slack().remaining(request) == pytest.approx(0.3 - 0.15 - 0.1)
    assert stage.slack().iteration_slo(request) == 0.3
    assert deadline(request) == 0.3
    free = stage.waiting(10)
    assert stage.slack().remaining(free) == deadline(free) == inf


def test_before_anything_was_measured_the_pivot_stands_in() -> None:
    stage = Stage()
    request = stage.waiting(250, SLO(ttft=2.0))
    assert stage.slack().remaining(request) == pytest.approx(2.0 - 3 * 0.1)


def test_completion_slos_are_spread_over_the_remaining_iterations() -> None:
    """3 chunks and 99 decodes of 20 ms take 2.04 s of the 12.24 s left: 0.1 s of waiting for each iteration."""
    stage = Stage(completion="spread")
    stage.history(longest=0.5, chunk=10, iterations=50, seconds=1.0)
    request = stage.waiting(30, SLO(jct=12.24 + 1.0))
    request.predicted_output = 100.0
    stage.server.now = 1.0
    slack = stage.slack()
    assert slack.remaining(request) == pytest.approx((12.24 - 102 * 0.02) / 102)
    assert slack.iteration_slo(request) == pytest.approx(0.02 + (12.24 - 102 * 0.02) / 102)
    assert deadline(request) == pytest.approx(13.24)


def test_lateness_of_completion_slos_carries_over_and_preemptions_cost() -> None:
    stage = Stage(default_output=51, completion="spread")
    stage.history(longest=0.5, chunk=10, iterations=50, seconds=1.0)
    request = stage.waiting(10, SLO(jct=5.0))
    on_time = stage.slack().remaining(request)
    assert on_time == pytest.approx((5.0 - 51 * 0.02) / 51)
    stage.server.now = 1.0
    assert stage.slack().remaining(request) == pytest.approx(on_time - 1.0 / 51)
    stage.server.history.preemptions = 2  # of one arrival
    assert stage.slack().remaining(request) == pytest.approx((4.0 - 51 * 0.02 * 3) / 51)
    stage.server.now = 10.0
    assert stage.slack().remaining(request) < 0
    assert stage.slack().iteration_slo(request) == pytest.approx(0.02), "a lost SLO asks for no less than an iteration"


# -- the batch ----------------------------------------------------------------------------------------------------


def test_chunks_fill_the_budget_of_the_tightest_member() -> None:
    """Decode SLO 50 ms on a 1 ms/token machine: 50 tokens in all, 49 for the prompt; 100 when it is gone."""
    stage = Stage()
    stage.decoding(10, SLO(tbt=0.05))
    prompt = stage.waiting(90, SLO(ttft=5.0))
    assert stage.decide() == {0: 1, 1: 49}
    assert not stage.batch.preempted
    alone = Stage()
    alone.waiting(90, SLO(ttft=0.06))
    assert alone.decide() == {0: 60}
    assert prompt.phase is Phase.WAITING


def test_the_cache_cuts_as_well() -> None:
    stage = Stage(blocks=10, admission="chunk")
    stage.waiting(90, SLO(ttft=5.0))
    assert stage.decide() == {0: 40}, "ten blocks of four"
    whole = Stage(blocks=30)
    whole.started(40, 39)
    whole.waiting(90, SLO(ttft=5.0))
    assert whole.decide() == {0: 1}, "a prompt starts only where all of it fits"


def test_static_chunks() -> None:
    stage = Stage(dynamic_chunking=False, static_chunk=30)
    stage.decoding(10, SLO(tbt=0.005))
    stage.waiting(90, SLO(ttft=5.0))
    assert stage.decide() == {0: 1, 1: 29}


def test_the_urgent_preempt_the_most_deferrable() -> None:
    """A prompt must run now; of two decodes the one with more time is dropped for its blocks."""
    stage = Stage(blocks=15)
    stage.decoding(20, SLO(tbt=5.0))
    stage.decoding(20, SLO(tbt=9.0))
    stage.history(longest=0.1, chunk=100)
    urgent = stage.waiting(24, SLO(ttft=0.15))
    assert stage.slack().remaining(urgent) <= 0.1
    assert stage.decide()[2] == 24
    assert [request.id for request in stage.batch.preempted] == [1]
    relaxed = Stage(blocks=15, urgency=0.1)
    relaxed.decoding(20, SLO(tbt=5.0))
    relaxed.decoding(20, SLO(tbt=9.0))
    relaxed.history(longest=0.1, chunk=100)
    relaxed.waiting(24, SLO(ttft=0.15))
    assert relaxed.decide() == {0: 1, 1: 1}


def test_the_late_are_not_urgent_unless_told_so() -> None:
    for overdue, preempted in (("late", []), ("urgent", [0])):
        stage = Stage(blocks=11, overdue=overdue)
        stage.decoding(20, SLO(tbt=5.0))
        stage.history(longest=0.1, chunk=100)
        stage.waiting(40, SLO(ttft=0.15))
        stage.server.now = 0.2
        stage.decide()
        assert [request.id for request in stage.batch.preempted] == preempted


def test_without_slo_ordering_nobody_is_urgent_and_arrival_rules() -> None:
    for ordering, first in ((True, 1), (False, 0)):
        stage = Stage(slo_ordering=ordering, multi_resource=False, gamma=0.0, dynamic_chunking=False, static_chunk=100)
        stage.waiting(90, SLO(ttft=9.0))
        stage.waiting(90, SLO(ttft=4.0))
        assert list(stage.decide().items()) == [(first, 90), (1 - first, 10)]


def test_only_the_alike_compete_by_demand() -> None:
    """The larger demand is nearer to what is free; but only within gamma of the most pressing remaining time."""
    for gamma, first in ((0.75, 1), (0.1, 0)):
        stage = Stage(gamma=gamma)
        stage.waiting(30, SLO(ttft=5.0))
        stage.waiting(80, SLO(ttft=5.5))
        assert next(iter(stage.decide())) == first
    stage = Stage(multi_resource=False)
    stage.waiting(30, SLO(ttft=5.0))
    stage.waiting(80, SLO(ttft=5.5))
    assert next(iter(stage.decide())) == 0


def test_one_long_prompt_at_a_time() -> None:
    """ERA: beyond the pivot a prompt is long; a second one waits, a short one does not."""
    slo = SLO(ttft=60.0)
    fixed = {"slo_ordering": False, "multi_resource": False, "dynamic_chunking": False, "static_chunk": 100}
    for exclusive, long_prompts, served in (
        (True, 1, {0: 50, 2: 50}),
        (True, 2, {0: 50, 1: 50}),
        (False, 1, {0: 50, 1: 50}),
    ):
        stage = Stage(200, exclusive=exclusive, long_prompts=long_prompts, **fixed)
        stage.started(150, 100, slo)
        stage.waiting(160, slo)
        stage.waiting(50, slo)
        assert stage.decide() == served


def test_a_started_long_prompt_goes_first() -> None:
    for exclusive, served in ((True, [(0, 100)]), (False, [(1, 50), (0, 50)])):
        stage = Stage(200, exclusive=exclusive, dynamic_chunking=False, static_chunk=100)
        stage.started(350, 100, SLO(ttft=90.0))
        stage.waiting(50, SLO(ttft=9.0))
        assert list(stage.decide().items()) == served


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=6),
    st.integers(4, 40),
    st.booleans(),
)
def test_the_nearest_demand_first(prompts: list[tuple[int, int]], blocks: int, normalized: bool) -> None:
    """Against a plain argmin of the distance, recomputed after each choice; the audit says the same."""
    stage = Stage(blocks, normalized=normalized, exclusive=False, admission="chunk", candidates=100, audit=True)
    for prompt, _ in prompts:
        stage.waiting(prompt)
    left = {number: prompt for number, (prompt, _) in enumerate(prompts)}
    tokens, free, expected, audited = 100, blocks, {}, []
    while True:
        demands = {n: min(rest, tokens, free * 4) for n, rest in left.items()}
        feasible = {n: (demand, -(-demand // 4)) for n, demand in demands.items() if demand > 0}
        if not feasible:
            break
        scale = (max(tokens, 1), max(free * 4, 1)) if normalized else (1, 1)
        nearest = min(
            feasible,
            key=lambda n: (
                ((tokens - feasible[n][0]) / scale[0]) ** 2 + ((free * 4 - 4 * feasible[n][1]) / scale[1]) ** 2,
                n,
            ),
        )
        expected[nearest], taken = feasible[nearest]
        first, held = feasible[min(feasible)]
        audited.append((nearest, len(feasible), tokens, free * 4, expected[nearest], taken * 4, first, held * 4))
        tokens, free = tokens - expected[nearest], free - taken
        del left[nearest]
    served = stage.decide()
    assert list(served.items()) == list(expected.items())
    columns = stage.server.scheduler.notes()
    if len(prompts) > 1:  # one alone is no selection
        names = (
            "request",
            "candidates",
            "available_tokens",
            "available_kv",
            "tokens",
            "kv",
            "first_tokens",
            "first_kv",
        )
        assert list(zip(*(columns[name] for name in names), strict=True)) == audited
        assert set(columns["at"]) == {0.0}


def test_shares_weigh_tokens_and_cache_alike() -> None:
    """100 tokens and 400 of cache are free; demands are (100, 0) and (30, 32). As they are, the cache rules."""
    for normalized, first in ((False, 1), (True, 0)):
        stage = Stage(131, normalized=normalized, exclusive=False)
        started = stage.waiting(120)
        batch = stage.server.new_batch(10_000)
        batch.admit(started, 1, reserve=123)
        stage.apply(batch, 0.0)
        stage.waiting(30)
        assert stage.server.free_blocks == 100
        assert next(iter(stage.decide())) == first


def test_when_nobody_can_move_the_newest_makes_room() -> None:
    stage = Stage(blocks=4)
    stage.decoding(8)
    stage.decoding(8)
    assert stage.decide() == {0: 1}
    assert [request.id for request in stage.batch.preempted] == [1]


def test_the_order_is_refreshed_when_the_past_changes() -> None:
    stage = Stage()
    bound = stage.server.scheduler
    before = bound.epoch(stage.server)
    assert bound.epoch(stage.server) == before
    stage.history(longest=1.0, chunk=50)
    after = bound.epoch(stage.server)
    assert after != before
    stage.history(longest=1.01, chunk=51)
    assert bound.epoch(stage.server) == after
    assert repr(bound) == repr(stage.policy)


def test_switches_change_a_run() -> None:
    """Each switch, alone, tells another story on a busy machine."""
    rows = [
        TraceRow(
            0.02 * n, 30 + 97 * n % 1500, 5 + n % 40, SLO(0.3 + n % 3, (0.05, 0.2)[n % 2], 4.0 if n % 7 == 0 else inf)
        )
        for n in range(120)
    ]
    trace = Trace.from_rows(rows)

    def ends(policy: AccelGen) -> list[float]:
        return simulate(trace, policy, PROFILE, kv_blocks=500, block_size=16).iterations["end"].tolist()  # type: ignore[no-any-return]

    standard = ends(AccelGen())
    switched: list[dict[str, Any]] = [
        {"token_budget": "inverse"},
        {"pivot": 400},
        {"gamma": 0.0},
        {"dynamic_chunking": False},
        {"slo_ordering": False},
        {"multi_resource": False},
        {"exclusive": False},
        {"long_prompt": 100},
        {"urgency": 5.0},
        {"overdue": "urgent"},
        {"admission": "chunk"},
        {"watermark": 0.2},
        {"candidates": 2},
    ]
    assert [switch for switch in switched if ends(AccelGen(**switch)) == standard] == []
