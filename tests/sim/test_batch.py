"""The verbs of a batch: what each grants, what it refuses, and that none overdraws budget or cache."""

from __future__ import annotations

import pytest

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.machine import Machine
from sim.replica import Replica
from sim.request import Phase, Request
from sim.schedulers.vllm import Vllm
from tests.sim.stories import MODEL


class Bench:
    """A server of ten blocks of four tokens, and ways to bring requests to any stage."""

    def __init__(self, blocks: int = 10) -> None:
        self.server = Replica(0, Vllm(), Machine(MODEL, blocks, 4))
        self.now, self.ids = 0.0, 0

    def waiting(self, prompt: int, output: int = 50) -> Request:
        request = Request(self.ids, self.now, prompt, output)
        self.ids += 1
        self.server.arrive(request)
        return request

    def apply(self, batch: Batch) -> None:
        self.server.start(batch)
        self.now += 1.0
        self.server.finish(batch, self.now, 0)

    def started(self, prompt: int, tokens: int, reserve: int = 0) -> Request:
        """Prefilling, with so many tokens done."""
        request = self.waiting(prompt)
        batch = self.server.new_batch(1000)
        assert batch.admit(request, tokens, reserve) == tokens
        self.apply(batch)
        return request

    def decoding(self, prompt: int, reserve: int = 0) -> Request:
        request = self.started(prompt, prompt, reserve)
        assert request.phase is Phase.DECODING
        return request

    def swapped(self, prompt: int) -> Request:
        request = self.decoding(prompt)
        batch = self.server.new_batch(1000)
        batch.preempt(request, swap=True)
        self.apply(batch)
        assert request.phase is Phase.SWAPPED
        return request

    def batch(self, budget: int = 1000, watermark: int = 0) -> Batch:
        return self.server.new_batch(budget, watermark)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def left(batch: Batch) -> tuple[int, int, int]:
    return batch.tokens, batch.tokens_left, batch.blocks_left


def test_admit_is_cut_to_budget_and_memory(bench: Bench) -> None:
    long = bench.waiting(100)
    assert bench.batch(30).admit(long) == 30
    batch = bench.batch()
    assert batch.admit(long) == 40
    assert left(batch) == (40, 960, 0)
    assert bench.batch(watermark=2).admit(long) == 32
    assert bench.batch().admit(long, reserve=7) == 33
    assert bench.batch(0).admit(long) == 0


def test_admit_with_tokens_is_all_or_nothing_of_the_memory(bench: Bench) -> None:
    long, short = bench.waiting(100), bench.waiting(6)
    assert bench.batch().admit(long, 41) == 0
    assert bench.batch(20).admit(long, 41) == 20, "the budget still cuts"
    batch = bench.batch()
    assert batch.admit(short, 50, reserve=2) == 6
    assert left(batch) == (6, 994, 8)
    assert batch.admitted == {short: 2}
    assert bench.batch().admit(short, 6, reserve=35) == 0
    assert bench.batch().admit(short, 0) == 0


def test_admit_refuses_who_does_not_wait(bench: Bench) -> None:
    batch, waiting, running = bench.batch(), bench.waiting(3), bench.decoding(3)
    batch.admit(waiting)
    for request in (waiting, running):
        with pytest.raises(SchedulerError, match=rf"Request\({request.id}, .* cannot be admitted"):
            batch.admit(request)
    batch = bench.batch()
    batch.reject(waiting, "no")
    with pytest.raises(SchedulerError, match="decided on already"):
        batch.admit(waiting)
    batch.preempt(running, swap=True)
    with pytest.raises(SchedulerError, match="cannot be admitted"):
        batch.admit(running)


def test_a_victim_may_be_admitted_at_once(bench: Bench) -> None:
    victim = bench.decoding(6)
    batch = bench.batch()
    assert batch.preempt(victim) == 2
    assert batch.admit(victim) == 7, "prompt and what it generated"
    bench.apply(batch)
    assert (victim.preemptions, victim.recomputed_tokens, victim.kv_tokens, victim.generated) == (1, 6, 7, 2)


