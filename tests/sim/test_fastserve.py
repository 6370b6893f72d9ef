"""FastServe: the naive restatement step for step, rules worked by hand, and what it does where the real one dies."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from costmodel import BatchShape, profile
from sim.audit import audit
from sim.batch import Batch
from sim.check import check_scheduler
from sim.errors import SchedulerError
from sim.schedulers.fastserve import FastServe
from sim.schedulers.fastserve.mlfq import Mlfq
from sim.schedulers.fastserve.policy import LENGTHS
from sim.server import Server
from sim.simulation import simulate
from tests.sim.restated_fastserve import LENGTHS as RESTATED_LENGTHS
from tests.sim.restated_fastserve import A, B, C, D, Rules, Step, Stuck, story
from tests.sim.stories import MODEL, blocks_for_largest, little_trace
from tests.sim.test_differential import told_three_ways
from traces import Trace, TraceRow
from traces.errors import SlosimError

COST = tuple(A + (B + C) * length for length in LENGTHS)
"""Prefill times by the restatement's clock."""
FIELDS = ("start", "batch", "preempted", "swapped_out", "swapped_in", "free_blocks", "swap_n_blocks", "duration")
AFTER = ("post_swapped_in", "post_swapped_out", "free_blocks_end")
Row = tuple[float, int, int]


@dataclass
class Written:
    """Writes the steps down, batches that only move merged into them, and is the clock of the restatement."""

    size: int = 16
    seconds: float | None = None
    """A constant iteration time instead."""
    steps: list[Step] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    preempted: list[int] = field(default_factory=list)
    now: float = 0.0

    def iteration_time(self, shape: BatchShape) -> float:
        return self.now

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        left, back = [r.id for r in batch.preempted], [r.id for r in batch.resumed]
        self.preempted += left
        if getattr(batch.memo, "after", False):
            self.steps[-1].post_swapped_in, self.steps[-1].post_swapped_out = back, left
        else:
            self.moved += left
        if not batch.tokens:
            return
        tokens = dict.fromkeys(server.pool, 1) if server.decodes_now else {}
        tokens |= batch.prefills
        context = sum(request.kv_tokens + new for request, new in tokens.items())
        blocks = shape.swapped_tokens // self.size
        self.now = A + B * sum(tokens.values()) + C * context + D * blocks if self.seconds is None else self.seconds
        step = Step(server.now, self.now, sorted((r.id, new) for r, new in tokens.items()))
        step.preempted, step.swapped_out, step.swapped_in = self.preempted, self.moved, back
        step.free_blocks, step.swap_n_blocks = server.free_blocks, blocks
        self.steps.append(step)
        self.preempted, self.moved = [], []

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        if batch.tokens or getattr(batch.memo, "after", False):
            self.steps[-1].free_blocks_end = server.free_blocks


def workload(chance: random.Random, longest: int) -> list[Row]:
    """Random arrivals on a grid that floats hold exactly, and random lengths."""
    rate, output, at, rows = chance.choice([2, 20, 200]), chance.choice([3, 40, 150]), 0.0, []
    for _ in range(chance.randint(3, 60)):
        at += round(chance.expovariate(rate) * 2**20) / 2**20
        rows.append((at, chance.randint(1, longest), chance.randint(1, output)))
    return rows


