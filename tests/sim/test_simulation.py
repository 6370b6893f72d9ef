"""The door of the simulator: inputs refused, requests rejected, horizons, progress, what a run says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from costmodel import BatchShape, Calibrated
from sim.batch import Batch
from sim.errors import SchedulerError, UnknownScheduler
from sim.machine import Machine
from sim.predictor import Noisy, Perfect
from sim.router import LeastLoaded, RoundRobin
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, PROFILE, blocks_for_largest, differences, little_trace
from traces import SLO, Trace, TraceRow
from traces.errors import SlosimError


@dataclass(frozen=True)
class Flat:
    """A second an iteration."""

    def iteration_time(self, shape: BatchShape) -> float:
        return 1.0


def story(rows: list[tuple[Any, ...]], policy: Scheduler | str = "vllm", **options: Any) -> Any:
    return simulate(Trace.from_rows(rows), policy, Flat(), **{"kv_blocks": 10, "block_size": 4} | options)


def test_a_story_by_hand() -> None:
    """Prompt, then decodes; a newcomer's prompt stalls them for an iteration."""
    result = story([(0.0, 4, 4), (1.5, 8, 2)])
    assert result.token_times(0).tolist() == [1.0, 2.0, 4.0, 5.0]
    assert result.token_times(1).tolist() == [3.0, 4.0]
    rows = {name: column.tolist() for name, column in result.iterations.items()}
    assert rows["end"] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rows["prefill_tokens"] == [4, 0, 8, 0, 0]
    assert rows["decode_tokens"] == [0, 1, 0, 2, 1]
    assert rows["context_tokens"] == [0, 5, 0, 6 + 9, 7]
    assert rows["attention_pairs"] == [8.0, 0.0, 32.0, 0.0, 0.0]
    assert rows["kv_tokens"] == [4, 5, 13, 15, 7]
    assert rows["free_blocks"] == [9, 8, 6, 5, 8]
    assert rows["free_blocks_end"] == [9, 8, 6, 8, 10]
    assert rows["running"] == [1, 1, 2, 2, 1]
    assert result.requests["status"].tolist() == [0, 0]


def test_nobody_waits_for_an_idle_server() -> None:
    result = story([(0.25, 4, 1), (7.5, 4, 1)])
    assert result.iterations["start"].tolist() == [0.25, 7.5]


def test_what_can_never_fit_is_rejected() -> None:
    result = story([(0.0, 38, 4), (0.0, 38, 3), (0.0, 4, 1)], "vllm,watermark=0.0")
    assert result.requests["status"].tolist() == [1, 0, 0]
    assert result.rejections == {0: "it needs 11 KV blocks of 4 tokens; the cache has 10"}
    assert np.isnan(result.requests["first_token_at"][0])


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (Vllm(max_num_batched_tokens=8), "its 9 tokens exceed the limit of 8 tokens of one prefill batch"),
        (Vllm(max_model_len=8), "its 9 tokens exceed the limit of 8 tokens"),
        (Vllm(watermark=0.8), "3 blocks; the cache has 10"),
        (Sarathi(max_model_len=8), "its 9 tokens exceed the model's 8"),
        (Sarathi(watermark=0.8), "3 blocks; the cache has 10"),
    ],
    ids=repr,
)
def test_policies_reject_as_their_engines_do(policy: Scheduler, why: str) -> None:
    result = story([(0.0, 9, 2), (0.0, 4, 2)], policy)
    assert result.requests["status"].tolist() == [1, 0]
    assert why in result.rejections[0]


def test_padding_counts_in_version_0_2_7() -> None:
    """Prompts of 4 and 20: together they cost 40 tokens, 16 of them padding."""
    rows = [(0.0, 20, 1), (0.0, 4, 1)]
    for paddings, batches in ((16, [24]), (15, [20, 4])):
        result = story(rows, Vllm(max_num_batched_tokens=100, max_paddings=paddings))
        assert result.iterations["prefill_tokens"].tolist() == batches
    for paddings, sequences in ((50, [1, 1, 0, 1]), (None, [1, 1, 1])):
        result = story([(0.0, 4, 3), (1.5, 30, 1)], Vllm(max_num_batched_tokens=20, max_paddings=paddings))
        assert result.iterations["sequences"].tolist() == sequences, "a step that only drops requests ends there"


