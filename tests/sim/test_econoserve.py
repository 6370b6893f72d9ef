"""EconoServe by hand, and what must hold for any workload. Sources: the abstract of arXiv 2411.06364, and what is
recalled of its body; blocks hold four tokens, and lengths are told truly unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import pytest

from costmodel import BatchShape
from sim.audit import audit
from sim.batch import Batch
from sim.check import check_scheduler
from sim.predictor import Lengths, Noisy, Predictor, perfect, unknown
from sim.request import Request
from sim.result import RunResult
from sim.schedulers.econoserve import EconoServe
from sim.schedulers.econoserve.decision import Decision
from sim.schedulers.econoserve.queues import TwoQueues
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, differences
from tests.test_restated import Written
from traces import SLO, Trace, TraceRow


def plain(**changes: Any) -> EconoServe:
    """In order of arrival, nothing rounded, padded or kept back; and what else is asked for."""
    bare = {"forward_size": 1000, "length_bucket": 1, "padding": 0.0, "reserve": 0.0, "buffer": 0}
    off = {"ordering": False, "same_length": False, "pipelining": False}
    return EconoServe(**(bare | off | changes))


@dataclass(frozen=True)
class Told:
    """Tells just these lengths."""

    lengths: tuple[int, ...]

    def __call__(self, output_tokens: Any, random: np.random.Generator) -> Lengths:
        return np.array(self.lengths, np.float64)


def story(
    policy: EconoServe, rows: list[Any], blocks: int, told: Predictor = perfect
) -> tuple[list[dict[int, int]], RunResult]:
    """The tokens of every iteration, by request, and the result."""
    written = Written()
    trace = Trace.from_rows(rows)
    result = simulate(trace, policy, written, kv_blocks=blocks, block_size=4, watch=written, predictor=told)
    return [step[1] for step in written.steps if step[1]], result


def starts(steps: list[dict[int, int]]) -> dict[int, int]:
    """In which iteration each request decoded first."""
    firsts: dict[int, int] = {}
    for number, step in enumerate(steps):
        for request, tokens in step.items():
            if tokens == 1:
                firsts.setdefault(request, number)
    return firsts


# -- prompts and generations -----------------------------------------------------------------------------------------


def test_prompts_fill_the_batch_up_to_the_forward_size() -> None:
    """Recalled: prompts are added to the generations until the GPU is saturated; inferred: the last is cut there."""
    rows = [(0.0, 6, 3), (0.0, 8, 3)]
    assert story(plain(forward_size=10), rows, 20)[0] == [{0: 6, 1: 4}, {0: 1, 1: 4}, {0: 1, 1: 1}, {1: 1}]
    whole = plain(forward_size=5, chunking=False)
    assert story(whole, rows, 20)[0] == [{0: 6}, {0: 1, 1: 8}, {0: 1, 1: 1}, {1: 1}]


def test_a_generation_waits_with_its_prompt_until_there_is_cache_for_its_predicted_length() -> None:
    """Stated: two queues, and cache for the predicted length. 4 + 12 tokens less the last are 4 blocks, 4 + 8 are 3.

    Both prompts start, for one block each; of six, request 0 then takes three more, and request 1 lacks two.
    """
    rows = [(0.0, 4, 12), (0.0, 4, 8)]
    steps, result = story(plain(), rows, 6)
    assert steps == [{0: 4, 1: 4}] + [{0: 1}] * 11 + [{1: 1}] * 7
    assert result.iterations["free_blocks"].tolist() == [4] + [1] * 11 + [3] * 7
    assert starts(story(plain(), rows, 7)[0]) == {0: 1, 1: 1}


def test_the_last_output_is_never_cached() -> None:
    """4 + 5 tokens less the last fill two blocks."""
    assert story(plain(), [(0.0, 4, 5)], 9)[1].iterations["free_blocks"].tolist() == [8] + [7] * 4


def test_coupled_a_prompt_waits_for_the_cache_of_its_generation() -> None:
    steps, _ = story(plain(decoupled=False), [(0.0, 4, 12), (0.0, 4, 8)], 6)
    assert steps == [{0: 4}] + [{0: 1}] * 11 + [{1: 4}] + [{1: 1}] * 7


def test_block_by_block_nobody_waits_for_a_length() -> None:
    steps, _ = story(plain(exact_allocation=False), [(0.0, 4, 12), (0.0, 4, 8)], 7)
    assert starts(steps) == {0: 1, 1: 1}
    assert steps.count({0: 1, 1: 1}) == 7


def test_prompts_leave_what_the_first_generation_lacks_unless_they_need_not_wait() -> None:
    """Of nine blocks two are free while request 1 lacks three: request 2 would fit."""
    rows = [(0.0, 4, 20), (0.0, 4, 13), (0.002, 4, 1)]
    assert [2 in step for step in story(plain(), rows, 9)[0]].index(True) == 20
    assert [2 in step for step in story(plain(prompts_wait=False), rows, 9)[0]].index(True) == 1


# -- groups, order -----------------------------------------------------------------------------------------------------


def test_with_the_first_start_all_of_its_length() -> None:
    """Stated. Lengths 12, 8, 12 need 3, 2, 3 blocks more; of nine, three hold the prompts."""
    rows = [(0.0, 4, 12), (0.0, 4, 8), (0.0, 4, 12)]
    steps, _ = story(plain(same_length=True), rows, 9)
    assert starts(steps) == {0: 1, 2: 1, 1: 12}
    assert steps[1:12] == [{0: 1, 2: 1}] * 11, "in step from the first to the last"
    assert starts(story(plain(), rows, 9)[0]) == {0: 1, 1: 1, 2: 8}


def test_lengths_are_the_same_if_they_round_up_to_the_same() -> None:
    rows = [(0.0, 4, 12), (0.0, 4, 4), (0.0, 4, 10)]
    steps, _ = story(plain(same_length=True, length_bucket=4), rows, 9)
    assert starts(steps) == {0: 1, 2: 1, 1: 10}


def test_prompts_go_by_range_of_the_deadline_and_then_longest_first() -> None:
    """Recalled: deadline range, then cache (a prompt has none yet), then length. One prompt an iteration."""
    slos = [SLO(ttft=3.5), SLO(ttft=1.9), SLO(ttft=1.2), SLO(ttft=3.1), SLO()]
    rows = [TraceRow(0.0, tokens, 1, slo) for tokens, slo in zip((3, 5, 9, 7, 30), slos, strict=True)]
    policy = plain(forward_size=1, chunking=False, ordering=True)
    assert [next(iter(step)) for step in story(policy, rows, 20)[0]] == [2, 1, 3, 0, 4]
    by_arrival = plain(forward_size=1, chunking=False)
    assert [next(iter(step)) for step in story(by_arrival, rows, 20)[0]] == [0, 1, 2, 3, 4]
    strict = plain(forward_size=1, chunking=False, ordering=True, deadline_range=0.0)
    assert [next(iter(step)) for step in story(strict, rows, 20)[0]] == [2, 1, 3, 0, 4]
    wide = plain(forward_size=1, chunking=False, ordering=True, deadline_range=100.0)
    assert [next(iter(step)) for step in story(wide, rows, 20)[0]] == [4, 2, 3, 1, 0]


def test_generations_that_hold_most_cache_go_first() -> None:
    """Stated: queued requests that occupy more cache come first, to release it earlier. Both lack three blocks."""
    rows = [(0.0, 4, 12), (0.0, 12, 12)]
    assert starts(story(plain(ordering=True), rows, 8)[0]) == {1: 1, 0: 12}
    assert starts(story(plain(), rows, 8)[0]) == {0: 1, 1: 12}
    due = [TraceRow(0.0, 4, 12, SLO(jct=1.0)), TraceRow(0.0, 12, 12, SLO(jct=9.0))]
    assert starts(story(plain(ordering=True), due, 8)[0]) == {0: 1, 1: 12}


# -- pipelining --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("buffer", "begins"), [(0, 2), (15, 2), (16, 33)])
def test_a_guest_lives_in_what_its_host_has_not_reached(buffer: int, begins: int) -> None:
    """3 + 33 tokens less the last are nine blocks, eight more than the prompt's: all of ten. Request 1 lacks two.

    In iteration 2 the host has 36 - 5 = 31 tokens to spare; the guest takes eight, and in its eight steps the host
    grows by eight: 16, and a buffer. Later there is less. What was lent is the host's again; one block comes free.
    """
    steps, result = story(plain(pipelining=True, buffer=buffer), [(0.0, 3, 33), (0.0, 3, 9)], 10)
    assert starts(steps) == {0: 1, 1: begins}
    if begins == 2:
        assert result.iterations["free_blocks"].tolist() == [8] + [0] * 9 + [1] * 23


def test_guests_have_guests() -> None:
    """Recalled: recursively. The host takes 16 blocks more, and has 68 - 5 = 63 tokens to spare in iteration 2.

    Guests that take 7, 4 and 2 blocks for 28, 16 and 8 steps leave 35, 19 and 11 of them: not 16 for one more like the
    last. In iteration 3 the first guest has 32 - 5 = 27 to spare. Without that, two guests have left their own blocks
    free in iteration 18.
    """
    rows = [(0.0, 3, 65), (0.0, 3, 29), (0.0, 3, 17), (0.0, 3, 9), (0.0, 3, 9)]
    nested, _ = story(plain(pipelining=True), rows, 21)
    assert starts(nested) == {0: 1, 1: 2, 2: 2, 3: 2, 4: 3}
    flat, _ = story(plain(pipelining=True, nested=False), rows, 21)
    assert starts(flat) == {0: 1, 1: 2, 2: 2, 3: 2, 4: 18}


def test_the_host_is_the_smallest_that_suffices() -> None:
    """Both may be hosts of request 2, for 16 tokens; it takes two blocks of request 1, which has 31 to spare, not 63.

    Thus request 3 finds 56 tokens, seven blocks and 28 steps, with request 0.
    """
    rows = [(0.0, 3, 65), (0.0, 3, 33), (0.0, 3, 9), (0.0, 3, 29)]
    assert starts(story(plain(pipelining=True), rows, 28)[0]) == {0: 1, 1: 1, 2: 2, 3: 2}


def test_a_guest_whose_blocks_are_full_takes_a_free_one() -> None:
    """Of two that could be guests at once, and fill their block, one finds a free one; the other waits for its end."""
    rows = [(0.0, 3, 65), (0.0, 4, 13), (0.0, 4, 13)]
    assert starts(story(plain(pipelining=True), rows, 20)[0]) == {0: 1, 1: 2, 2: 14}
    assert starts(story(plain(pipelining=True), rows, 21)[0]) == {0: 1, 1: 2, 2: 2}


def test_a_host_whose_guest_outlived_its_prediction_goes_on_when_that_has_left() -> None:
    """Request 2 lives with request 1, and then in the four blocks that request 3 left, too. Its host, with 28 tokens in
    seven blocks, stops in iteration 26, and goes on in the next with what is given back, though request 4 is before it
    and lacks more than there is."""
    rows = [(0.0, 3, 60), (0.0, 3, 33), (0.0, 3, 26), (0.0, 12, 4), TraceRow(0.02, 3, 50, SLO(jct=1.0))]
    steps, result = story(plain(pipelining=True, ordering=True), rows, 31, Told((60, 33, 9, 4, 300)))
    assert starts(steps) == {0: 1, 1: 1, 2: 2, 3: 1, 4: 60}
    assert [number for number, step in enumerate(steps[:34]) if 1 not in step] == [26]
    assert result.requests["preemptions"].sum() == 0


def random_case(seed: int) -> tuple[Trace, int, int]:
    """Outputs of very different lengths, up to 500 tokens, and a cache that holds a few of the longest."""
    chance = Random(seed)
    spread, size = chance.choice((0.0, 0.5, 5.0)), chance.choice((1, 4, 16))
    times = sorted(spread * chance.random() for _ in range(50))
    rows = [(at, chance.randint(1, 30), int(500 ** chance.random())) for at in times]
    return Trace.from_rows(rows), 530 // size * chance.choice((2, 3, 4)), size


class Lacking:
    """Counts guests, and those among their guests, and whoever lacks a block when it goes on."""

    def __init__(self) -> None:
        self.guests = self.nested = self.lacks = self.stopped = 0

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        memo = batch.memo
        assert isinstance(server.scheduler, TwoQueues)
        self.guests += len(batch.hosts)
        self.nested += sum(host in server.hosts for host in batch.hosts.values())
        self.stopped += len(memo.stopped)
        going = [r for r in server.pool if r not in memo.started] if server.decodes_now else []
        self.lacks += sum(r.kv_tokens == r.blocks * server.block_size for r in going)

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        pass


def test_with_true_predictions_nobody_who_started_ever_lacks_a_block() -> None:
    """Neither hosts nor guests nor guests of guests: all that is lent is back in time."""
    seen = Lacking()
    for seed in range(12):
        trace, blocks, size = random_case(seed)
        policy = EconoServe(forward_size=64, padding=0.0, buffer=0, reserve=0.0, prompts_wait=seed % 3 > 0)
        result = simulate(trace, policy, MODEL, kv_blocks=blocks, block_size=size, predictor=perfect, watch=seen)
        assert result.requests["preemptions"].sum() == 0
        assert not audit(result)
    assert seen.lacks == seen.stopped == 0
    assert seen.guests > 50
    assert seen.nested > 3


def test_a_decision_that_is_not_made_anew_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """That nobody can start until somebody comes to the head of a line or leaves, which ``hold`` promises, too."""
    stories = {}
    for anew in (False, True):
        if anew:
            monkeypatch.setattr(Decision, "go_on", lambda self: False)
        for seed in range(12):
            trace, blocks, size = random_case(seed)
            policy = EconoServe(forward_size=64, ordering=seed % 2 == 0, exact_allocation=seed % 3 > 0)
            told = simulate(trace, policy, MODEL, kv_blocks=blocks, block_size=size, predictor=Noisy(), coast=not anew)
            assert seed not in stories or not differences(stories[seed], told)
            stories[seed] = told
    assert sum(told.requests["preemptions"].sum() for told in stories.values()) > 0


# -- wrong predictions -------------------------------------------------------------------------------------------------


def test_who_outlives_its_prediction_and_finds_no_block_stops_and_keeps_its_cache() -> None:
    """Recalled: preemption without offloading. Both fill two blocks; of five the older one gets the last."""
    steps, result = story(plain(), [(0.0, 4, 7), (0.0, 4, 7)], 5, Told((1, 1)))
    assert steps == [{0: 4, 1: 4}] + [{0: 1, 1: 1}] * 4 + [{0: 1}] * 2 + [{1: 1}] * 2
    assert result.requests["recomputed_tokens"].tolist() == [0, 0]


def test_if_nobody_can_go_on_the_newest_drops_its_cache_for_the_oldest() -> None:
    """Inferred. Two blocks each, of four: request 1, with nine tokens known by then, is computed again afterwards."""
    steps, result = story(plain(), [(0.0, 4, 7), (0.0, 4, 7)], 4, Told((1, 1)))
    assert steps == [{0: 4, 1: 4}] + [{0: 1, 1: 1}] * 4 + [{0: 1}] * 2 + [{1: 9}] + [{1: 1}]
    assert result.requests["recomputed_tokens"].tolist() == [0, 8]


def test_the_reserve_is_for_those_who_outlive_their_prediction() -> None:
    """Six blocks of which two are kept: request 1 may not start with them, but request 0 may grow into them."""
    steps, result = story(plain(reserve=0.34), [(0.0, 4, 16), (0.0, 4, 9)], 6, Told((5, 9)))
    assert starts(steps) == {0: 1, 1: 16}
    assert result.requests["preemptions"].tolist() == [0, 0]


def test_alone_a_prompt_need_not_leave_the_reserve() -> None:
    steps, _ = story(plain(reserve=0.5), [(0.0, 16, 2), (0.0, 4, 1)], 5)
    assert steps[0] == {0: 16}


@pytest.mark.parametrize(("extra", "steps"), [(None, 16), (5, 5)])
def test_who_outlived_its_prediction_asks_for_some_more(extra: int | None, steps: int) -> None:
    bound, request = server_of(EconoServe(padding=0.0, extra=extra), Told((3, 3)))
    assert (request.generated, bound.output(request), bound.steps(request)) == (10, 16, 6)
    request._generated = 16
    assert bound.steps(request) == steps


# -- lengths -----------------------------------------------------------------------------------------------------------


def server_of(policy: EconoServe, told: Predictor) -> tuple[TwoQueues, Request]:
    """The bound policy at the end of a run of two requests, ten outputs each, and the second of them."""
    seen: list[tuple[Server, Request]] = []

    class Watch(Lacking):
        def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
            seen.extend((server, request) for request in batch.prefills)

    trace = Trace.from_rows([(0.0, 5, 10), (50.0, 5, 10)])
    simulate(trace, policy, MODEL, kv_blocks=400, block_size=16, watch=Watch(), predictor=told)
    server, request = seen[-1]
    assert isinstance(server.scheduler, TwoQueues)
    return server.scheduler, request


@pytest.mark.parametrize(
    ("policy", "told", "length"),
    [
        (EconoServe(), Told((7, 100)), 128),  # 112.5, in blocks of 16
        (EconoServe(length_bucket=1), Told((7, 100)), 113),
        (EconoServe(length_bucket=50, padding=0.0), Told((7, 100)), 100),
        (EconoServe(length_bucket=1, padding=0.1), unknown, 11),  # the mean of those that finished
        (EconoServe(length_bucket=1, padding=0.0), Told((0, 0)), 1),
    ],
)
def test_lengths_are_padded_and_rounded_up(policy: EconoServe, told: Predictor, length: int) -> None:
    bound, request = server_of(policy, told)
    assert bound.output(request) == length


@pytest.mark.parametrize(
    "policy",
    [
        EconoServe(),
        EconoServe(exact_allocation=False, nested=False, forward_size=40, ordering=False),
        EconoServe(decoupled=False, default_output=20, chunking=False, prompts_wait=False, same_length=False),
    ],
)
def test_it_keeps_the_rules(policy: EconoServe) -> None:
    check_scheduler(policy)


def test_it_forgets_who_is_gone() -> None:
    remembered = 0

    class Watch(Lacking):
        def finished(self, server: Server, batch: Batch, end: float) -> None:
            nonlocal remembered
            assert isinstance(server.scheduler, TwoQueues)
            remembered = max(remembered, len(server.scheduler.outputs) + len(server.scheduler.queued))

    trace = Trace.from_rows([(0.1 * number, 10, 5) for number in range(400)])
    simulate(trace, EconoServe(), MODEL, kv_blocks=400, block_size=4, watch=Watch())
    assert 0 < remembered < 120
