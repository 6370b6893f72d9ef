"""CacheOPT by hand: padding, embedding, the critical first, chunks ahead, the reserve, victims, swap or recompute."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, log, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel import BatchShape
from sim.batch import Batch
from sim.history import History
from sim.machine import Machine
from sim.predictor import perfect
from sim.replica import Replica
from sim.request import Request
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.schedulers.cacheopt.allocator import Allocator
from sim.schedulers.cacheopt.eviction import crossover, recompute_seconds, swap_seconds
from sim.schedulers.cacheopt.lengths import Lengths, confidence, hoeffding
from sim.schedulers.cacheopt.policy import CacheOpt
from sim.schedulers.vllm import Vllm
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, blocks_for_largest, differences, little_trace
from tests.sim.strategies import WORKLOADS
from traces import SLO, Trace

SURE = 1 - exp(-2)
"""The confidence at which Hoeffding's deviation is the whole range."""
PLAIN: dict[str, Any] = {
    "padding": False,
    "embedding": False,
    "critical_first": False,
    "ahead": 0,
    "reserve_blocks": 0,
    "victim_order": False,
    "preemption": "recompute",
}
"""Every part off."""


class Copies:
    """A millisecond per prompt token, 10 us per pair of tokens, and so much for each token copied."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def iteration_time(self, shape: BatchShape) -> float:
        return 1e-3 * shape.prefill_tokens + 1e-5 * shape.attention_pairs + self.seconds * shape.swapped_tokens + 1e-3


class Stage:
    """A server under CacheOPT, in blocks of four tokens, whose requests are put where the examples need them."""

    def __init__(self, blocks: int, copy: float = 0.0, **switches: Any) -> None:
        self.policy = CacheOpt(**{**PLAIN, "watermark": 0.0, **switches})
        self.server = Replica(0, self.policy, Machine(Copies(copy), blocks, 4))
        self.ids = 0

    def waiting(self, prompt: int, told: float, slo: SLO = SLO()) -> Request:
        request = Request(self.ids, self.server.now, prompt, 1000, slo, predicted_output=told)
        self.ids += 1
        self.server.arrive(request)
        return request

    def running(self, prompt: int, told: float, slo: SLO = SLO()) -> Request:
        """Admitted by the policy itself, its prompt computed and its first token there."""
        request = self.waiting(prompt, told, slo)
        batch = self.decide()
        assert batch.prefills == {request: prompt}
        self.apply(0.0)
        return request

    def decide(self) -> Batch:
        self.server.prepare()
        self.batch = self.server.scheduler.schedule(self.server)
        return self.batch

    def apply(self, seconds: float) -> None:
        """Carries out what was decided, in so many seconds."""
        self.server.start(self.batch)
        self.server.finish(self.batch, self.server.now + seconds, 0)
        self.server.scheduler.ended(self.server, self.batch)

    def steps(self, number: int, seconds: float = 0.0) -> None:
        for _ in range(number):
            self.decide()
            self.apply(seconds)

    def longest(self, seconds: float) -> None:
        self.server.history.longest_iteration = seconds


# -- C: confidence-based padding (section 3.2) -----------------------------------------------------------------------


def test_confidence_falls_with_the_arrival_rate() -> None:
    """P_c = alpha / (1 + beta lambda)."""
    assert confidence(0.95, 0.001, 0.0) == 0.95
    assert confidence(0.95, 0.001, 1000.0) == pytest.approx(0.475)
    assert confidence(0.9, 0.5, 4.0) == pytest.approx(0.3)


@given(st.floats(0.01, 0.99), st.floats(1, 5000))
def test_deviation_is_exceeded_with_the_probability_that_is_left(sure: float, spread: float) -> None:
    """exp(-2 t^2 / (b - a)^2) = 1 - P_c."""
    t = hoeffding(sure, spread)
    assert exp(-2 * t**2 / spread**2) == pytest.approx(1 - sure, rel=1e-9)


@pytest.mark.parametrize(
    ("told", "mean", "deviation", "assumed"),
    [
        (50.0, None, "mean", 150),  # nobody finished: padded
        (30.0, 40.0, "mean", 130),  # below the mean: taken for too short
        (250.0, 40.0, "mean", 150),  # above: for too long
        (50.0, 40.0, "mean", 1),  # at least one token
        (250.0, 40.0, "under", 350),
    ],
)
def test_padded_estimate(told: float, mean: float | None, deviation: Any, assumed: int) -> None:
    """X + t where the predictor is taken to underestimate, X - t where to overestimate; here t = b - a = 100."""
    history = History()
    if mean:
        history.finished, history.output_tokens = 2, int(2 * mean)
    policy = CacheOpt(alpha=SURE, beta=0.0, output_range=100.0, deviation=deviation)
    request = Request(0, 0.0, 10, 1, predicted_output=told)
    assert Lengths(policy, history).output(request) == assumed


def test_padding_is_the_formula_at_the_measured_rate() -> None:
    """Five requests in two seconds: lambda = 2/s. What is assumed stands from the arrival on."""
    stage = Stage(100, padding=True, beta=0.1, output_range=60.0)
    for number in range(5):
        stage.server.now = number / 2
        last = stage.waiting(3, 20.0)
    t = sqrt(-(60.0**2) / 2 * log(1 - 0.95 / (1 + 0.1 * 2.0)))
    lengths = bound(stage).lengths
    assert lengths.output(last) == ceil(20.0 + t)
    stage.server.now = 2.25
    stage.waiting(3, 20.0)
    assert lengths.output(last) == ceil(20.0 + t)


@pytest.mark.parametrize(("spread", "expected"), [("outputs", 25.0), ("deviations", 12.0)])
def test_the_range_is_what_was_seen(spread: Any, expected: float) -> None:
    """Outputs of 5 and 30 tokens; predictions of 10 and 23, wrong by -5 and +7."""
    stage = Stage(100, padding=True, spread=spread)
    lengths = bound(stage).lengths
    for told, true in ((10.0, 5), (23.0, 30)):
        request = stage.waiting(3, told)
        request._output_tokens = true
        while request.phase.value != "finished":
            stage.steps(1)
    assert lengths.spread == 0.0, "looked at when the next request arrives"
    stage.waiting(3, 1.0)
    assert lengths.spread == expected


def test_cache_is_taken_for_prompt_and_assumed_output() -> None:
    """10 + 13 tokens are 6 blocks of 4; vLLM takes 3, for the prompt."""
    stage = Stage(100)
    request = stage.waiting(10, 12.5)
    assert stage.decide().admitted == {request: 6}
    stage = Stage(100, allocation="prompt")
    request = stage.waiting(10, 12.5)
    assert stage.decide().admitted == {request: 3}
    stage = Stage(100, padding=True, alpha=SURE, beta=0.0, output_range=100.0)
    request = stage.waiting(10, 12.5)
    assert stage.decide().admitted == {request: ceil((10 + 113) / 4)}


# -- A: embedding (section 3.3.1) ------------------------------------------------------------------------------------


def hosted(buffer: int, embedding: bool = True, tokens: int = 48) -> Batch:
    """A host with 48 tokens' worth of blocks, of which 9 are used, fills the cache; prompt 4, output 12 waits."""
    stage = Stage(tokens // 4, embedding=embedding, buffer=buffer)
    stage.running(8, tokens - 8)
    stage.waiting(4, 12)
    return stage.decide()


def test_a_guest_lives_in_what_its_host_does_not_use() -> None:
    """a_j - (u_j + s_o) - (s_p + s_o) >= b: 48 - (9 + 12) - (4 + 12) = 11."""
    batch = hosted(buffer=11)
    assert [(guest.id, host.id, batch.admitted[guest]) for guest, host in batch.hosts.items()] == [(1, 0, 4)]
    assert batch.blocks_left == 0
    assert not hosted(buffer=12).admitted
    assert not hosted(buffer=0, embedding=False).admitted


def test_the_smallest_allocation_that_suffices_is_the_host() -> None:
    """Three hosts with 51, 31 and 19 tokens to spare; the guest needs 5 + (4 + 5 in whole blocks) + 8 = 25."""
    stage = Stage(16 + 11 + 8, embedding=True)
    for told in (56, 36, 24):
        stage.running(8, told)
    guest = stage.waiting(4, 5)
    assert stage.decide().hosts[guest].id == 1


def test_who_lives_with_a_host_may_pass_the_first_in_line() -> None:
    """The first in line needs more than is free or spare; the second takes nothing that it waits for."""
    stage = Stage(20, embedding=True)
    stage.running(8, 40)
    first, second = stage.waiting(20, 30), stage.waiting(4, 4)
    assert list(stage.decide().admitted) == [second]
    assert list(stage.batch.hosts) == [second]
    assert first in stage.server.waiting


def test_a_guest_is_no_host() -> None:
    stage = Stage(12, embedding=True, buffer=0)
    stage.running(8, 40)
    stage.waiting(4, 12)
    stage.steps(1)
    hosts = bound(stage).hosts()
    assert [request.id for _, _, request in hosts.rooms] == [0]
    assert hosts.largest == 48 - 9 - 16


class Told(Scheduler):
    """Notes what a policy lends and takes, and complains if an admission leaves less than the reserve."""

    def __init__(self, policy: CacheOpt) -> None:
        self.policy = policy
        self.guests = 0

    def bind(self, server: Server) -> Scheduler:
        self.bound = self.policy.bind(server)
        return self

    def arrived(self, request: Request) -> None:
        self.bound.arrived(request)

    def ended(self, server: Server, batch: Batch) -> None:
        self.bound.ended(server, batch)

    def schedule(self, server: Server) -> Batch:
        batch = self.bound.schedule(server)
        self.guests += len(batch.hosts)
        paying = len(batch.admitted.keys() - batch.hosts.keys())
        if paying and server.running_count - len(batch.preempted) + paying > 1:
            assert batch.blocks_left + sum(batch.extended.values()) >= self.policy.reserve_blocks
        return batch


def tight(policy: CacheOpt, trace: Trace, spare: int, size: int = 4, **options: Any) -> tuple[RunResult, Told]:
    """A run in a cache that holds the largest request, the reserve, and ``spare`` blocks more."""
    told = Told(policy)
    blocks = blocks_for_largest(trace, size) + 1 + spare + policy.reserve_blocks
    return simulate(trace, told, MODEL, kv_blocks=blocks, block_size=size, **options), told


@given(WORKLOADS, st.integers(0, 30), st.sampled_from((1, 4, 16)), st.booleans())
def test_told_the_truth_no_host_lacks_what_it_lent(trace: Trace, spare: int, size: int, chunked: bool) -> None:
    """While a guest generates its output its host grows by as much and no more: nobody is ever short of a block."""
    policy = CacheOpt(**{**PLAIN, "embedding": True, "buffer": 0, "chunked_prefill": chunked})
    result, _ = tight(policy, trace, spare, size, predictor=perfect)
    assert not result.requests["preemptions"].any()
    assert (result.requests["status"] == 0).all()


def test_the_truth_is_put_to_the_test() -> None:
    """Many a guest is there in such runs, and one is in trouble where its host's growth is not reckoned with."""
    guests = 0
    for seed in range(20):
        trace = little_trace(seed, 25, 0.5, 20, 60)
        guests += tight(CacheOpt(**{**PLAIN, "embedding": True, "buffer": 0}), trace, 10, predictor=perfect)[1].guests
    assert guests > 20
    short = 0
    for seed in range(20):
        trace = little_trace(seed, 25, 0.5, 20, 60)
        policy = CacheOpt(**{**PLAIN, "embedding": True, "buffer": -20})
        short += int(tight(policy, trace, 10, predictor=perfect)[0].requests["preemptions"].sum())
    assert short > 0


@given(WORKLOADS, st.integers(0, 30), st.sampled_from((1, 4, 16)), st.booleans(), st.integers(0, 8))
def test_newcomers_leave_the_reserve(trace: Trace, spare: int, size: int, chunked: bool, reserve: int) -> None:
    tight(CacheOpt(chunked_prefill=chunked, reserve_blocks=reserve, watermark=0.0), trace, spare, size)


# -- A: the critical first (section 3.3.2) ---------------------------------------------------------------------------


def test_the_least_for_all_who_are_critical_then_what_is_left_by_remaining_time() -> None:
    """Prompts of 8 with B = 4: 3 blocks at least, 6 by demand. Of 9 blocks the one with less time gets 6, of 8 it gets
    5; the first in line, which has no SLO, gets nothing."""
    for blocks, expected in ((9, {2: 6, 1: 3}), (8, {2: 5, 1: 3}), (12, {2: 6, 1: 6}), (5, {2: 5})):
        stage = Stage(blocks, critical_first=True)
        stage.waiting(8, 16)
        stage.waiting(8, 16, SLO(ttft=0.2))
        stage.waiting(8, 16, SLO(ttft=0.1))
        stage.longest(0.1)
        assert {request.id: taken for request, taken in stage.decide().admitted.items()} == expected
    stage = Stage(9)
    for slo in (SLO(), SLO(ttft=0.1)):
        stage.waiting(8, 16, slo)
    assert [request.id for request in stage.decide().admitted] == [0], "off: in line"


@pytest.mark.parametrize(
    ("now", "urgency", "late", "critical"),
    [
        (0.0, 1.0, False, False),  # 0.25 s left, more than twice 0.1 s
        (0.06, 1.0, False, True),
        (0.06, 0.0, False, False),  # more than once
        (0.2, 0.0, False, True),
        (0.3, 1.0, False, False),  # broken already
        (0.3, 1.0, True, True),
    ],
)
def test_who_is_critical(now: float, urgency: float, late: bool, critical: bool) -> None:
    """Remaining time to the TTFT SLO of at most the longest iteration, and ``urgency`` times more."""
    stage = Stage(5, critical_first=True, urgency=urgency, late=late)
    stage.waiting(8, 8)
    stage.waiting(4, 12, SLO(ttft=0.25))
    stage.longest(0.1)
    stage.server.now = now
    assert [request.id for request in stage.decide().admitted] == [int(critical)]


def test_who_is_not_critical_gives_way_to_who_is() -> None:
    """A decode with ten seconds for its next token is preempted for a prompt with 0.1 s; one with 0.1 s is not."""
    for tbt, preempts, admitted in ((10.0, True, True), (10.0, False, False), (0.1, True, False)):
        stage = Stage(6, critical_first=True, critical_preempts=preempts)
        old = stage.running(8, 16, SLO(tbt=tbt))
        new = stage.waiting(8, 16, SLO(ttft=0.1))
        stage.longest(0.1)
        batch = stage.decide()
        assert (new in batch.admitted) == admitted == (old in batch.preempted)


def test_who_is_not_critical_sits_out_rather_than_preempt() -> None:
    """One decode has filled its blocks and none is free: as long as it can wait the other goes on alone."""
    stage = Stage(5, critical_first=True)
    other, full = stage.running(4, 8, SLO(tbt=10.0)), stage.running(4, 1, SLO(tbt=10.0))
    stage.longest(0.1)
    stage.steps(4)
    assert (other.blocks, other.kv_tokens, full.blocks, full.kv_tokens) == (3, 8, 2, 8)
    assert list(stage.decide().decodes) == [other]
    assert not stage.batch.preempted
    stage.server.now = 9.8
    assert stage.decide().preempted, "room is made when it cannot wait"


def test_later_arrivals_pass_only_so_often() -> None:
    """The first in line does not fit while others run; critical ones pass it twice, and then no more."""
    stage = Stage(10, critical_first=True, overtakes=2)
    stage.running(4, 4, SLO(tbt=0.1))
    stage.waiting(36, 4)
    stage.longest(0.1)
    passed = 0
    for _ in range(4):
        request = stage.waiting(1, 1, SLO(ttft=0.1))
        request._output_tokens = 1
        passed += request in stage.decide().admitted
        stage.apply(0.0)
    assert passed == 2


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9), st.booleans()), max_size=12))
def test_the_least_that_the_first_by_deadline_need(arrivals: list[tuple[int, int, bool]]) -> None:
    """However they come and go, it is the smallest of the first two by deadline, counted anew."""
    stage = Stage(5, critical_first=True, candidates=2)
    needs, deadlines = bound(stage).needs, bound(stage).deadlines
    for prompt, time, leaves in arrivals:
        request = stage.waiting(prompt, 4, SLO(ttft=1.0 + time))
        assert needs.smallest(deadlines) == smallest(stage)
        if leaves:
            deadlines.remove(min(stage.server.waiting, key=lambda each: (deadlines.of(each), each.id)))
            assert needs.smallest(deadlines) == smallest(stage)
        assert request in stage.server.waiting