def test_prefill_goes_on_as_far_as_it_can(bench: Bench) -> None:
    request = bench.started(30, 5)
    batch = bench.batch()
    assert batch.prefill(request, 9) == 9
    assert left(batch) == (9, 991, 6)
    with pytest.raises(SchedulerError, match="has its chunk already"):
        batch.prefill(request)
    assert bench.batch(4).prefill(request) == 4
    assert bench.batch().prefill(request, 0) == 0
    assert bench.batch().prefill(request) == 25
    bench.decoding(20)
    assert bench.batch().prefill(request) == (2 + 3) * 4 - 5, "memory cuts"
    with pytest.raises(SchedulerError, match="it is not prefilling"):
        bench.batch().prefill(bench.waiting(3))
    batch = bench.batch()
    batch.preempt(request)
    assert batch.prefill(request) == 0


def test_decode_takes_a_block_when_its_last_is_full(bench: Bench) -> None:
    full, partly = bench.decoding(8), bench.decoding(6)
    batch = bench.batch(2)
    assert (batch.growth(full), batch.growth(partly)) == (1, 0)
    assert batch.decode(full) == batch.decode(partly) == 1
    assert left(batch) == (2, 0, 5)
    assert bench.batch(0).decode(full) == 0
    with pytest.raises(SchedulerError, match="has its token already"):
        batch.decode(full)
    with pytest.raises(SchedulerError, match="cannot decode"):
        batch.decode(bench.waiting(1))
    filler = bench.decoding(24)
    batch = bench.batch()
    assert (batch.blocks_left, batch.growth(filler)) == (0, 1)
    assert batch.decode(filler) == 0, "no block is left"
    batch.preempt(partly)
    assert batch.decode(filler) == 1
    with pytest.raises(SchedulerError, match="cannot decode"):
        batch.decode(partly)


def test_decode_all_counts_everybody_once(bench: Bench) -> None:
    requests = [bench.decoding(prompt) for prompt in (8, 6, 4)]
    batch = bench.batch()
    assert batch.decode_all() == 3
    assert left(batch) == (3, 997, 10 - 5 - 2)
    with pytest.raises(SchedulerError, match="decode_all was called before"):
        batch.decode_all()
    with pytest.raises(SchedulerError, match="cannot decode"):
        batch.decode(requests[0])
    bench.apply(batch)
    assert [request.kv_tokens for request in requests] == [9, 7, 5]


def test_decode_all_preempts_the_newest_until_the_others_fit() -> None:
    bench = Bench(6)
    old, middle, new = (bench.decoding(8) for _ in range(3))
    batch = bench.batch()
    assert batch.decode_all() == 2
    assert batch.preempted == {new: False}
    assert left(batch) == (2, 998, 0)
    batch = bench.batch()
    assert batch.decode_all(least_free=1, swap=True) == 2, "the last one's test comes before it takes its block"
    bench.apply(batch)
    assert new.phase is Phase.SWAPPED
    assert [request.phase for request in (old, middle)] == [Phase.DECODING] * 2


@pytest.mark.parametrize(
    ("prompts", "granted", "victims"),
    [
        ((8, 7), 1, [1]),  # the first takes the only free block, and the second, which needs none, finds none free
        ((7, 8), 2, []),  # the first needs none, and the second finds the one that it takes
        ((7, 7), 2, []),
    ],
)
def test_the_last_one_s_test_for_a_free_block_comes_before_it_takes_its_own(
    prompts: tuple[int, ...], granted: int, victims: list[int]
) -> None:
    bench = Bench(5)
    for prompt in prompts:
        bench.decoding(prompt)
    batch = bench.batch()
    assert batch.decode_all(least_free=1) == granted
    assert [request.id for request in batch.preempted] == victims
    assert batch.blocks_left == {(8, 7): 2, (7, 8): 0, (7, 7): 1}[prompts]


def test_a_prompt_under_way_yields_before_the_decodes() -> None:
    """It is the newest: its block goes to the only decode, and that still runs."""
    bench = Bench(3)
    old, new = bench.decoding(8), bench.started(30, 4)
    batch = bench.batch()
    assert batch.decode_all() == 1
    assert batch.preempted == {new: False}
    assert (batch.blocks_left, batch.tokens) == (0, 1)
    assert old not in batch.preempted