def settings(chance: random.Random) -> tuple[list[Row], Rules]:
    """A workload, and rules under which every request fits."""
    size, sequences, tokens = chance.choice([1, 2, 4, 16]), chance.choice([1, 2, 4, 16]), chance.choice([64, 300, 2048])
    rows = workload(chance, chance.choice([10, 60, min(tokens, 400), tokens]))
    least, proactive = chance.choice([0, 0, 3, 30]), chance.random() < 0.6
    spare = max(sequences, least) if proactive else 0
    largest = max(-(-(prompt + output) // size) for _, prompt, output in rows)
    total = int(largest * chance.choice([1, 1.2, 2, 4])) + spare
    return rows, Rules(
        chance.choice(["sj-mlfq", "sj-mlfq", "mlfq", "fcfs"]), sequences, tokens,
        chance.choice([0.01, 0.003, 0.05]), chance.choice([2, 3, 4]), chance.choice([0.1, 0.5, 3.0]),
        chance.choice([7, 50, 1000]), proactive, least, chance.choice([total // 2 + 1, total * 3, 10**6]), total, size,
    )  # fmt: skip


def policy_of(rules: Rules) -> FastServe:
    return FastServe(
        rules.policy, rules.sequences, rules.tokens, rules.quantum, rules.factor, rules.threshold, rules.period,
        rules.proactive, rules.least, rules.host, COST,
    )  # fmt: skip


def test_every_step_is_the_restatements() -> None:
    """Where the real engine would crash or wait for ever, everybody is served all the same."""
    assert LENGTHS == RESTATED_LENGTHS
    stuck = preempted = promoted = back = 0
    for seed in range(100):
        rows, rules = settings(random.Random(seed))
        written = Written(rules.size)
        result = simulate(
            Trace.from_rows(rows),
            policy_of(rules),
            written,
            kv_blocks=rules.total,
            block_size=rules.size,
            watch=written,
        )
        assert (result.requests["status"] == 0).all(), rules
        try:
            truth = story(rules, [(number, *row) for number, row in enumerate(rows)])
        except Stuck:
            stuck += 1
            continue
        for number, (ours, theirs) in enumerate(zip(written.steps, truth, strict=True)):
            theirs.batch = sorted(theirs.batch)
            for name in (*FIELDS, *AFTER):
                assert getattr(ours, name) == getattr(theirs, name), f"{rules}, seed {seed}, step {number}: {name}"
            preempted += len(theirs.preempted)
            promoted += len(theirs.promoted)
            back += len(theirs.post_swapped_in)
    assert min(stuck, promoted, back) > 10
    assert preempted > 1000


# -- worked by hand ---------------------------------------------------------------------------------------------


def batches(policy: FastServe, rows: list[Row], blocks: int = 1000, size: int = 1) -> list[Step]:
    """The steps of a workload if every iteration takes 2^-8 s, a bit less than 4 ms."""
    written = Written(size, 2**-8)
    simulate(Trace.from_rows(rows), policy, written, kv_blocks=blocks, block_size=size, watch=written)
    return written.steps


def ran(steps: list[Step]) -> str:
    """Who ran in each step: 0, 1, 01 ..."""
    return " ".join("".join(str(name) for name, _ in step.batch) for step in steps)


@pytest.mark.parametrize(("tokens", "level"), [(1, 0), (27, 0), (32, 0), (139, 1), (465, 2), (627, 3), (9999, 5)])
def test_a_prompt_joins_the_first_level_that_grants_its_time(tokens: int, level: int) -> None:
    """Levels grant 10 ms x 2^level; a prompt of n tokens takes 7.8 ms + 61.2 us x n by the recordings' clock: as
    long as one of 32 (9.8 ms) if shorter, of 4096 (258 ms) if longer. 139, 27, 465: requests 0, 2, 3 of the
    recorded run."""
    assert FastServe().joins(tokens, COST) == level
    assert FastServe("mlfq").joins(tokens, COST) == 0


def test_demotion_puts_to_the_front_and_survivors_are_reversed() -> None:
    """One at a time: 10 ms at level 0 are over after 3 steps, 20 ms at level 1 after 6. The first is demoted, then the
    second, who goes to the front of level 1 (to the end of it, in the paper) and so goes on; at level 2 the same."""
    alone = FastServe("mlfq", max_num_seqs=1)
    assert ran(batches(alone, [(0.0, 1, 5), (0.0, 1, 5)])) == "0 0 0 1 1 1 1 1 0 0"
    assert ran(batches(alone, [(0.0, 1, 11), (0.0, 1, 11)])) == "0 0 0" + " 1" * 9 + " 0" * 8 + " 1" * 2


@pytest.mark.parametrize(
    ("quantum", "story"), [(0.01, "01 01 01 12 12 12 02 02 02"), (0.0125, "01 01 01 01 02 02 02 02 12 12 12 12")]
)
def test_of_two_at_a_time_the_order_turns_with_every_step(quantum: float, story: str) -> None:
    """0 1, 1 0, 0 1 ... are put back one by one before 2. After 3 steps 0 is demoted first and so 1 stands in front,
    and runs on beside 2; after 4 steps it is the other way round. At level 1 they stay."""
    policy = FastServe("mlfq", max_num_seqs=2, base_quantum=quantum, quantum_factor=100)
    assert ran(batches(policy, [(0.0, 1, story.count("1"))] * 3)) == story


def test_the_starved_are_looked_for_in_every_so_many_iterations() -> None:
    """64 tokens take 300 ms by this profile: level 5, behind one that needs 120 ms in all. It comes at 27 ms, and the
    8th iteration, just after, looks for the starved: it never ran, which counts as since 0 s, so it is one; it is first
    from the next step on. The 4th, at 12 ms, found nobody."""
    times = (0.001, *[0.3] * 13)
    rows = [(0.0, 1, 30), (0.027, 64, 1)]
    policy = FastServe(max_num_seqs=1, starvation_threshold=0.02, starvation_period=4, prefill_times=times)
    assert policy.joins(64, times) == 5
    assert ran(batches(policy, rows)) == "0 " * 8 + "1" + " 0" * 22
    patient = FastServe(max_num_seqs=1, prefill_times=times)
    assert ran(batches(patient, rows)) == "0 " * 30 + "1"


SWAPPING = [(0.0, 6, 4), (0.009, 3, 1)]
"""With 10 blocks of a token and one at a time: 0 is demoted after 3 steps with 8 blocks, and 1 needs 3."""


def test_who_waits_is_swapped_out_and_brought_back_early() -> None:
    """Step 4: of 2 free blocks, 3 are needed and one is to stay free, so 0 leaves. When 1 has finished, all 10 are
    free: 0 comes back at once, before it is chosen, and its 8 blocks are copied at the expense of the next step."""
    steps = batches(FastServe("mlfq", max_num_seqs=1), SWAPPING, blocks=10)
    assert ran(steps) == "0 0 0 1 0"
    assert [step.preempted for step in steps] == [[], [], [], [0], []]
    assert [step.post_swapped_in for step in steps] == [[], [], [], [0], []]
    assert [step.swapped_in for step in steps] == [[]] * 5
    assert [step.swap_n_blocks for step in steps] == [0, 0, 0, 8, 8]
    assert [step.free_blocks for step in steps] == [4, 3, 2, 7, 1]
    assert [step.free_blocks_end for step in steps] == [4, 3, 2, 2, 10]


def test_without_proactive_swapping_it_comes_back_when_it_runs() -> None:
    steps = batches(FastServe("mlfq", max_num_seqs=1, proactive=False), SWAPPING, blocks=10)
    assert [step.preempted for step in steps] == [[], [], [], [0], []]
    assert [step.post_swapped_in for step in steps] == [[]] * 5
    assert [step.swapped_in for step in steps] == [[], [], [], [], [0]]
    assert [step.free_blocks_end for step in steps] == [4, 3, 2, 10, 10]


@pytest.mark.parametrize(("host", "story"), [(10, "0 0 0 1 1 1 1 1 0 2"), (100, "0 0 0 1 1 1 2 1 1 0")])
def test_new_prompts_wait_while_the_host_is_full(host: int, story: str) -> None:
    """1 drives 0 with its 10 blocks to the host. If that is full then, 2 waits although it is at level 0 and 1 no
    longer, until 0 is back; early it is not brought back, since of the queue only as many are looked at as run
    at a time."""
    rows = [(0.0, 8, 4), (0.009, 5, 5), (0.013, 1, 1)]
    policy = FastServe("mlfq", max_num_seqs=1, num_cpu_blocks=host)
    assert ran(batches(policy, rows, blocks=14)) == story


def test_fcfs_yields_the_oldest_when_prompts_were_sorted_first() -> None:
    """1 comes second but its prompt goes to the front, so that 0 is the last when 5 + 3 of 7 blocks are needed. 0 would
    come before any other, but has no room until 1 has finished."""
    steps = batches(FastServe("fcfs", max_num_seqs=4), [(0.0, 3, 4), (0.001, 2, 4)], blocks=7)
    assert ran(steps) == "0 01 1 1 1 0 0"
    assert [step.preempted for step in steps] == [[], [], [0], [], [], [], []]
    assert [step.swapped_in for step in steps] == [[], [], [], [], [], [0], []]


# -- where the real engine dies -----------------------------------------------------------------------------------


def test_what_the_full_host_cannot_take_is_computed_anew() -> None:
    """The example of swapping with no host at all: 0 has 9 known tokens when it runs again."""
    policy = FastServe("mlfq", max_num_seqs=1, num_cpu_blocks=0)
    steps = batches(policy, SWAPPING, blocks=10)
    assert [step.batch for step in steps] == [[(0, 6)], [(0, 1)], [(0, 1)], [(1, 3)], [(0, 9)]]
    result = simulate(Trace.from_rows(SWAPPING), policy, Written(1, 2**-8, now=2**-8), kv_blocks=10, block_size=1)
    assert result.requests["recomputed_tokens"].tolist() == [8, 0]
    assert result.requests["swaps"].tolist() == [0, 0]
    with pytest.raises(Stuck, match="the host is full"):
        story(Rules("mlfq", 1, host=6, total=10, size=1, quantum=0.001), [(0, 0.0, 6, 4), (1, 0.009, 3, 1)])


def test_who_outgrows_the_blocks_kept_free_runs_in_them() -> None:
    """A prompt of 6 with 4 of 10 blocks kept free: with its first token known it needs 7, and the real engine waits for
    ever."""
    steps = batches(FastServe(max_num_seqs=4), [(0.0, 6, 5), (0.001, 6, 5)], blocks=10)
    assert sum(len(step.batch) for step in steps) == 10
    with pytest.raises(Stuck, match="nobody can run"):
        story(Rules(sequences=4, total=10, size=1), [(0, 0.0, 6, 5)])


@pytest.mark.parametrize("policy", ["sj-mlfq", "fcfs"])
def test_a_prompt_that_can_never_run_is_rejected(policy: str) -> None:
    rows = [(0.0, 10, 5), (0.0, 301, 1), (0.001, 80, 9), (0.002, 301, 1)]
    kind = FastServe(policy, max_num_seqs=16, max_num_batched_tokens=300)  # type: ignore[arg-type]
    result = simulate(Trace.from_rows(rows), kind, MODEL, kv_blocks=90, block_size=4)
    assert result.requests["status"].tolist() == [0, 1, 0, 1]
    assert result.rejections[1] == "its prompt of 301 tokens exceeds the limit of 300 tokens of one batch"
    tight = simulate(Trace.from_rows(rows[:1] + rows[2:3]), kind, MODEL, kv_blocks=35, block_size=4)
    if policy == "fcfs":
        assert not tight.rejections
    else:
        assert tight.rejections == {1: "it needs 20 blocks; of the cache's 35, 16 stay free"}


@pytest.mark.parametrize(
    "policy",
    [
        FastServe(num_cpu_blocks=20),
        FastServe("mlfq", max_num_seqs=3, starvation_threshold=0.2, starvation_period=5, proactive=False),
        FastServe("fcfs", num_cpu_blocks=3),
    ],
)
def test_it_keeps_all_rules(policy: FastServe) -> None:
    report = check_scheduler(policy)
    assert not report.notes
    assert any(trial.preemptions > trial.swaps for trial in report.trials) == (policy.num_cpu_blocks is not None)


@pytest.mark.parametrize("policy", ["sj-mlfq", "mlfq", "fcfs"])
def test_a_prompt_longer_than_a_batch_is_its_only_one_unless_there_is_a_limit(policy: Any) -> None:
    rows = [(0.0, 5000, 2), (0.001, 10, 3), (0.002, 3000, 2), (0.003, 20, 2)]
    trace = Trace.from_rows([TraceRow(at, prompt, output) for at, prompt, output in rows])
    free, limited = (
        simulate(trace, FastServe(policy, max_num_batched_tokens=limit), MODEL, kv_blocks=600, block_size=16)
        for limit in (None, 2048)
    )
    assert not free.rejections
    assert set(free.iterations["prefill_tokens"].tolist()) >= {5000, 3000}
    assert {number: why.split(" exceeds")[0] for number, why in limited.rejections.items()} == {
        0: "its prompt of 5000 tokens",
        2: "its prompt of 3000 tokens",
    }


# -- while it holds -----------------------------------------------------------------------------------------------


def test_while_new_prompts_wait_steps_are_passed_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newcomers are put into the turned queues after the step in which they came, as if asked every time."""
    passed: list[int] = []
    repeated = Mlfq.repeated

    def counting(self: Mlfq, server: Server, batch: Batch, ends: list[float]) -> None:
        if batch.memo.guarded and self.inbox and self.inbox[0].request.arrived_at < ends[-2:][0]:
            passed.append(len(ends))
        repeated(self, server, batch, ends)

    monkeypatch.setattr(Mlfq, "repeated", counting)
    for seed in range(25):
        trace = little_trace(seed, requests=60, spread=3.0, output=60, slos=False)
        blocks = blocks_for_largest(trace, 4) + 8
        policy = FastServe(max_num_seqs=3, num_cpu_blocks=40, base_quantum=0.05, starvation_period=100)
        assert not audit(told_three_ways(trace, policy, kv_blocks=blocks, block_size=4))
    assert len(passed) > 20


# -- settings -----------------------------------------------------------------------------------------------------


def bound(policy: FastServe, known: bool) -> Mlfq:
    """The policy on OPT-13B with blocks of 32 tokens, or on a bare cost model."""
    seen: list[Mlfq] = []

    class Peek:
        def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
            assert isinstance(server.scheduler, Mlfq)
            seen.append(server.scheduler)

        def finished(self, server: Server, batch: Batch, end: float) -> None:
            pass

    machine = profile("opt-13b@a100-80gb-vllm") if known else MODEL
    simulate(Trace.from_rows([(0.0, 1, 1)]), policy, machine, kv_blocks=100, block_size=32, watch=Peek())
    return seen[0]


def test_the_host_holds_56_gib_where_the_model_is_known() -> None:
    """OPT-13B has 2 x 40 x 5120 numbers of two bytes a token: 2293 blocks of 32 tokens."""
    assert bound(FastServe(), known=True).host == 56 * 2**30 // (2 * 40 * 5120 * 2 * 32) == 2293
    assert bound(FastServe(), known=False).host == np.inf
    assert bound(FastServe(num_cpu_blocks=7), known=True).host == 7


def test_levels_are_chosen_by_the_cost_model_of_the_machine() -> None:
    """MODEL takes 3 ms and a millisecond per token in quadrature with 10: 67 ms of 64 tokens, so level 3 (80 ms)."""
    policy = bound(FastServe(), known=False).policy
    server = bound(policy, known=False)._server
    times = policy.times(server)
    assert times[1] == pytest.approx(0.003 + (0.01**2 + 0.064**2) ** 0.5 + 1e-7 * 64**2 / 2)
    assert policy.joins(64, times) == 3


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (FastServe(quantum_factor=1), "quantum_factor = 1: write a number > 1"),
        (FastServe(base_quantum=0), "base_quantum = 0: write a number > 0"),
        (FastServe(starvation_period=0), "starvation_period = 0: write a number >= 1"),
        (FastServe(prefill_times=(0.1,)), "prefill_times needs 14 times, not 1"),
    ],
)
def test_settings_that_make_no_sense(policy: FastServe, words: str) -> None:
    with pytest.raises(SlosimError, match=words):
        simulate(Trace.from_rows([(0.0, 1, 1)]), policy, MODEL, kv_blocks=9)


def test_it_decides_only_where_it_remembers() -> None:
    server = bound(FastServe(), known=False)._server
    with pytest.raises(SchedulerError, match="ask what bind"):
        FastServe().schedule(server)