def smallest(stage: Stage) -> tuple[int, int]:
    line = bound(stage).deadlines
    here = sorted((line.of(each), each.id, each) for each in stage.server.waiting if line.of(each) < inf)
    needs = [bound(stage).needs.of(request) for _, _, request in here[:2]]
    return min((need.least for need in needs), default=0), min((need.room for need in needs), default=0)


# -- A: chunks ahead, and the reserve (section 3.3.3) ----------------------------------------------------------------


def newcomer(blocks: int, ahead: int, finishing: bool = False) -> tuple[Stage, Request, Request]:
    """One that outlived its prediction and has room for a token more, eight blocks free, and a newcomer."""
    stage = Stage(10 + finishing, ahead=ahead)
    if finishing:
        stage.running(1, 3)
    old = stage.running(7, 1)
    return stage, old, stage.waiting(4 * blocks - 2, 2)


def test_the_next_chunk_is_set_aside_before_it_is_needed() -> None:
    """One of the 8 free blocks will be needed within two iterations: 7 are for a newcomer, and that one is given."""
    stage, old, new = newcomer(7, ahead=2)
    assert stage.decide().admitted == {new: 7}
    assert stage.batch.extended == {old: 1}
    stage, _, _ = newcomer(8, ahead=2)
    assert not stage.decide().admitted
    stage, _, new = newcomer(8, ahead=0)
    assert stage.decide().admitted == {new: 8}
    assert not stage.batch.extended


