"""Why requests were late: what a bystander sees, on random workloads, and each cause by itself, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel import BatchShape, prompt
from sim.attribution import CAUSES, EXCESSES, Attribution, attribute, life, roll_up
from sim.attribution.causes import over
from sim.attribution.first import below
from sim.batch import Batch
from sim.request import Phase, Request
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.cacheopt.policy import CacheOpt
from sim.schedulers.fastgen import FastGen
from sim.schedulers.fastserve import FastServe
from sim.schedulers.orca import Orca
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from tests.sim.naive_attribution import Bystander, Life, matrix, split
from tests.sim.stories import MODEL, PROFILE, Whimsical, blocks_for_largest, little_trace
from tests.sim.strategies import BLOCK_SIZES, SPARE_BLOCKS, WORKLOADS
from tests.sim.synthetic import made_up
from traces import SLO, Trace, TraceRow, assign_slos, paper_mix
from traces.errors import SlosimError

POLICIES = st.sampled_from((
    Vllm(),
    Vllm(preemption="swap", watermark=0.1),
    Vllm(chunked_prefill=True, max_num_batched_tokens=40, preemption="swap"),
    VllmV1(max_num_batched_tokens=64),
    VllmV1(max_num_batched_tokens=64, reserve_full_prompt=False),
    Sarathi(chunk_size=40, max_num_seqs=8),
    AccelGen(pivot=64),
    AccelGen(pivot=64, admission="chunk", token_budget="inverse"),
    Orca(max_num_seqs=8, max_output=20),
    FastGen(max_ragged_batch_size=40),
    FastServe(),
    CacheOpt(),
    Whimsical(),
    Whimsical(1, whim=0.5),
    Whimsical(2, patient=True, whim=0.5),
    Whimsical(3, ahead=0.5, whim=0.5, release_delay=1),
))  # fmt: skip


def both(trace: Trace, policy: Scheduler, **options: Any) -> tuple[RunResult, Attribution, list[Life | None]]:
    """A run, its delays split from its tables, and as somebody saw them who was there."""
    bystander = Bystander()
    watched = simulate(trace, policy, MODEL, watch=bystander, **options)
    result = simulate(trace, policy, MODEL, **options)
    return result, attribute(result, MODEL), split(watched, bystander, MODEL)


@settings(max_examples=150)
@given(POLICIES, WORKLOADS, BLOCK_SIZES, SPARE_BLOCKS, st.integers(1, 2), st.sampled_from((None, None, 0.4)))
def test_delays_are_split_as_somebody_beside_the_server_would(
    policy: Scheduler, trace: Trace, size: int, spare: int, replicas: int, horizon: float | None
) -> None:
    blocks = blocks_for_largest(trace, size) + spare
    options: dict[str, Any] = {"kv_blocks": blocks, "block_size": size, "replicas": replicas, "horizon": horizon}
    result, causes, lives = both(trace, policy, **options)
    limit = (
        np.where(np.isfinite(trace.tbt), trace.tbt, np.inf) if trace.tbt is not None else np.full(len(trace), np.inf)
    )
    for number, seen in enumerate(lives):
        if seen is None:
            assert not causes.first[:, number].any()
            assert not causes.later[:, number].any()
            continue
        np.testing.assert_allclose(causes.first[:, number], matrix(seen.first), atol=1e-11)
        np.testing.assert_allclose(causes.later[:, number], matrix(seen.later), atol=1e-11)
        late = [gap for gap in seen.gaps if gap[0] > limit[number]]
        assert causes.late_gaps[number] == len(late)
        expected = sum((_over(*gap, float(limit[number])) for gap in late), np.zeros(len(EXCESSES)))
        np.testing.assert_allclose(causes.late[:, number], expected, atol=1e-11)
    _adds_up(result, causes)


def _over(gap: float, alone: float, parts: dict[str, float], limit: float) -> np.ndarray:
    """By its definition: what one alone takes beyond the limit; the rest in proportion to the parts."""
    own = max(alone - limit, 0.0)
    return np.array([own, *(matrix(parts) * (gap - limit - own) / sum(parts.values()))])


def _adds_up(result: RunResult, causes: Attribution) -> None:
    rows = result.requests
    came = ~np.isnan(rows["first_token_at"])
    ttft = rows["first_token_at"] - rows["arrived_at"]
    rest = result.tokens.last_at(len(result)) - rows["first_token_at"]
    near = 1e-12 * max(result.end, 1.0)
    np.testing.assert_allclose((causes.first_alone + causes.first.sum(0))[came], ttft[came], atol=near)
    np.testing.assert_allclose((causes.later_alone + causes.later.sum(0))[came], rest[came], atol=near)
    assert causes.late_gaps.tolist() == result.verdicts.late_gaps.tolist()


@pytest.mark.parametrize("policy", ["vllm", "accelgen", "sarathi"])
def test_on_the_paper_s_mix_the_causes_add_up_and_none_gives_time_back(policy: str) -> None:
    trace = assign_slos(paper_mix(requests=300, rate=0.8), PROFILE.prefill_time)
    result = simulate(trace, policy, PROFILE, kv_blocks=457, block_size=32)
    causes = attribute(result, PROFILE.cost_model)
    _adds_up(result, causes)
    assert causes.first.min() > -1e-9, "a prompt in pieces is never sooner done on this machine"
    assert causes.later.min() > -1e-9
    total = roll_up(result, causes)
    missed = result.verdicts.ttft == 0
    over_slo = (result.requests["first_token_at"] - result.requests["arrived_at"] - result.requests["slo_ttft"])[missed]
    assert total.ttft.total == pytest.approx(np.nansum(over_slo), abs=1e-4)
    assert (total.ttft.late, total.ttft.never) == (int((~np.isnan(over_slo)).sum()), int(np.isnan(over_slo).sum()))
    assert sum(total.ttft.mainly.values()) == total.ttft.late
    assert total.tbt.events == result.verdicts.late_gaps.sum()
    summary = result.summary()
    assert sum(total.delay.values()) == pytest.approx(summary["mean_jct"], abs=1e-4)
    assert sum(total.first_delay.values()) == pytest.approx(summary["mean_ttft"], abs=1e-4)
    assert total.jct.asked == 0
    assert np.isnan(total.summary()["jct_excess_queueing"])


# -- by hand ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clockwork:
    """Two seconds an iteration, one per prompt token, half a second per decode, a quarter per token copied."""

    fixed: float = 2.0

    def iteration_time(self, shape: BatchShape) -> float:
        return self.fixed + shape.prefill_tokens + shape.decode_tokens / 2 + shape.swapped_tokens / 4


CLOCK = Clockwork()
Step = Mapping[str, Any]


@dataclass(frozen=True)
class Scripted(Scheduler):
    """Does in each iteration what is written, then goes on as it pleases: everybody decodes, whoever fits starts."""

    script: tuple[Step, ...] = ()
    done: list[int] = field(default_factory=list)

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1000)
        here = {request.id: request for request in server.everyone()}
        step = self.script[len(self.done)] if len(self.done) < len(self.script) else None
        self.done.append(1)
        if step is None:
            return self._freely(server, batch)
        for number, swap in step.get("preempt", {}).items():
            batch.preempt(here[number], swap)
        for number in step.get("resume", ()):
            batch.resume(here[number])
        if "decode" in step:
            for number in step["decode"]:
                batch.decode(here[number])
        for number, tokens in step.get("compute", {}).items():
            self._compute(batch, here[number], tokens)
        return batch

    def _compute(self, batch: Batch, request: Request, tokens: int | None) -> None:
        (batch.prefill if request.phase is Phase.PREFILLING else batch.admit)(request, tokens)

    def _freely(self, server: Server, batch: Batch) -> Batch:
        batch.decode_all()
        for request in server.swapped:
            batch.resume(request)
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            batch.admit(request)
        return batch


def causes_of(rows: list[tuple[float, int, int]], *script: Step, blocks: int = 100, block_size: int = 4) -> Any:
    """The causes of each request that are not nought, first and later token's apart; rows as in a trace."""
    result = simulate(Trace.from_rows(rows), Scripted(script), CLOCK, kv_blocks=blocks, block_size=block_size)
    assert (result.requests["status"] == 0).all()
    found = attribute(result, CLOCK)
    return [
        tuple(
            {name: seconds for name, seconds in zip(CAUSES, part[:, number].round(9).tolist(), strict=True) if seconds}
            for part in (found.first, found.later)
        )
        for number in range(len(rows))
    ]


