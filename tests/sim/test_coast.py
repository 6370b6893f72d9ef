"""Coasting by hand: where a stretch of repeated iterations ends, to the tick, and what it writes down."""

from __future__ import annotations

from math import inf

import pytest

from costmodel import Calibrated
from sim.batch import Batch
from sim.coast import can_coast, coast, cross, goes_on, next_end
from sim.machine import Machine
from sim.plain import PlainPool
from sim.recorder import ENTRY
from sim.replica import Replica
from sim.request import Request
from sim.schedulers.vllm import Vllm
from tests.sim.test_batch import Bench

TICK = 0.125
"""Seconds of every iteration of the first bench."""


def bench_of(model: Calibrated, blocks: int) -> Bench:
    bench = Bench(blocks)
    bench.server = Replica(0, Vllm(), Machine(model, blocks, 4))
    return bench


@pytest.fixture
def bench() -> Bench:
    """Ten blocks of four tokens; every iteration takes as long, so that times tie exactly."""
    return bench_of(Calibrated(per_token=0.0, host_time=TICK), 10)


def held(bench: Bench, until: float = inf, least_free: int = 0) -> Batch:
    batch = bench.batch()
    assert batch.decode_all(least_free)
    batch.hold(until=until)
    assert batch.steady
    assert can_coast(bench.server)
    return batch


def all_but(bench: Bench, rests: Request) -> Batch:
    batch = bench.batch()
    batch.decode_all()
    batch.pause(rests)
    return batch


def iterations(server: Replica) -> int:
    """How many were passed since the last bench move."""
    return len(server.recorder.ends)


def entry(server: Replica) -> dict[str, float]:
    """The last thing that was written down."""
    return dict(zip(ENTRY, server.recorder.entries[-len(ENTRY) :], strict=True))


def test_an_iteration_that_would_end_with_the_next_event_is_not_passed(bench: Bench) -> None:
    bench.decoding(3)
    batch, server = held(bench), bench.server
    assert coast(server, batch, until=1.0 + 3 * TICK)
    assert list(server.recorder.ends) == [1.0 + TICK, 1.0 + 2 * TICK]
    assert server.now == 1.0 + 2 * TICK
    assert coast(server, batch, until=1.0 + 3.5 * TICK)
    assert server.now == 1.0 + 3 * TICK


def test_no_iteration_begins_when_a_promise_ends(bench: Bench) -> None:
    bench.decoding(3)
    batch, server = held(bench, until=1.0 + 2 * TICK), bench.server
    assert not coast(server, batch, until=inf)
    assert server.now == 1.0 + 2 * TICK, "the second began before, and ends just then"


def test_a_crossing_is_one_iteration_whatever_comes_meanwhile(bench: Bench) -> None:
    bench.decoding(3)
    batch, server = held(bench, until=1.0 + TICK / 2), bench.server
    assert next_end(server) == 1.0 + TICK
    assert not cross(server, batch, waiting=7), "the promise is over"
    assert (server.now, iterations(server), entry(server)["waiting"]) == (1.0 + TICK, 1, 7)
    batch.until = inf
    assert cross(server, batch, waiting=0)
    assert (server.now, iterations(server), entry(server)["waiting"]) == (1.0 + 2 * TICK, 2, 0)