def test_predicted_completions_count_as_supply() -> None:
    """Another request will finish within two iterations, by the prediction, and leave a block."""
    stage, _, new = newcomer(8, ahead=2, finishing=True)
    assert stage.decide().admitted == {new: 8}


@pytest.mark.parametrize("slo", [SLO(), SLO(ttft=0.1, tbt=0.1)])
@pytest.mark.parametrize(("blocks", "reserve", "fits"), [(5, 3, True), (6, 3, False), (6, 2, True)])
def test_the_reserve_is_for_those_who_run(slo: SLO, blocks: int, reserve: int, fits: bool) -> None:
    """Ten blocks, of which one that runs has two: a newcomer leaves the reserve, be it critical or not."""
    stage = Stage(10, reserve_blocks=reserve, critical_first=True)
    stage.running(7, 1, SLO(tbt=0.1))
    stage.longest(0.1)
    new = stage.waiting(4 * blocks - 2, 2, slo)
    assert (new in stage.decide().admitted) == fits


def test_a_decode_takes_of_the_reserve() -> None:
    stage = Stage(3, reserve_blocks=1)
    old = stage.running(7, 1)
    stage.steps(2)
    assert old.blocks == 3


@pytest.mark.parametrize("first", [SLO(), SLO(ttft=0.1)])
@pytest.mark.parametrize("second", [SLO(), SLO(ttft=0.1)])
def test_only_the_first_on_an_empty_device_may_take_of_the_reserve(first: SLO, second: SLO) -> None:
    """Two that need four blocks each: of ten, two would be left of a reserve of three; of eleven, just that."""
    for blocks, number in ((6, 1), (10, 1), (11, 2)):
        stage = Stage(blocks, reserve_blocks=3, critical_first=True)
        stage.longest(0.1)
        for slo in (first, second):
            stage.waiting(14, 2, slo)
        assert len(stage.decide().admitted) == number