def test_decodes_in_turn_ask_for_a_free_block_each() -> None:
    """Three tokens of budget for four: the third finds no free block, and the fourth yields its own."""
    bench = Bench(9)
    requests = [bench.decoding(prompt) for prompt in (8, 7, 7, 8)]
    batch = bench.batch(3)
    assert batch.decode_all(least_free=1, swap=True) == 3
    assert batch.preempted == {requests[3]: True}
    assert list(batch.decodes) == requests[:3]
    assert left(batch) == (3, 0, 2)


def test_decodes_in_turn_preempt_as_they_were_told_to() -> None:
    """Oldest first: a prompt under way is passed over, the newest is swapped out or dropped, at last the asker."""
    for swap in (True, False):
        bench = Bench(7)
        prompt, first, second = bench.started(30, 4), bench.decoding(12), bench.decoding(12)
        batch = bench.batch(1)
        assert batch.decode_all(swap=swap) == 1
        assert (batch.preempted, list(batch.decodes)) == ({second: swap}, [first])
        assert prompt not in batch.decodes


def test_a_decode_that_was_chosen_is_not_chosen_again(bench: Bench) -> None:
    chosen, other = bench.decoding(3), bench.decoding(3)
    batch = bench.batch()
    batch.decode(chosen)
    assert batch.decode_all() == 1
    assert list(batch.decodes) == [chosen, other]


def test_spare_is_what_this_batch_leaves_unused(bench: Bench) -> None:
    """Of blocks of four tokens: a decode's next token, a prompt's next chunk, and what hosted requests have already."""
    decodes, prompt = bench.decoding(3, reserve=4), bench.started(30, 3, reserve=9)
    full, waits = bench.decoding(4), bench.waiting(3)
    batch = bench.batch()
    assert [batch.spare(request) for request in (decodes, prompt, full, waits)] == [1, 2, 0, 0]
    batch.prefill(prompt, 2)
    assert batch.spare(prompt) == 1
    assert batch.admit(waits, 3, host=prompt) == 3
    assert batch.spare(prompt) == 0
    batch.preempt(decodes)
    assert batch.spare(decodes) == 0


def test_a_prompt_without_a_chunk_spares_what_it_does_not_fill(bench: Bench) -> None:
    prompt = bench.started(30, 4, reserve=8)
    assert bench.batch().spare(prompt) == 2, "its four tokens fill one of three blocks"