def test_alone_nobody_is_delayed() -> None:
    assert causes_of([(1.0, 4, 3)]) == [({}, {})]


def test_who_could_fit_and_does_not_run_queues() -> None:
    """It came at 1, its neighbour's prompt runs until 6; then they run together: 2 + 4 + 1/2."""
    told = causes_of([(0.0, 4, 2), (1.0, 4, 1)], {"compute": {0: None}})
    assert told == [({}, {"prefill_interference": 4.0}), ({"queueing": 5.0, "batch_slowdown": 0.5}, {})]


def test_who_does_not_fit_waits_for_the_cache() -> None:
    """The first fills both blocks until its last token at 6 + 3 x 2.5."""
    told = causes_of([(0.0, 4, 4), (1.0, 5, 1)], {"compute": {0: None}}, blocks=2)
    assert told == [({}, {}), ({"kv_wait": 12.5}, {})]


def test_a_prompt_in_pieces_pays_each_iteration_and_stalls_between_them() -> None:
    """Two pieces take 4 s each instead of 6 s at once, and 2 + 3 s pass between them."""
    script = ({"compute": {0: 2}}, {"compute": {1: None}}, {"compute": {0: None}})
    told = causes_of([(0.0, 4, 1), (4.0, 3, 1)], *script)
    assert told == [({"chunking": 2.0, "chunk_stall": 5.0}, {}), ({}, {})]