def test_who_is_critical_leaves_what_is_set_aside() -> None:
    """Of eight free blocks its demand is all; one will be needed soon, so that it gets seven and is cut."""
    stage = Stage(10, ahead=2, critical_first=True)
    old = stage.running(7, 1, SLO(tbt=0.1))
    stage.longest(0.1)
    new = stage.waiting(10, 22, SLO(ttft=0.1))
    assert stage.decide().admitted == {new: 7}
    assert stage.batch.extended == {old: 1}
    stage.apply(0.0)
    assert bound(stage).cut == {new: 8}
    assert [host for _, _, host in bound(stage).hosts().rooms] == [old], "who was cut has nothing to lend"


# -- P: victims (section 3.4) ----------------------------------------------------------------------------------------


def short_of_a_block(**switches: Any) -> list[int]:
    """Whom it takes when one of five decodes needs a block and none is free."""
    stage = Stage(2 + 65 + 49 + 65 + 66, **switches)
    for prompt, told, tbt in ((7, 1, 0.02), (4, 254, 0.22), (4, 190, 0.21), (100, 160, 0.23), (4, 258, 0.12)):
        stage.running(prompt, told, SLO(tbt=tbt))
    while not stage.decide().preempted:
        stage.apply(0.0)
    return [request.id for request in stage.batch.preempted]