def test_whole_prompts_wait_for_a_batch_of_their_own() -> None:
    result = story([(0.0, 9, 1), (0.0, 9, 1)], VllmV1(max_num_batched_tokens=12, chunked_prefill=False))
    assert result.iterations["prefill_tokens"].tolist() == [9, 9]
    result = story([(0.0, 9, 1), (0.0, 9, 1)], VllmV1(max_num_batched_tokens=12))
    assert result.iterations["prefill_tokens"].tolist() == [12, 6]


def test_the_horizon_cuts_off() -> None:
    rows = [(0.0, 4, 1), (0.0, 4, 9), (2.5, 4, 2), (50.0, 4, 2)]
    result = story(rows, horizon=4.5)
    assert result.requests["status"].tolist() == [0, 2, 2, 3]
    assert result.requests["generated"].tolist() == [1, 3, 1, 0]
    assert result.token_times(1).tolist() == [1.0, 2.0, 3.0]
    assert result.about["horizon"] == 4.5
    assert result.iterations["end"].tolist() == [1.0, 2.0, 3.0, 4.0]
    for horizon in (0.0, -1.0, float("nan")):
        with pytest.raises(SlosimError, match="the horizon must be a positive number of seconds"):
            story(rows, horizon=horizon)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"warmup": 1.0}, "warm-up must be a share of the arrivals' time, from 0 to less than 1, not 1.0"),
        ({"warmup": -0.1}, "not -0.1"),
        ({"replicas": 0}, "at least one replica, not 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(SlosimError, match=words):
        story([(0.0, 4, 1)], **setting)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(SlosimError, match="neither a profile nor a cost model"):
        simulate(little_trace(0), "vllm", object())
    with pytest.raises(SlosimError, match="give kv_blocks"):
        simulate(little_trace(0), "vllm", Flat())
    with pytest.raises(SlosimError, match="at least 1, not 0 and 5"):
        simulate(little_trace(0), "vllm", Flat(), kv_blocks=5, block_size=0)
    with pytest.raises(SlosimError, match="at least 1, not 32 and 0"):
        simulate(little_trace(0), "vllm", Flat(), kv_blocks=0)
    with pytest.raises(UnknownScheduler, match="did you mean 'vllm'"):
        simulate(little_trace(0), "vlm", Flat(), kv_blocks=5)


def test_machines() -> None:
    machine = Machine.of(PROFILE, None, None)
    assert (machine.block_size, machine.kv_blocks) == (32, 457)
    assert (machine.name, machine.digest) == (PROFILE.name, PROFILE.digest)
    assert Machine.of(PROFILE, 77, 32).kv_blocks == 77
    assert machine.pivot_of("measured") == (PROFILE.pivot.forward_size, PROFILE.pivot.time)
    assert machine.pivot_of(300) == (300, PROFILE.prefill_time(300))
    capacity = machine.capacity(3)
    assert (capacity.replicas, capacity.pivot_forward_size) == (3, PROFILE.pivot.forward_size)
    assert capacity.peak_operations == PROFILE.peak_operations
    bare = Machine.of(MODEL, 10, 4)
    assert (bare.name, bare.digest, bare.capacity(1).model) == (repr(MODEL), "", None)
    assert np.isnan(bare.capacity(1).pivot_forward_size)
    assert bare.pivot.forward_size >= 128
    with pytest.raises(SlosimError, match="the paper has no pivot forward size"):
        Machine.of(MODEL, 10, 4).pivot_of("paper")


def test_what_a_run_says_about_itself() -> None:
    trace = little_trace(0)
    about = simulate(trace, "oracle", PROFILE, seed=7, warmup=0.1, replicas=2, router=LeastLoaded()).about
    assert about["scheduler"].startswith("Oracle(")
    assert (about["profile"], about["profile_digest"]) == (PROFILE.name, PROFILE.digest)
    assert (about["seed"], about["warmup"], about["replicas"]) == (7, 0.1, 2)
    assert (about["predictor"], about["router"]) == (repr(Perfect()), "LeastLoaded()")
    assert (about["trace_digest"], about["horizon"], about["block_size"]) == (trace.digest, None, 32)
    assert about["cpu_seconds"] >= 0
    assert about["wall_seconds"] > 0


def test_progress_is_told() -> None:
    told: list[tuple[int, int, float]] = []
    trace = Trace.from_columns(np.arange(9000) / 10.0, np.full(9000, 5), np.full(9000, 2))
    simulate(trace, "vllm", MODEL, kv_blocks=100, progress=lambda *values: told.append(values))
    assert len(told) >= 3
    done, total, now = told[-1]
    assert total == 9000
    assert 8500 < done <= 9000
    assert 850 < now < 950
    assert [values[0] for values in told] == sorted(values[0] for values in told)


def test_requests_carry_what_the_trace_says() -> None:
    seen: dict[int, tuple[Any, ...]] = {}

    class Notes(Vllm):
        def schedule(self, server: Server) -> Batch:
            for one in server.waiting:
                seen[one.id] = (one.arrived_at, one.prompt_tokens, one.slo, one.application, one.predicted_output)
            return super().schedule(server)

    rows = [TraceRow(0.5, 3, 4, SLO(1.0, 2.0, 3.0), "chat"), TraceRow(0.75, 5, 6, SLO(), "code")]
    simulate(Trace.from_rows(rows), Notes(), Flat(), kv_blocks=10, predictor=Perfect())
    assert seen == {0: (0.5, 3, rows[0].slo, "chat", 4.0), 1: (0.75, 5, rows[1].slo, "code", 6.0)}


def test_routers() -> None:
    rows = [(0.0, 4, 9), (0.25, 4, 1), (0.5, 4, 1), (3.5, 4, 1)]
    by_turns = story(rows, replicas=2, router=RoundRobin()).spans
    assert dict(zip(by_turns["request"].tolist(), by_turns["server"].tolist(), strict=True)) == {0: 0, 1: 1, 2: 0, 3: 1}
    by_load = story(rows, replicas=2, router=LeastLoaded()).spans
    assert dict(zip(by_load["request"].tolist(), by_load["server"].tolist(), strict=True)) == {0: 0, 1: 1, 2: 0, 3: 1}
    third = story([(0.0, 4, 9), (1.5, 4, 1), (4.5, 4, 1)], replicas=2, router=LeastLoaded()).spans
    assert third["server"].tolist() == [0, 1, 1], "the first of equals, the fewest otherwise"
    rejected = story([(0.0, 99, 1), (0.0, 4, 1)], replicas=2)
    assert rejected.requests["status"].tolist() == [1, 0]


def test_replicas_do_not_disturb_each_other() -> None:
    trace = little_trace(5, requests=40)
    both = simulate(trace, "sarathi", MODEL, kv_blocks=30, replicas=2)
    for server in (0, 1):
        alone = simulate(trace[np.arange(len(trace)) % 2 == server], "sarathi", MODEL, kv_blocks=30)
        mine = both.iterations["server"] == server
        assert both.iterations["end"][mine].tolist() == alone.iterations["end"].tolist()
        assert both.iterations["free_blocks"][mine].tolist() == alone.iterations["free_blocks"].tolist()
    assert (np.diff(both.iterations["end"]) >= 0).all()


class Never(Scheduler):
    def schedule(self, server: Server) -> Batch:
        return server.new_batch(10)


class Shuttles(Scheduler):
    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(10)
        for request in server.waiting:
            batch.admit(request)
        for request in server.running:
            batch.preempt(request, swap=True)
        for request in server.swapped:
            batch.resume(request, run=False)
        return batch


def test_a_world_that_stops_is_the_policys_fault() -> None:
    with pytest.raises(
        SchedulerError, match=r"returned an empty batch at t = 0.5.* 2 waiting, 0 running.*The first: Req"
    ):
        story([(0.5, 4, 2), (0.5, 4, 2)], Never())
    cut = story([(0.5, 4, 2)], Never(), horizon=5.0)
    assert cut.requests["status"].tolist() == [2]


def test_a_livelock_is_the_policys_fault() -> None:
    with pytest.raises(
        SchedulerError, match=r"moved requests \d+ times in a row without computing a token.*a livelock"
    ):
        story([(0.0, 4, 2)], Shuttles())


def test_a_policy_must_say_what_to_schedule() -> None:
    with pytest.raises(NotImplementedError, match="Scheduler does not say what to schedule"):
        story([(0.0, 4, 2)], Scheduler())


def test_scheduling_time_may_be_charged() -> None:
    trace = little_trace(0)
    charged = simulate(trace, "vllm", MODEL, kv_blocks=100, charge_scheduling=True)
    rows = charged.iterations
    free = simulate(trace, "vllm", MODEL, kv_blocks=100)
    extra = (rows["end"] - rows["start"])[0] - (free.iterations["end"] - free.iterations["start"])[0]
    assert extra == pytest.approx(rows["schedule_seconds"][0], rel=1e-3)
    assert extra > 0
    assert (charged.about["charge_scheduling"], free.about["charge_scheduling"]) == (True, False)


class Diary(Scheduler):
    """Decides as vllm does, and notes when."""

    def __init__(self, *further: str) -> None:
        self.further = further
        self.times: list[float] = []

    def bind(self, server: Server) -> Diary:
        return Diary(*self.further)

    def schedule(self, server: Server) -> Batch:
        self.times.append(server.now)
        return Vllm().schedule(server)

    def notes(self) -> dict[str, list[float]]:
        return {"at": self.times, **{name: [] for name in self.further}}


def test_notes_of_all_replicas_are_one_table() -> None:
    notes = story([(0.0, 4, 2), (0.5, 4, 3)], Diary(), replicas=2).notes
    assert list(notes) == ["at", "server"]
    assert notes["at"].tolist() == [0.0, 1.0, 0.5, 1.5, 2.5]
    assert notes["server"].tolist() == [0, 0, 1, 1, 1]


def test_notes_of_unlike_lengths_are_refused() -> None:
    with pytest.raises(SchedulerError, match=r"columns of one length; they have {'at': 2, 'tokens': 0}"):
        story([(0.0, 4, 2)], Diary("tokens"))


def test_a_watch_sees_the_same_story() -> None:
    class Watch:
        steps = 0

        def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
            self.steps += 1

        def finished(self, server: Server, batch: Batch, end: float) -> None:
            assert end >= server.now

    watch, trace = Watch(), little_trace(9)
    watched = simulate(trace, "vllm", MODEL, kv_blocks=40, watch=watch)
    assert not differences(watched, simulate(trace, "vllm", MODEL, kv_blocks=40))
    assert watch.steps == len(watched.iterations["end"])


def test_predictions_depend_on_the_seed_alone() -> None:
    trace = little_trace(2, requests=40)
    options: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, 4), "block_size": 4, "predictor": Noisy(1.0)}
    one = simulate(trace, "oracle", MODEL, seed=1, **options)
    assert not differences(one, simulate(trace, "oracle", MODEL, seed=1, **options))
    assert differences(one, simulate(trace, "oracle", MODEL, seed=2, **options))


def test_a_livelock_that_computes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that preempts whom it has just started goes nowhere, but time passes."""

    @dataclass(frozen=True)
    class Fickle(Scheduler):
        def schedule(self, server: Server) -> Batch:
            batch = server.new_batch(8)
            for request in server.prefilling:
                batch.preempt(request)
            for request in [*server.prefilling, *server.waiting][:1]:
                batch.admit(request, 8)
            return batch

    monkeypatch.setattr("sim.moves.LIVELOCK_AFTER", 50)
    with pytest.raises(SchedulerError, match=r"50 preemptions, of Request.*a livelock; .*Fickle.* goes nowhere"):
        simulate(Trace.from_rows([TraceRow(0.0, 100, 5)]), Fickle(), Calibrated(1e-4), kv_blocks=20)
