"""Blocks taken ahead, lent to guests and given back late; and what a policy that remembers is told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL
from tests.sim.test_batch import Bench
from traces import Trace, TraceRow


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_blocks_taken_ahead_are_used_before_others(bench: Bench) -> None:
    request = bench.decoding(3)  # one block of four, three tokens
    batch = bench.batch()
    batch.decode_all()
    assert batch.extend(request, 2) == 2
    bench.apply(batch)
    assert (request.blocks, bench.server.free_blocks) == (3, 7)
    for _ in range(8):  # tokens 5 to 12 fill the two blocks
        batch = bench.batch()
        batch.decode_all()
        bench.apply(batch)
    assert (request.kv_tokens, request.blocks, bench.server.free_blocks) == (12, 3, 7)
    batch = bench.batch()
    batch.decode_all()
    bench.apply(batch)
    assert (request.blocks, bench.server.free_blocks) == (4, 6)


def test_ahead_means_beyond_the_block_that_this_decode_takes(bench: Bench) -> None:
    request = bench.decoding(4)  # its block is full: the decode takes one
    batch = bench.batch()
    batch.decode_all()
    batch.extend(request, 1)
    assert batch.blocks_left == 7
    bench.apply(batch)
    assert (request.blocks, bench.server.free_blocks) == (3, 7)


def test_what_is_taken_ahead_is_never_more_than_is_left(bench: Bench) -> None:
    request = bench.decoding(4)
    batch = bench.batch()
    assert batch.extend(request, 99) == 9
    assert batch.extend(request, 1) == 0
    batch.preempt(request)
    assert batch.blocks_left == 10
    with pytest.raises(SchedulerError, match="cannot take blocks ahead"):
        batch.extend(request, 1)


def test_a_guest_lives_in_what_its_host_does_not_use(bench: Bench) -> None:
    host = bench.decoding(3, reserve=16)  # five blocks of four for three tokens
    guest = bench.waiting(6)
    batch = bench.batch()
    assert batch.spare(host) == 4
    assert batch.admit(guest, 6, reserve=2, host=host) == 6
    assert (batch.spare(host), batch.blocks_left) == (2, 5)
    bench.apply(batch)
    assert (host.blocks, guest.blocks, bench.server.free_blocks) == (3, 2, 5)
    batch = bench.batch()
    assert batch.preempt(guest) == 0  # its blocks go back to the host
    bench.apply(batch)
    assert (host.blocks, guest.blocks, bench.server.free_blocks) == (5, 0, 5)


def test_no_room_with_the_host_no_guest(bench: Bench) -> None:
    host = bench.decoding(3, reserve=4)
    batch = bench.batch()
    assert batch.admit(bench.waiting(5), 5, host=host) == 0
    assert batch.admit(bench.waiting(4), 4, host=host) == 4
    with pytest.raises(SchedulerError, match="lends blocks"):
        batch.preempt(host)


def lodging(bench: Bench) -> tuple[Request, Request]:
    """A host of three tokens and five blocks of four, and a guest of six tokens in two of them."""
    host, guest = bench.decoding(3, reserve=16), bench.waiting(6)
    batch = bench.batch()
    batch.admit(guest, 6, host=host)
    bench.apply(batch)
    return host, guest


def test_a_guest_outlives_its_host(bench: Bench) -> None:
    host, guest = lodging(bench)
    batch = bench.batch()
    assert batch.preempt(host) == 3
    bench.apply(batch)
    assert (guest.blocks, bench.server.free_blocks) == (2, 8)
    batch = bench.batch()
    assert batch.preempt(guest) == 2
    bench.apply(batch)
    assert bench.server.free_blocks == 10


def test_guests_before_their_hosts_and_hosts_before_their_guests_free_the_same(bench: Bench) -> None:
    for order in (1, -1):
        host, guest = lodging(bench)
        batch = bench.batch()
        assert sum(batch.preempt(request) for request in [host, guest][::order]) == 5
        bench.apply(batch)
        assert batch.blocks_left == bench.server.free_blocks == 10
        for request in (host, guest):
            bench.server.waiting.remove(request)


@pytest.mark.parametrize(("lent", "back"), [(1, 4), (2, 5), (5, 5)])
def test_a_guest_gives_back_no_more_than_it_has(bench: Bench, lent: int, back: int) -> None:
    """The host keeps three blocks of its own; of the hosted request's two, those lent to it go with the host's."""
    host, guest = lodging(bench)
    bench.server.hosts[guest] = host, lent
    batch = bench.batch()
    batch.preempted[guest] = False
    assert batch.freed(host) == back
    del batch.preempted[guest]
    assert batch.freed(host) == 3
    assert batch.freed(guest) == 2 - min(lent, 2)
    batch.preempted[host] = False
    assert batch.freed(guest) == 2


def test_copies_without_an_iteration_are_paid_by_the_next_one(bench: Bench) -> None:
    swapped = bench.decoding(8)
    runs = bench.decoding(3)
    batch = bench.batch()
    batch.preempt(swapped, swap=True)
    assert bench.server.start(batch).swapped_tokens == 0
    bench.server.finish(batch, bench.now, 0)
    batch = bench.batch()
    batch.decode(runs)
    assert bench.server.start(batch).swapped_tokens == 8
    bench.server.finish(batch, bench.now, 0)
    batch = bench.batch()
    batch.decode(runs)
    assert bench.server.start(batch).swapped_tokens == 0


class Blocks:
    """Watches the free blocks: before each decision's batch ran, and after."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def started(self, server: Server, batch: Batch, shape: object) -> None:
        self.seen.append((batch.blocks_left, server.free_blocks))

    def finished(self, server: Server, batch: Batch, end: float) -> None: ...


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        # two requests of one block each; the first finishes with the first iteration
        (0, [(8, 8), (9, 9), (9, 9), (9, 9)]),
        (1, [(8, 8), (8, 9), (9, 9), (9, 9)]),
        (2, [(8, 8), (8, 8), (8, 9), (9, 9)]),
    ],
)
def test_blocks_come_back_after_the_decision_of_a_later_batch(delay: int, expected: list[tuple[int, int]]) -> None:
    class Late(Sarathi):
        release_delay = delay

    trace = Trace.from_rows([TraceRow(0.0, 1, 1), TraceRow(0.0, 1, 4), TraceRow(9.0, 36, 1)])
    watch = Blocks()
    result = simulate(trace, Late(), MODEL, kv_blocks=10, block_size=4, watch=watch)
    assert watch.seen[:4] == expected
    assert result.iterations["free_blocks_end"][-1] == 10
    assert result.requests["finished_at"][2] > 0  # it needs them all: none was lost while nobody was there