def test_victims_go_by_slo_then_remaining_output_then_cache() -> None:
    """SLOs in buckets of 50 ms: 1, 2 and 3 are alike, and looser than 4. Remaining output in buckets of 64 tokens: of
    them 1 has the most. In buckets of 128, 1, 2 and 3 are alike, and 2 holds the least. Off: the newest."""
    assert short_of_a_block(victim_order=True) == [1]
    assert short_of_a_block(victim_order=True, output_bucket=128) == [2]
    assert short_of_a_block(victim_order=True, tbt_bucket=0.004, output_bucket=128) == [3]
    assert short_of_a_block() == [4]


# -- S: swap or recompute (section 3.5) ------------------------------------------------------------------------------


def test_crossover_by_hand() -> None:
    """n ms + 5 n^2 us against twice n copies: equal at n = 200.5 where a copy takes (1 + 1.0025) / 2 ms."""
    model = Copies((1e-3 + 5e-6 * 200.5) / 2)
    assert recompute_seconds(model, 100) == pytest.approx(0.15)
    assert swap_seconds(model, 100) == pytest.approx(0.20025)
    assert crossover(model, 1000) == 201
    assert crossover(model, 201) == 201
    assert crossover(model, 200) == inf
    assert crossover(Copies(0.0), 1000) == inf, "a model that knows no copies"
    assert crossover(Copies(1e-9), 1000) == 1


