"""The ten invariants of the design, each driven by hypothesis over random policies, workloads and caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given

from costmodel import BatchShape
from sim.batch import Batch
from sim.inspector import Inspector, Progress
from sim.predictor import Predictor, unknown
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, blocks_for_largest, differences, little_trace
from tests.sim.strategies import BLOCK_SIZES, POLICIES, SPARE_BLOCKS, WORKLOADS
from traces import Trace

FINISHED, REJECTED = 0, 1

anything = given(POLICIES, WORKLOADS, BLOCK_SIZES, SPARE_BLOCKS)


def run(policy: Scheduler, trace: Trace, size: int, spare: int, **options: Any) -> RunResult:
    return simulate(trace, policy, MODEL, kv_blocks=blocks_for_largest(trace, size) + spare, block_size=size, **options)


@dataclass
class Recount:
    """Counts blocks and tokens request by request, before and after each iteration."""

    computed: int = 0
    complaints: list[str] = field(default_factory=list)
    clocks: list[tuple[float, float]] = field(default_factory=list)

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        self.started_at = server.now
        self.computed += shape.forward_size
        growing = sum(request.blocks * server.block_size == request.kv_tokens for request in server.pool)
        self.balance(server, 0 if not shape.decode_tokens else growing)
        decodes = server.pool.size if shape.decode_tokens else 0
        context = sum(request.kv_tokens + 1 for request in server.pool) if decodes else 0
        pairs = sum(new * (request.kv_tokens + new / 2) for request, new in batch.prefills.items())
        told = BatchShape(sum(batch.prefills.values()), decodes, context, pairs, decodes + len(batch.prefills))
        if shape._replace(swapped_tokens=0) != told:
            self.complaints.append(f"{shape} should be {told}")

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        self.clocks.append((self.started_at, end))
        self.balance(server, 0)
        if server.kv_tokens != sum(request.kv_tokens for request in server.running_requests):
            self.complaints.append(f"{server.kv_tokens} tokens counted")

    def balance(self, server: Server, promised: int) -> None:
        """``promised``: blocks that this step's decodes take, and hold when it is over."""
        held = sum(request.blocks for request in server.running_requests) + promised
        held += sum(blocks for _, blocks in server.late_blocks)
        if held + server.free_blocks != server.total_blocks or server.free_blocks < 0:
            self.complaints.append(f"{held} blocks held, {server.free_blocks} free of {server.total_blocks}")
        if server.running_count != len(server.running):
            self.complaints.append(f"{server.running_count} should be {len(server.running)} running")


@anything
def test_1_every_request_finishes_or_is_rejected(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    requests = run(policy, trace, size, spare).requests
    finished, rejected = requests["status"] == FINISHED, requests["status"] == REJECTED
    assert (finished | rejected).all()
    assert (requests["generated"] == requests["output_tokens"])[finished].all()
    assert np.isfinite(requests["finished_at"][finished]).all()


@anything
def test_2_blocks_held_and_free_are_all(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    recount = Recount()
    result = run(policy, trace, size, spare, watch=recount)
    assert recount.complaints == []
    assert (result.iterations["free_blocks"] >= 0).all()
    assert result.iterations["free_blocks_end"][-1:].tolist() in ([], [blocks_for_largest(trace, size) + spare])


@anything
def test_3_the_clock_never_goes_back(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    rows = run(policy, trace, size, spare).iterations
    times = np.stack([rows["start"], rows["end"]], axis=1).ravel()
    assert (np.diff(times) >= 0).all()
    computing = rows["sequences"] > 0
    assert (rows["end"] > rows["start"])[computing].all()
    assert (rows["end"] == rows["start"])[~computing].all()


@anything
def test_4_arrival_first_token_finish(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    result = run(policy, trace, size, spare)
    for row in np.flatnonzero(result.requests["status"] == FINISHED):
        arrived, admitted, first, finished = (
            result.requests[name][row] for name in ("arrived_at", "admitted_at", "first_token_at", "finished_at")
        )
        times = result.token_times(int(row))
        assert arrived <= admitted < first <= finished
        assert len(times) == trace.output_tokens[row]
        assert times[0] == first
        assert times[-1] == finished
        assert (np.diff(times) > 0).all()


@anything
def test_5_same_inputs_same_story(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    assert not differences(run(policy, trace, size, spare), run(policy, trace, size, spare))


def inspected(policy: Scheduler, trace: Trace, size: int, spare: int) -> tuple[RunResult, Progress]:
    progress = Progress(100_000)
    told: Predictor = getattr(policy, "predictor", unknown)
    return run(Inspector(policy, progress), trace, size, spare, predictor=told), progress


@anything
def test_6_7_8_each_decision(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    """No empty batch while requests wait, within budget and cache, and blind to true output lengths."""
    result, progress = inspected(policy, trace, size, spare)
    assert progress.decisions >= (len(trace) > 0) - len(result.rejections)
    assert not differences(result, run(policy, trace, size, spare))


@dataclass(frozen=True)
class Longer:
    """A predictor that tells the same whatever the truth is."""

    lengths: tuple[float, ...]

    def __call__(self, output_tokens: Any, random: np.random.Generator) -> Any:
        return np.array(self.lengths)


@anything
def test_8_longer_outputs_change_nothing_before_they_show(
    policy: Scheduler, trace: Trace, size: int, spare: int
) -> None:
    """Two runs whose true lengths differ are one and the same until the first request of the shorter run is done."""
    told = Longer(tuple(trace.output_tokens.astype(float)))
    longer = Trace.from_rows([row._replace(output_tokens=row.output_tokens + 7) for row in trace])
    blocks = blocks_for_largest(longer, size) + spare
    one, other = (
        simulate(rows, policy, MODEL, kv_blocks=blocks, block_size=size, predictor=told) for rows in (trace, longer)
    )
    until = float(np.nanmin(one.requests["finished_at"], initial=np.inf))
    number = int(np.searchsorted(one.iterations["end"], until)) + 1
    for name in one.iterations.keys() - {"schedule_seconds", "free_blocks_end"}:
        assert one.iterations[name][:number].tolist() == other.iterations[name][:number].tolist(), name


@anything
def test_9_work_adds_up(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    recount = Recount()
    result = run(policy, trace, size, spare, watch=recount)
    requests, rows = result.requests, result.iterations
    finished = requests["status"] == FINISHED
    useful = (requests["prompt_tokens"] + requests["output_tokens"] - 1)[finished].sum()
    assert recount.computed == rows["prefill_tokens"].sum() + rows["decode_tokens"].sum()
    assert recount.computed == useful + requests["recomputed_tokens"].sum()
    assert [*map(tuple, np.stack([rows["start"], rows["end"]], axis=1).tolist())] == recount.clocks


@anything
def test_10_every_row_is_accounted_for(policy: Scheduler, trace: Trace, size: int, spare: int) -> None:
    requests = run(policy, trace, size, spare, horizon=0.3).requests
    assert requests["request"].tolist() == list(range(len(trace)))
    for name in ("arrived_at", "prompt_tokens", "output_tokens"):
        assert requests[name].tolist() == getattr(trace, name).tolist()
    later = requests["arrived_at"] > 0.3
    assert ((requests["status"] == 3) >= later).all()
    assert ((requests["status"] == 3) <= (requests["arrived_at"] >= 0.3)).all()


def test_no_requests_no_story() -> None:
    trace = little_trace(0, requests=5)[:0]
    result = simulate(trace, "vllm", MODEL, kv_blocks=5)
    assert len(result) == len(result.iterations["end"]) == 0