def test_prompts_in_one_batch_delay_each_other() -> None:
    told = causes_of([(0.0, 4, 1), (0.0, 3, 1)])
    assert told == [({"prefill_interference": 3.0}, {}), ({"prefill_interference": 4.0}, {})]


def test_a_batch_of_prompts_alone_keeps_decodes_waiting() -> None:
    script = ({"compute": {0: None}}, {"compute": {1: None}})
    told = causes_of([(0.0, 4, 2), (6.0, 3, 1)], *script)
    assert told == [({}, {"prefill_interference": 5.0}), ({}, {})]


def test_decodes_in_one_batch_slow_each_other_down() -> None:
    told = causes_of([(0.0, 4, 3), (0.0, 4, 2), (0.0, 4, 2)])
    assert [later for _, later in told] == [{"batch_slowdown": 1.0}] * 3


def test_who_is_left_out_is_paused() -> None:
    script = ({"compute": {0: None, 1: None}}, {"decode": [1]}, {"decode": [1]}, {"decode": [0]})
    told = causes_of([(0.0, 4, 2), (0.0, 4, 3)], *script)
    assert [later for _, later in told] == [{"paused": 5.0}, {}]


def test_all_from_losing_the_cache_to_the_next_token_is_preemption() -> None:
    """Left alone it would have gone on after 2.5 s; it waits 2 x 2.5 s for the other, then computes 4 + 1 tokens."""
    script = (
        {"compute": {0: None, 1: None}},
        {"decode": [1], "preempt": {0: False}},
        {"decode": [1]},
        {"compute": {0: None}},
    )
    told = causes_of([(0.0, 4, 2), (0.0, 4, 3)], *script)
    assert [later for _, later in told] == [{"preemption": 5.0 + 7.0 - 2.5}, {}]


def test_swapped_cache_is_preemption_for_its_owner_and_copies_are_for_everybody() -> None:
    """One block of four tokens goes out and comes back: 1 s each time, for both."""
    script = (
        {"compute": {0: None, 1: None}},
        {"decode": [1], "preempt": {0: True}},
        {"decode": [1], "resume": [0]},
    )
    told = causes_of([(0.0, 4, 2), (0.0, 4, 3)], *script)
    mine, others = (later for _, later in told)
    assert mine == {"preemption": 3.5 + 1.0, "batch_slowdown": 0.5}
    assert others == {"preemption": 2.0, "batch_slowdown": 0.5}