@pytest.mark.parametrize(
    ("preemption", "prompt", "swapped"),
    [
        ("crossover", 199, False),
        ("crossover", 200, True),
        ("recompute", 210, False),
        ("swap", 195, True),
    ],
)
def test_long_contexts_are_swapped(preemption: str, prompt: int, swapped: bool) -> None:
    """The same crossover, at 201 tokens; the newest is preempted with a token more in the cache than its prompt."""
    blocks = 2 + -(-(prompt + 1) // 4)
    stage = Stage(blocks, (1e-3 + 5e-6 * 200.5) / 2, preemption=preemption)
    stage.running(7, 1)
    new = stage.running(prompt, 1)
    while not stage.decide().preempted:
        stage.apply(0.0)
    assert stage.batch.preempted == {new: swapped}


# -- switches --------------------------------------------------------------------------------------------------------


@given(
    WORKLOADS,
    st.sampled_from((0, 1, 3, 100)),
    st.sampled_from((1, 3, 16)),
    st.booleans(),
    st.sampled_from(("recompute", "swap")),
    st.sampled_from((2, 256)),
)
def test_with_every_part_off_it_is_vllm(
    trace: Trace, spare: int, size: int, chunked: bool, preemption: Any, seats: int
) -> None:
    """And with cache for the prompt only. In chunked mode the two part where a chunk has to wait for cache."""
    off = {**PLAIN, "preemption": preemption, "allocation": "prompt", "max_num_seqs": seats}
    common: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, size) + spare, "block_size": size}
    if chunked:
        off["chunked_prefill"], common["kv_blocks"] = True, 10_000
    mine = simulate(trace, CacheOpt(**off), MODEL, **common)
    theirs = simulate(trace, Vllm(chunked_prefill=chunked, preemption=preemption, max_num_seqs=seats), MODEL, **common)
    assert not differences(mine, theirs)


