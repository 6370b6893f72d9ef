"""FastGen by hand, and against a naive restatement. Sources: the rules of ``mii/batching/ragged_batching.py`` 0.3.3."""

from __future__ import annotations

import random

import pytest

from costmodel import Calibrated
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.machine import Machine
from sim.result import RunResult
from sim.schedulers.fastgen import BoundFastGen, FastGen
from sim.server import Server
from sim.simulation import simulate
from tests.sim.restated import Step
from tests.sim.restated_fastgen import Crash, Livelock, Pipeline, Settings
from tests.test_restated import Rows, Written
from traces import Trace


def story(policy: FastGen, rows: Rows, blocks: int, size: int = 4) -> tuple[list[Step], RunResult]:
    """What every step did, and the result. Steps that only reject are none."""
    written = Written()
    result = simulate(Trace.from_rows(rows), policy, written, kv_blocks=blocks, block_size=size, watch=written)
    return [step for step in written.steps if step[1] or step[2]], result


def tokens(policy: FastGen, rows: Rows, blocks: int, size: int = 4) -> list[dict[int, int]]:
    """The tokens of every step, by request; an empty one flushes somebody."""
    return [step[1] for step in story(policy, rows, blocks, size)[0]]


def test_prompts_are_split_so_that_every_batch_is_full() -> None:
    """A decode is a token of the budget; the rest of a split prompt is the first of the prompts (L309-333)."""
    steps = tokens(FastGen(10), [(0.0, 6, 3), (0.0, 8, 1), (0.0, 7, 1)], 20)
    assert steps == [{0: 6, 1: 4}, {0: 1, 1: 4, 2: 5}, {0: 1, 2: 2}]


def test_all_of_a_prompt_must_fit_before_any_of_it_starts() -> None:
    """Nine tokens need three blocks. Two are free, enough for a chunk; but it waits, and so do all behind it (L301)."""
    steps = tokens(FastGen(8), [(0.0, 1, 4), (0.0, 9, 1), (0.0, 1, 1)], 3)
    assert steps == [{0: 1}, {0: 1}, {0: 1}, {0: 1}, {1: 8}, {1: 1}, {2: 1}]


def test_a_skipped_decode_stands_before_those_that_ran_and_the_last_holder_is_flushed() -> None:
    """Three blocks of two. Both fill a block; request 0 gets the last one, and then stands behind request 1, skipped.

    When neither can run, the last in the buffer is flushed, the older one here, and waits behind whoever waits (L378).
    """
    steps, result = story(FastGen(), [(0.0, 2, 4), (0.0, 2, 4), (0.001, 4, 1)], 3, 2)
    assert [(step[1], step[2]) for step in steps] == [
        ({0: 2, 1: 2}, []),
        ({0: 1}, []),
        ({0: 1}, []),
        ({}, [0]),
        ({1: 1}, []),
        ({1: 1}, []),
        ({1: 1}, []),
        ({2: 4}, []),
        ({0: 5}, []),
    ]
    assert steps[3][0] == steps[4][0], "a flush takes no time"
    assert result.requests["recomputed_tokens"].tolist() == [4, 0, 0]


@pytest.mark.parametrize(("flush", "free"), [("immediate", [1]), ("early", [1, 2]), ("pipeline", [1, 1, 2])])
def test_blocks_of_finished_requests_come_back_late(flush: str, free: list[int]) -> None:
    """Request 0 finishes in step 0. Its block comes free in step 2, for who is chosen for step 3 (L113, L357)."""
    policy = FastGen(flush=flush)  # type: ignore[arg-type]
    steps, result = story(policy, [(0.0, 4, 1), (0.0, 1, 4), (0.0, 8, 1)], 3)
    begins = [2 in each[1] for each in steps].index(True)
    assert [each[3] for each in steps[:begins]] == free
    assert result.iterations["free_blocks_end"][-1] == 3


@pytest.mark.parametrize("flush", ["immediate", "early", "pipeline"])
def test_with_nobody_to_flush_the_loop_goes_on(flush: str) -> None:
    """Where the real code fails its assertion: all finish at once with their blocks still held, and a prompt waits."""
    steps, _ = story(FastGen(flush=flush), [(0.0, 8, 1), (0.0, 8, 1)], 2)  # type: ignore[arg-type]
    assert [step[1] for step in steps] == [{0: 8}, {1: 8}]
    assert steps[1][0] == 2**-7 + 8 * 2**-14 + 8 * 2**-23


def test_idleness_brings_all_blocks_back() -> None:
    """The loop of generate() goes round with nobody there: a burst that needs the whole cache starts at once."""
    steps, _ = story(FastGen(), [(0.0, 8, 1), (5.0, 4, 1), (5.0, 4, 1)], 2)
    assert [(step[0], step[1]) for step in steps][1:] == [(5.0, {1: 4, 2: 4})]


