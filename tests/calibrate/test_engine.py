"""The real engine with a device and a clock that are make-believe tells the simulator's story to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from calibrate.engine import WallClock, record, serve
from calibrate.session import Chunk, Session, random_prompts, replay
from costmodel import BatchShape
from sim.registry import scheduler
from sim.replica import Replica
from sim.scheduler import Scheduler
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.vllm import Vllm
from sim.simulation import simulate
from tests.sim.stories import MODEL, Whimsical, blocks_for_largest, differences, little_trace
from traces import Trace

TICK = 2.0**-20
"""Times are whole multiples of this many seconds, so that no sum of them is rounded."""
BLOCK = 4
SPECS = (
    "vllm",
    "vllm,preemption=swap",
    "vllm,chunked_prefill=True,max_num_batched_tokens=40,preemption=swap",
    "vllm-v1,max_num_batched_tokens=64",
    "sarathi,chunk_size=40",
    "accelgen,pivot=64",
    "accelgen,pivot=64,admission=chunk,token_budget=inverse",
    "fastserve",
    "fastgen,max_ragged_batch_size=40",
)
POLICIES: dict[str, Scheduler] = {
    **{spec: scheduler(spec) for spec in SPECS},
    "whimsical": Whimsical(),
    "whimsical-ahead": Whimsical(ahead=0.5, whim=0.5, release_delay=2, rejects=0.0),
}
EMPTY_BLOCKS_SWAPPED = (SPECS[2], "whimsical-ahead")
"""Policies that swap requests which hold more blocks than are filled. Engines copy blocks, this device what is in them,
so there copies take no time."""


@dataclass(frozen=True)
class Ticking:
    """A cost model whose times are whole ticks."""

    per_swapped_token: float = 2.0**-14

    def iteration_time(self, shape: BatchShape) -> float:
        computing = MODEL.iteration_time(shape._replace(swapped_tokens=0))
        return round(computing / TICK) * TICK + self.per_swapped_token * shape.swapped_tokens


class Hands:
    """A clock that goes on only when told."""

    def __init__(self) -> None:
        self.seconds = 1024.0

    def time(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds


class MakeBelieve:
    """A device that computes nothing, takes its time, and insists on being told the truth.

    The next token is a sum over the text so far: a cache that was mixed up gives another one.
    """

    def __init__(self, hands: Hands, blocks: int, cost: Ticking = Ticking(), slow: float = 0.0) -> None:
        self.hands, self.blocks, self.cost, self.slow = hands, blocks, cost, slow
        self.cached: dict[int, list[int]] = {}
        self.on_host: dict[int, list[int]] = {}
        self.calls: list[list[Chunk]] = []

    def __repr__(self) -> str:
        return "make-believe"

    def forward(self, chunks: Sequence[Chunk]) -> list[int]:
        self.calls.append(list(chunks))
        assert len({chunk.request for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            cached = self.cached.setdefault(chunk.request, [])
            assert len(cached) == chunk.start, "keys and values that are not there, or twice"
            assert chunk.tokens
            cached += chunk.tokens
        assert sum(map(self._blocks, self.cached.values())) <= self.blocks, "more than the cache holds"
        self.hands.seconds += self.cost.iteration_time(self._shape(chunks)) + self.slow
        return [sum(n * token for n, token in enumerate(self.cached[chunk.request], 1)) % 1009 for chunk in chunks]

    def swap_out(self, request: int) -> None:
        self.on_host[request] = self.cached.pop(request)
        self._copies(self.on_host[request])

    def swap_in(self, request: int) -> None:
        self.cached[request] = self.on_host.pop(request)
        self._copies(self.cached[request])

    def release(self, request: int) -> None:
        (self.cached if request in self.cached else self.on_host).pop(request)

    def _blocks(self, cached: list[int]) -> int:
        return -(-len(cached) // BLOCK)

    def _copies(self, cached: list[int]) -> None:
        self.hands.seconds += self.cost.per_swapped_token * self._blocks(cached) * BLOCK

    def _shape(self, chunks: Sequence[Chunk]) -> BatchShape:
        prefills = [(len(chunk.tokens), chunk.start) for chunk in chunks if not chunk.decode]
        decodes = [chunk.start + 1 for chunk in chunks if chunk.decode]
        pairs = sum(tokens * (start + tokens / 2) for tokens, start in prefills)
        return BatchShape(sum(tokens for tokens, _ in prefills), len(decodes), sum(decodes), pairs, len(chunks))


def ticking(trace: Trace) -> Trace:
    """The same requests at whole ticks."""
    return trace.with_arrivals(np.round(trace.arrived_at / TICK) * TICK)


def really(
    trace: Trace, policy: Any, blocks: int, cost: Ticking = Ticking(), slow: float = 0.0
) -> tuple[Any, Session, MakeBelieve]:
    """A run of the real engine on the make-believe device."""
    hands = Hands()
    device = MakeBelieve(hands, blocks, cost, slow)
    session = Session(device, random_prompts(trace.prompt_tokens, 1009))
    clock = WallClock(hands.time, hands.sleep)
    result = serve(trace, policy, cost, session, kv_blocks=blocks, block_size=BLOCK, clock=clock)
    assert not device.cached, "everything is given up in the end"
    assert not device.on_host
    return result, session, device


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(("spread", "more"), [(0.0, 0), (1.0, 2), (60.0, 20)])
def test_it_tells_the_simulators_story(name: str, spread: float, more: int) -> None:
    trace = ticking(little_trace(1, spread=spread))
    blocks = blocks_for_largest(trace, BLOCK) + more
    cost = Ticking(0.0) if name in EMPTY_BLOCKS_SWAPPED else Ticking()
    simulated = simulate(trace, POLICIES[name], cost, kv_blocks=blocks, block_size=BLOCK)
    real, _, device = really(trace, POLICIES[name], blocks, cost)
    assert differences(simulated, real) == []
    assert len(device.calls) == np.count_nonzero(real.iterations["sequences"])


@pytest.mark.parametrize("policy", [Vllm(), Vllm(preemption="swap"), AccelGen(pivot=64)], ids=str)
def test_there_was_something_to_tell(policy: Any) -> None:
    trace = ticking(little_trace(1, spread=0.0, output=60))
    real, session, _ = really(trace, policy, blocks_for_largest(trace, BLOCK))
    assert real.requests["preemptions"].sum() > 0
    assert (real.requests["swaps"].sum() > 0) == (policy == Vllm(preemption="swap"))
    assert [len(session.generated(number)) for number in range(len(trace))] == trace.output_tokens.tolist()


def test_what_is_generated_depends_on_no_scheduler() -> None:
    trace = ticking(little_trace(2, spread=0.5, output=60))
    texts = []
    for policy in ("vllm", "vllm,preemption=swap", "accelgen,pivot=64", "whimsical-ahead"):
        _, session, _ = really(trace, POLICIES[policy], blocks_for_largest(trace, BLOCK) + 2)
        texts.append(session.texts)
    assert all(each == texts[0] for each in texts)


def test_a_slower_device_is_seen() -> None:
    trace = ticking(little_trace(1, spread=1.0))
    blocks = blocks_for_largest(trace, BLOCK) + 20
    simulated = simulate(trace, "vllm", Ticking(), kv_blocks=blocks, block_size=BLOCK)
    real, _, _ = really(trace, "vllm", blocks, slow=64 * TICK)
    assert real.summary()["mean_jct"] > simulated.summary()["mean_jct"]


def test_the_time_of_decisions_passes_on_the_clock() -> None:
    hands = Hands()

    class Hesitant(Vllm):
        def schedule(self, server: Any) -> Any:
            if isinstance(server, Replica) and server.now >= 0:
                hands.seconds += 0.25
            return super().schedule(server)

    trace = Trace.from_rows([(0.0, 3, 4)])
    session = Session(MakeBelieve(hands, 9), random_prompts(trace.prompt_tokens, 1009))
    clock = WallClock(hands.time, hands.sleep)
    real = serve(trace, Hesitant(), Ticking(), session, kv_blocks=9, block_size=BLOCK, clock=clock)
    simulated = simulate(trace, "vllm", Ticking(), kv_blocks=9, block_size=BLOCK)
    assert real.end == simulated.end + 4 * 0.25


def test_recorded_steps_replay() -> None:
    trace = ticking(little_trace(3, spread=0.5, output=60))
    blocks = blocks_for_largest(trace, BLOCK) + 2
    options = {"kv_blocks": blocks, "block_size": BLOCK}
    for policy in (Vllm(preemption="swap"), POLICIES["whimsical-ahead"], POLICIES["accelgen,pivot=64"]):
        simulated, steps = record(trace, policy, Ticking(), **options)
        assert len(steps) == len(simulated.iterations["start"])
        device = MakeBelieve(Hands(), blocks)
        session = Session(device, random_prompts(trace.prompt_tokens, 1009))
        assert len(replay(steps, session)) == len(steps)
        _, served, _ = really(trace, policy, blocks)
        assert session.texts == served.texts
        assert differences(simulated, simulate(trace, policy, Ticking(), **options)) == []