class Anew(Allocator):
    """Makes every decision anew, and holds none."""

    def schedule(self, server: Server) -> Batch:
        self._quiet = None
        batch = super().schedule(server)
        batch.holds = False
        return batch


@dataclass(frozen=True)
class Restless(CacheOpt):
    def bind(self, server: Server) -> Allocator:
        return Anew(self, server)


SWITCHES = st.fixed_dictionaries(
    {
        "chunked_prefill": st.booleans(),
        "output_range": st.sampled_from((None, 10.0)),
        "candidates": st.sampled_from((1, 4, 32)),
        "embedding": st.booleans(),
        "critical_first": st.booleans(),
        "urgency": st.sampled_from((0.0, 1.0, 5.0)),
        "late": st.booleans(),
        "critical_preempts": st.booleans(),
        "overtakes": st.sampled_from((0, 2, 64)),
        "ahead": st.sampled_from((0, 2)),
        "reserve_blocks": st.sampled_from((0, 8)),
        "victim_order": st.booleans(),
    }
)


@given(SWITCHES, WORKLOADS, st.sampled_from((1, 3, 16)), st.sampled_from((0, 1, 3, 20, 100)))
@settings(max_examples=settings().max_examples * 2)
def test_decisions_that_are_not_made_anew_are_the_same(
    switches: dict[str, Any], trace: Trace, size: int, spare: int
) -> None:
    """What the policy keeps, and what the engine repeats, is what it would decide."""
    cache: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, size) + spare, "block_size": size}
    kept = simulate(trace, CacheOpt(**switches), MODEL, **cache)
    assert not differences(kept, simulate(trace, Restless(**switches), MODEL, **cache))


SMALL: dict[str, Any] = {"chunked_prefill": True, "max_num_seqs": 8, "watermark": 0.0, "chunk": 20}


@pytest.mark.parametrize(
    ("trace", "size", "spare", "switches"),
    [
        pytest.param(
            little_trace(31, 20, 0.0, 5, 60),
            3,
            3,
            {**SMALL, "default_output": 1, "allocation": "prompt", "candidates": 1, "urgency": 0.0, "late": False}
            | {"overtakes": 0, "reserve_blocks": 2, "preemption": "recompute"},
            id="a victim that grows until it is worth it",
        ),
        pytest.param(
            little_trace(165, 20, 0.5, 60, 60),
            16,
            20,
            {**SMALL, "max_num_batched_tokens": 300, "spread": "deviations", "deviation": "under"}
            | {"default_output": 1, "embedding": False, "preemption": "recompute"},
            id="a victim that has time again after its token",
        ),
        pytest.param(
            little_trace(448, 10, 0.5, 5, 60),
            1,
            0,
            {**SMALL, "beta": 0.1, "cuts": "all", "candidates": 4, "critical_first": False, "urgency": 5.0}
            | {"overtakes": 2, "ahead": 0, "victim_order": False, "preemption": "swap"},
            id="two arrive together, and the first of them can be a guest",
        ),
    ],
)
def test_hard_cases_of_decisions_that_are_not_made_anew(
    trace: Trace, size: int, spare: int, switches: dict[str, Any]
) -> None:
    cache: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, size) + spare, "block_size": size}
    kept = simulate(trace, CacheOpt(**switches), MODEL, **cache)
    assert not differences(kept, simulate(trace, Restless(**switches), MODEL, **cache))


def test_a_prompt_longer_than_any_batch_is_rejected() -> None:
    stage = Stage(100, max_num_batched_tokens=20)
    request = stage.waiting(21, 5)
    assert stage.decide().rejected == {request: "its 21 tokens exceed the 20 of one batch"}


def test_a_server_whose_past_nobody_told_is_taken_as_it_is() -> None:
    """``schedule`` of the policy itself, which remembers nothing, for who is there now."""
    stage = Stage(100)
    request = stage.waiting(10, 13)
    assert stage.policy.schedule(stage.server).admitted == {request: 6}


def bound(stage: Stage) -> Allocator:
    """What the policy remembers of its server."""
    assert isinstance(stage.server.scheduler, Allocator)
    return stage.server.scheduler