def test_a_lost_attempt_before_the_first_token_is_preemption() -> None:
    script = ({"compute": {0: 2}}, {"compute": {1: None}, "preempt": {0: False}})
    told = causes_of([(0.0, 4, 1), (0.0, 3, 1)], *script)
    assert told[0] == ({"preemption": 4.0 + 5.0}, {})


def test_before_the_first_token_time_on_the_host_is_preemption_too() -> None:
    script = ({"compute": {0: 2}}, {"compute": {1: None}, "preempt": {0: True}}, {"resume": [0]})
    told = causes_of([(0.0, 4, 1), (4.0, 3, 1)], *script)
    assert told[0][0]["preemption"] == 6.0 + 1.0, "2 + 3 + 1 s of the other's prompt, a block's copy there and back"
    assert told[0][0]["chunking"] == 2.0


def test_what_the_cost_model_does_not_explain_is_said() -> None:
    result = simulate(Trace.from_rows([(0.0, 4, 3)]), Scripted(), CLOCK, kv_blocks=9)
    found = attribute(result, Clockwork(fixed=1.5))
    at = CAUSES.index("beyond_model")
    assert (found.first[at, 0], found.later[at, 0]) == (0.5, 1.0)
    charged = simulate(little_trace(1), Whimsical(), MODEL, kv_blocks=99, charge_scheduling=True)
    causes = attribute(charged, MODEL)
    _adds_up(charged, causes)
    assert (causes.first + causes.later)[at].max() > 1e-5


# -- over an SLO ------------------------------------------------------------------------------------------------------