def test_limits_on_requests() -> None:
    """Per batch 512, chosen or not (L256), and 2048 with cache, finished ones included until they are flushed."""
    steps = tokens(FastGen(max_ragged_sequence_count=2), [(0.0, 2, 3), (0.0, 2, 2), (0.0, 2, 1)], 9)
    assert steps == [{0: 2, 1: 2}, {0: 1, 1: 1}, {0: 1, 2: 2}]
    steps = tokens(FastGen(max_tracked_sequences=2), [(0.0, 1, 1), (0.0, 1, 5), (0.0, 1, 1)], 9)
    assert [2 in step for step in steps] == [False, False, False, True, False]
    steps, result = story(FastGen(max_model_len=5), [(0.0, 5, 1), (0.0, 4, 1)], 9)
    assert dict(result.rejections) == {0: "its 5 tokens leave no room in the model's 5"}
    assert [step[1] for step in steps] == [{1: 4}]


@pytest.mark.parametrize("others", [0, 30])
def test_half_done_prompts_that_are_flushed_for_ever_are_reported(others: int) -> None:
    """Forty tokens in three blocks of sixteen: after two chunks of 17 the rest fits in what is held, but the cache is
    full, and so nobody goes on (L284)."""
    rows: Rows = [(0.0, 40, 8)] * (1 + others)
    with pytest.raises(SchedulerError, match=r"10,0\d\d preemptions.*a livelock; FastGen\(max_ragged_batch_size=17"):
        story(FastGen(17), rows, 3, 16)


def test_it_is_seldom_asked_though_many_wait_and_forgets_the_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = remembered = 0
    schedule = BoundFastGen.schedule

    def count(self: BoundFastGen, server: Server) -> Batch:
        nonlocal asked, remembered
        asked += 1
        remembered = max(remembered, len(self.turns))
        return schedule(self, server)

    monkeypatch.setattr(BoundFastGen, "schedule", count)
    policy = FastGen(max_ragged_sequence_count=8)
    rows: Rows = [(0.01 * n, 10, 100) for n in range(200)]
    result = simulate(Trace.from_rows(rows), policy, Calibrated(1e-3), kv_blocks=4000, block_size=4)
    assert asked < len(result.iterations["end"]) / 3
    assert remembered < 40


def random_case(chance: random.Random) -> tuple[Rows, Settings]:
    """Poisson arrivals, bursts or long gaps, all on a grid that floats hold exactly; tight caches and odd settings."""
    longest, kind, at, rows = chance.choice([8, 60, 400]), chance.choice(["poisson", "bursts", "gaps"]), 0.0, []
    for _ in range(chance.randint(1, 40)):
        poisson = round(chance.expovariate(chance.choice([2, 20, 200])) * 2**20) / 2**20
        at += {"poisson": poisson, "bursts": chance.choice([0, 0, 0, 0.25]), "gaps": chance.choice([0, 0, 10.0])}[kind]
        rows.append((at, chance.randint(1, longest), chance.randint(1, chance.choice([1, 3, 60, 100]))))
    size, length = chance.choice([1, 2, 4, 16]), chance.choice([1 << 60, 1 << 60, 50, 300])
    largest = max([-(-min(prompt + output, length) // size) for _, prompt, output in rows])
    settings = Settings(
        total=int(largest * chance.choice([1, 1, 1.1, 1.5, 2, 4, 20])) + chance.choice([0, 0, 1, 2]),
        size=size,
        budget=chance.choice([8, 17, 64, 100, 256, 768]),
        sequences=chance.choice([2, 3, 8, 64, 512]),
        tracked=chance.choice([2048, 2048, 2048, 4, 12]),
        length=length,
        flush=chance.choice(["pipeline", "early", "immediate"]),
    )
    return rows, settings


def test_it_decides_only_where_it_remembers() -> None:
    server = Server(0, FastGen(), Machine(Calibrated(1.0, 1.0), 9, 4))
    with pytest.raises(SchedulerError, match="ask what bind"):
        FastGen().schedule(server)
    assert server.scheduler.schedule(server).tokens == 0


def test_every_step_is_the_restatements() -> None:
    """Also when the model's length ends requests, which the policy is not told: their outputs are cut before."""
    compared = victims = failed = 0
    for seed in range(150):
        rows, settings = random_case(random.Random(seed))
        pipeline = Pipeline(settings, rows)
        try:
            expected = pipeline.run()
        except (Crash, Livelock):
            continue
        length, flush = settings.length, settings.flush
        policy = FastGen(settings.budget, settings.sequences, settings.tracked, length, flush)  # type: ignore[arg-type]
        cut = [(at, prompt, max(1, min(output, length - prompt + 1))) for at, prompt, output in rows]
        steps, _ = story(policy, cut, settings.total, settings.size)
        assert steps == expected, f"seed {seed}: {settings}"
        compared += 1
        victims += sum(len(step[2]) for step in steps)
        failed += pipeline.failed
    assert compared > 120
    assert victims > 50
    assert failed > 50