def test_memory_is_used_to_the_last_block_and_no_further(bench: Bench) -> None:
    """Two of four tokens grow at once: with 4 free blocks twice, with one to be kept free only once."""
    for least_free, steps in ((0, 8), (1, 4)):
        bench = bench_of(Calibrated(per_token=0.0, host_time=TICK), 6)
        bench.decoding(4)
        bench.decoding(4)
        batch = held(bench, least_free=least_free)
        assert not coast(bench.server, batch, until=inf), "then the policy is asked"
        assert iterations(bench.server) == steps
        assert bench.server.free_blocks == 4 - 2 * (steps // 4)
        assert list(bench.server.recorder.free_blocks) == [2] * 4 + [0] * 4 * (least_free == 0)


def test_the_last_free_blocks_may_be_taken() -> None:
    """Both need a block next, and two are free: the batch may be repeated once more."""
    bench = bench_of(Calibrated(per_token=0.0, host_time=TICK), 4)
    bench.decoding(3)
    bench.decoding(3)
    assert coast(bench.server, held(bench), until=1.0 + 1.0 + 1.5 * TICK)
    assert bench.server.pool.blocks_needed == bench.server.free_blocks == 2
    assert cross(bench.server, held(bench), waiting=0)
    assert bench.server.free_blocks == 0


def test_one_who_sits_out_may_want_its_block(bench: Bench) -> None:
    """Another rests with its last block full: decode_all would wake it, so its block stays free as well."""
    for full, steps in ((True, 4), (False, 8)):
        bench = bench_of(Calibrated(per_token=0.0, host_time=TICK), 4)
        runs, rests = bench.decoding(4), bench.decoding(4 if full else 3)
        bench.apply(all_but(bench, rests))
        batch = all_but(bench, rests)
        batch.hold()
        assert batch.steady
        before = runs.generated
        assert not coast(bench.server, batch, until=inf)
        assert runs.generated - before == steps - 1, "the first of them passed before"


def test_those_chosen_one_by_one_leave_nothing_for_others(bench: Bench) -> None:
    """Who rests beside chosen decodes is not waiting for a block."""
    bench = bench_of(Calibrated(per_token=0.0, host_time=TICK), 4)
    runs, rests = bench.decoding(4), bench.decoding(4)
    batch = bench.batch()
    batch.decode(runs)
    bench.apply(batch)
    assert rests in bench.server.paused
    batch = bench.batch()
    batch.decode(runs)
    batch.hold()
    assert batch.steady
    assert not coast(bench.server, batch, until=inf)
    assert runs.kv_tokens == 12, "both free blocks are used"


def test_what_is_written_down() -> None:
    """Contexts of 4 and 7 tokens: 0.125 s, 2**-10 s a token, 2**-5 s a request; three iterations in one entry."""
    bench = bench_of(Calibrated(per_token=0.0, host_time=TICK, per_context_token=2.0**-10, per_decode=2.0**-5), 10)
    one, other, server = bench.decoding(3), bench.decoding(6), bench.server
    waits = bench.waiting(9)
    bench.server.swapped[waits] = None
    history = server.history
    longest = history.longest_iteration = TICK
    batch = held(bench)
    started, seconds = server.now, history.seconds
    durations = [TICK + 2 * 2.0**-5 + context * 2.0**-10 for context in (11, 13, 15)]
    history.iterations = 5
    assert next_end(server) == started + durations[0]
    assert coast(server, batch, until=started + sum(durations) + TICK)
    assert list(server.recorder.ends) == [started + sum(durations[:n]) for n in (1, 2, 3)]
    found = entry(server)
    assert found == dict.fromkeys(ENTRY, 0) | {
        "start": started,
        "iterations": 3,
        "decode_tokens": 2,
        "context_tokens": 11,
        "sequences": 2,
        "kv_tokens": 11,
        "waiting": 1,
        "running": 2,
        "swapped": 1,
        "free_blocks_end": 5,
    }
    assert (history.iterations, history.seconds) == (8, seconds + sum(durations))
    assert history.longest_iteration == durations[-1] > longest
    assert (server.kv_tokens, batch.tokens) == (9 + 6, 2)
    assert [(request.kv_tokens, request.generated) for request in (one, other)] == [(6, 4), (9, 4)]


def test_a_finish_ends_coasting_where_others_could_use_it(bench: Bench) -> None:
    for crowded in (False, True):
        bench = bench_of(Calibrated(per_token=0.0, host_time=TICK), 10)
        first, server = bench.decoding(3), bench.server
        last = bench.decoding(3)
        first._output_tokens = 3
        server.pool.leave(first)
        server.pool.join(first)
        last._output_tokens = 9
        server.pool.leave(last)
        server.pool.join(last)
        if crowded:
            bench.waiting(9)
        assert not coast(server, held(bench), until=inf)
        assert iterations(server) == (2 if crowded else 8)
        assert server.pool.size == crowded
        assert entry(server)["free_blocks_end"] == server.free_blocks == (8 if crowded else 10)


def test_what_forbids_coasting(bench: Bench) -> None:
    bench.decoding(3)
    server = bench.server
    assert can_coast(server)
    server.copied_tokens = 1
    assert not can_coast(server)
    server.copied_tokens = 0
    assert goes_on(server, 1)
    server.late_blocks.append((9, 1))
    assert not can_coast(server)
    assert not goes_on(server, 0)
    server.late_blocks.clear()
    server.decode_line = None
    assert not can_coast(server)
    plain = Replica(0, Vllm(), Machine(Calibrated(per_token=0.0, host_time=TICK), 9, 4), plain=True)
    assert isinstance(plain.pool, PlainPool)
    assert not can_coast(plain)
    assert not goes_on(plain, 0), "no request decodes"


def test_leaving_matters_only_where_somebody_is_left(bench: Bench) -> None:
    bench.decoding(3)
    assert goes_on(bench.server, 2)
    bench.waiting(3)
    assert goes_on(bench.server, 0)
    assert not goes_on(bench.server, 1)