def test_a_shortage_is_of_blocks_beyond_those_held(bench: Bench) -> None:
    request = bench.started(30, 5)
    batch = bench.batch()
    assert [batch.shortage(request, tokens) for tokens in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


def test_a_new_batch_promises_and_holds_nothing(bench: Bench) -> None:
    bench.decoding(3)
    batch = bench.batch(7, watermark=2)
    assert (batch.tokens_left, batch.blocks_left, batch.watermark, batch.tokens) == (7, 9, 2, 0)
    assert (batch.everyone, batch.least_free, batch.holds, batch.memo) == (False, 0, False, None)
    assert batch.until == batch.room == float("inf")
    assert not batch.steady
    assert not batch.changes
    assert bench.server.new_batch(7).watermark == 0
    tables = (batch.prefills, batch.admitted, batch.decodes, batch.paused, batch.preempted, batch.resumed)
    assert all(table == {} for table in (*tables, batch.rejected, batch.extended, batch.hosts))


def test_asked_is_what_an_admission_needed_free(bench: Bench) -> None:
    host, newcomer, guest = bench.decoding(3, reserve=12), bench.waiting(6), bench.waiting(3)
    batch = bench.batch(watermark=3)
    assert batch.admit(newcomer) == 6
    assert batch.admit(guest, 3, host=host) == 3
    assert [batch.asked(request) for request in (newcomer, guest, host)] == [2 + 3, 0, -1]


def test_decode_all_under_a_budget_goes_by_age(bench: Bench) -> None:
    requests = [bench.decoding(3) for _ in range(4)]
    batch = bench.batch(2)
    assert batch.decode_all() == 2
    assert list(batch.decodes) == requests[:2]
    bench.apply(batch)
    assert [request.generated for request in requests] == [2, 2, 1, 1]
    assert {*bench.server.paused} == {*requests[2:]}
    assert bench.server.decoding_count == 4
    batch = bench.batch()
    assert batch.decode_all() == 4, "they come back"
    bench.apply(batch)
    assert [request.generated for request in requests] == [3, 3, 2, 2]


def test_decode_all_in_turn_preempts_too() -> None:
    bench = Bench(6)
    requests = [bench.decoding(8) for _ in range(3)]
    batch = bench.batch(2)
    assert batch.decode_all() == 2
    assert list(batch.preempted) == requests[2:]
    alone = Bench(2)
    one = alone.decoding(8)
    batch = alone.batch(0)
    assert batch.decode_all() == 0
    assert not batch.preempted
    batch = alone.batch()
    batch.tokens_left = 1
    assert batch.decode_all() == 0
    assert batch.preempted == {one: False}


def test_pause_gives_back(bench: Bench) -> None:
    full, other = bench.decoding(8), bench.decoding(3)
    batch = bench.batch()
    assert batch.pause(full) == 0, "it has no token yet"
    batch.decode(full)
    assert batch.pause(full) == 1
    assert left(batch) == (0, 1000, 7)
    batch = bench.batch()
    batch.decode_all()
    assert batch.pause(full) == 1
    assert batch.pause(full) == 0
    assert batch.pause(bench.waiting(1)) == 0
    bench.apply(batch)
    assert (full.generated, other.generated) == (1, 2)
    assert {*bench.server.paused} == {full}


def test_preempt_takes_back_whatever_was_granted(bench: Bench) -> None:
    prefilling, decoding = bench.started(30, 5), bench.decoding(8)
    batch = bench.batch()
    before = left(batch)
    batch.prefill(prefilling, 9)
    batch.decode_all()
    assert batch.preempt(prefilling) == 2
    assert batch.preempt(decoding) == 2
    assert left(batch) == (before[0], before[1], before[2] + 4)
    for request in (prefilling, bench.waiting(1)):
        with pytest.raises(SchedulerError, match="cannot be preempted: it does not run"):
            batch.preempt(request)
    bench.apply(batch)
    assert bench.server.free_blocks == 10
    assert [request.id for request in bench.server.waiting] == [1, 0, 2]


def test_resume(bench: Bench) -> None:
    swapped = bench.swapped(8)
    assert bench.server.free_blocks == 10
    batch = bench.batch()
    assert batch.resume(swapped) == 3, "two on the host and one to grow"
    with pytest.raises(SchedulerError, match="it is not swapped out"):
        batch.resume(swapped)
    assert bench.batch(0).resume(swapped) == 0, "no token is left"
    assert bench.batch(0).resume(swapped, run=False) == 2
    full = bench.batch()
    full.blocks_left = 2
    assert full.resume(swapped) == 0
    batch = bench.batch()
    batch.decode_all()
    batch.resume(swapped, run=False)
    bench.apply(batch)
    assert (swapped.generated, swapped.kv_tokens, swapped.phase) == (1, 8, Phase.DECODING)
    assert {*bench.server.paused} == {swapped}


def test_a_prompt_is_swapped_too(bench: Bench) -> None:
    request = bench.started(30, 5)
    batch = bench.batch()
    batch.preempt(request, swap=True)
    bench.apply(batch)
    batch = bench.batch()
    assert batch.resume(request) == 2
    assert batch.tokens == 0, "an unfinished prompt does not decode"
    bench.apply(batch)
    assert (request.phase, request.kv_tokens, request.blocks, request.host_blocks) == (Phase.PREFILLING, 5, 2, 0)


def test_reject(bench: Bench) -> None:
    one, two, running = bench.waiting(3), bench.waiting(3), bench.decoding(3)
    batch = bench.batch()
    batch.admit(two)
    batch.reject(one, "too dear")
    for request in (two, running):
        with pytest.raises(SchedulerError, match="cannot be rejected"):
            batch.reject(request, "no")
    assert list(batch.waiting()) == []
    bench.apply(batch)
    assert one.phase is Phase.REJECTED
    assert bench.server.recorder.rejections == {0: "too dear"}


def test_what_holds_and_what_is_steady(bench: Bench) -> None:
    bench.decoding(3)
    batch = bench.batch()
    batch.hold()
    assert not batch.steady
    batch.decode_all()
    assert batch.steady
    assert not batch.changes
    batch.admit(bench.waiting(3))
    assert batch.changes
    assert not batch.steady


def test_requests_in_words(bench: Bench) -> None:
    assert repr(bench.started(30, 5)) == "Request(0, prefilling, prompt=30, generated=0, kv=5, blocks=2)"