@dataclass(frozen=True)
class Diary(Scheduler):
    """Serves one at a time and writes down what it is told."""

    pages: list[str] = field(default_factory=list)

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(100)
        batch.memo = f"decision {len(self.pages)}"
        batch.decode_all()
        for request in server.waiting:
            if server.running_count or not batch.admit(request):
                break
        return batch

    def arrived(self, request: Request) -> None:
        self.pages.append(f"{request.id} arrived, {request.phase.value}")

    def ended(self, server: Server, batch: Batch) -> None:
        done = [request.id for request in batch.prefills if request.phase is Phase.FINISHED]
        self.pages.append(f"{batch.memo} ended, {done} finished, {server.history.iterations} iterations")


def test_a_policy_is_told_of_arrivals_and_of_ends_and_gets_its_memo_back() -> None:
    diary = Diary()
    simulate(Trace.from_rows([TraceRow(0.0, 2, 1), TraceRow(0.001, 2, 2)]), diary, MODEL, kv_blocks=9, block_size=4)
    assert diary.pages == [
        "0 arrived, waiting",
        "1 arrived, waiting",
        "decision 1 ended, [0] finished, 1 iterations",
        "decision 3 ended, [] finished, 2 iterations",
        "decision 4 ended, [] finished, 3 iterations",
    ]


def test_who_runs_already_may_live_with_a_host_as_well(bench: Bench) -> None:
    host = bench.decoding(3, reserve=16)  # five blocks of four
    guest = bench.decoding(4)  # its block is full: the next decode takes a free one
    batch = bench.batch()
    batch.decode_all()
    assert batch.extend(guest, 2, host) == 2
    assert (batch.spare(host), batch.blocks_left) == (2, 3)
    with pytest.raises(SchedulerError, match="cannot lend to"):
        batch.extend(guest, 1, host)
    bench.apply(batch)
    assert (host.blocks, guest.blocks, bench.server.free_blocks) == (3, 4, 3)
    batch = bench.batch()
    assert batch.preempt(guest) == 2
    assert batch.blocks_left == 5
    bench.apply(batch)
    assert (host.blocks, guest.blocks, bench.server.free_blocks) == (5, 0, 5)


def test_who_lends_to_a_victim_keeps_its_blocks(bench: Bench) -> None:
    host, guest = bench.decoding(3, reserve=16), bench.decoding(2)
    batch = bench.batch()
    assert batch.extend(guest, 9, host) == 4
    assert batch.preempt(guest) == 1
    assert (batch.spare(host), batch.blocks_left) == (4, 5)