def test_what_is_over_an_slo_is_shared_out() -> None:
    """Alone 3 s; 2 and 4 s more. Of 9 s, an SLO of 6 s leaves 3: the room of 3 s goes first, in proportion."""
    parts = np.zeros((len(CAUSES), 3))
    parts[:2] = np.array([[2.0], [4.0]])
    shared = over(parts, np.full(3, 3.0), np.array([6.0, 3.0, 1.0]))
    assert shared[:3].T.tolist() == [[0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [2.0, 2.0, 4.0]]


def test_what_never_came_has_no_causes_but_is_counted() -> None:
    rows = [TraceRow(0.0, 4, 2, SLO(ttft=1.0, tbt=9.0, jct=99.0), ""), TraceRow(0.0, 40, 2, SLO(1.0, 1.0, 1.0), "")]
    result = simulate(Trace.from_rows(rows), Scripted(), CLOCK, kv_blocks=3, block_size=4)
    causes = attribute(result, CLOCK)
    total = roll_up(result, causes)
    assert result.rejections.keys() == {1}
    assert (total.ttft.asked, total.ttft.late, total.ttft.never) == (2, 1, 1)
    assert (total.tbt.asked, total.tbt.late, total.tbt.never) == (2, 0, 1)
    assert (total.jct.asked, total.jct.late, total.jct.never) == (2, 0, 1)
    assert total.ttft.excess["alone"] == 5.0
    assert total.ttft.mainly["alone"] == 1
    assert not causes.first[:, 1].any()


def test_a_jct_s_excess_has_the_causes_of_all_its_tokens() -> None:
    rows = [TraceRow(0.0, 4, 3, SLO(jct=10.0), ""), TraceRow(0.0, 3, 3, SLO(jct=99.0), "")]
    result = simulate(Trace.from_rows(rows), Scripted(), CLOCK, kv_blocks=99, block_size=4)
    total = roll_up(result, attribute(result, CLOCK))
    assert result.requests["finished_at"].tolist() == [15.0, 15.0]
    assert total.jct.excess["alone"] == 1.0
    assert total.jct.excess["prefill_interference"] == 3.0
    assert total.jct.excess["batch_slowdown"] == 1.0
    assert total.jct.total == 5.0


# -- a life -----------------------------------------------------------------------------------------------------------


def test_a_life_by_hand() -> None:
    script = (
        {"compute": {0: None, 1: None}},
        {"decode": [0, 1]},
        {"decode": [1]},
        {"decode": [0, 1]},
        {"decode": [1], "preempt": {0: False}},
    )
    trace = Trace.from_rows([(0.0, 4, 5), (0.0, 4, 9)])
    result = simulate(trace, Scripted(script), CLOCK, kv_blocks=99, block_size=4)
    told = life(result, CLOCK, 0)
    assert told == [
        ("waits", 0.0, 0.0, 0, 0.0, {}),
        ("prompt", 0.0, 10.0, 1, 6.0, {"prefill_interference": 4.0}),
        ("decodes", 10.0, 13.0, 1, 2.5, {"batch_slowdown": 0.5}),
        ("paused", 13.0, 18.5, 1, 2.5, {"batch_slowdown": 0.5, "paused": 2.5}),
        ("preempted", 18.5, 30.5, 1, 2.5, {"preemption": 2.5 + 2 + 7 + 0.5 - 2.5}),
        ("decodes", 30.5, 33.5, 1, 2.5, {"batch_slowdown": 0.5}),
    ]


@settings(max_examples=25)
@given(POLICIES, WORKLOADS)
def test_stages_follow_each_other_and_add_up(policy: Scheduler, trace: Trace) -> None:
    result = simulate(trace, policy, MODEL, kv_blocks=blocks_for_largest(trace, 4) + 2, block_size=4)
    causes = attribute(result, MODEL)
    for number in range(min(len(trace), 5)):
        stages = life(result, MODEL, number)
        if not stages:
            assert np.isnan(result.requests["first_token_at"][number])
            continue
        for before, after in pairwise(stages):
            assert after.begin == before.end
        assert sum(stage.tokens for stage in stages) == result.requests["generated"][number]
        for stage in stages:
            assert stage.alone + sum(stage.causes.values()) == pytest.approx(stage.end - stage.begin, abs=1e-7)
        for at, name in enumerate(CAUSES):
            total = sum(stage.causes.get(name, 0.0) for stage in stages)
            assert total == pytest.approx(causes.first[at, number] + causes.later[at, number], abs=1e-7)


# -- parts ------------------------------------------------------------------------------------------------------------


def test_a_cost_model_without_lines_gives_the_same() -> None:
    trace = little_trace(5)

    @dataclass(frozen=True)
    class Bare:
        def iteration_time(self, shape: BatchShape) -> float:
            return MODEL.iteration_time(shape)

    result = simulate(trace, "vllm", MODEL, kv_blocks=blocks_for_largest(trace, 16) + 1)
    with_lines, without = attribute(result, MODEL).columns(), attribute(result, Bare()).columns()
    for name, column in with_lines.items():
        np.testing.assert_allclose(column, without[name], atol=1e-12, err_msg=name)


def test_columns_come_back_as_they_were() -> None:
    trace = little_trace(7)
    result = simulate(trace, "sarathi", MODEL, kv_blocks=99)
    causes = attribute(result, MODEL)
    again = Attribution.of_columns(causes.columns())
    for name, column in causes.columns().items():
        assert again.columns()[name].tolist() == column.tolist()
    assert causes.first_alone[3] == MODEL.iteration_time(prompt(int(trace.prompt_tokens[3])))


def test_a_result_of_nothing_has_no_delays() -> None:
    empty = simulate(Trace.from_rows([]), "vllm", MODEL, kv_blocks=9)
    assert attribute(empty, MODEL).first.shape == (len(CAUSES), 0)
    assert roll_up(empty, attribute(empty, MODEL)).ttft.asked == 0


def test_a_result_without_events_is_refused() -> None:
    with pytest.raises(SlosimError, match="run it anew"):
        attribute(replace(made_up(1), events={}), MODEL)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=30), st.data())
def test_below_adds_up_what_is_below(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    edges = st.integers(0, len(rows))
    asked = data.draw(st.lists(st.tuples(edges, edges, st.integers(0, 50)), max_size=20))
    begin, end = (np.array([pick(a, b) for a, b, _ in asked], np.int64) for pick in (min, max))
    limit = np.array([most for _, _, most in asked], np.int64)
    values, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = below(values, weights.astype(float), begin, end, limit)
    assert found.tolist() == [sum(w for v, w in rows[min(a, b) : max(a, b)] if v < most) for a, b, most in asked]
