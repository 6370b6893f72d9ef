"""What a real, tiny OPT generates through the engine depends neither on the scheduler nor on preemption."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from calibrate.engine import WallClock, record, serve
from calibrate.opt_device import PADDING, OptDevice
from calibrate.session import Session, random_prompts, replay
from tests.calibrate.test_engine import Hands, Ticking
from tests.sim.stories import Whimsical, blocks_for_largest, little_trace

BLOCK = 8
TRACE = little_trace(2, requests=8, spread=0.0, prompt=40, output=24)
BLOCKS = blocks_for_largest(TRACE, BLOCK) + 1
OPTIONS = {"kv_blocks": BLOCKS, "block_size": BLOCK}
POLICIES = ("vllm", "vllm,preemption=swap", "sarathi,chunk_size=16", "accelgen,pivot=32")


@pytest.fixture(scope="module")
def device() -> OptDevice:
    return OptDevice.random("opt-tiny", blocks=BLOCKS, block_size=BLOCK, positions=256, threads=1)


@pytest.fixture(scope="module")
def alone(device: OptDevice) -> dict[int, list[int]]:
    """What each request says when nobody else is there."""
    session = Session(device, random_prompts(TRACE.prompt_tokens, 512))
    for number in range(len(TRACE)):
        one = TRACE[np.array([number])].with_arrivals([0.0])
        _, steps = record(one, "vllm", Ticking(), **OPTIONS)
        own = Session(device, {0: session.prompts[number]})
        replay(steps, own)
        session.texts[number] = own.texts[0]
    return session.texts


@pytest.mark.parametrize("policy", [*POLICIES, Whimsical(rejects=0.0, ahead=0.3)], ids=str)
def test_it_says_the_same_under_every_scheduler(policy: str, device: OptDevice, alone: dict[int, list[int]]) -> None:
    session = Session(device, random_prompts(TRACE.prompt_tokens, 512))
    hands = Hands()
    result = serve(TRACE, policy, Ticking(), session, clock=WallClock(hands.time, hands.sleep), **OPTIONS)
    assert result.requests["finished_at"].min() >= 0
    assert result.requests["preemptions"].sum() > 0
    assert session.texts == alone
    assert [len(session.generated(number)) for number in range(len(TRACE))] == TRACE.output_tokens.tolist()
    assert device.cache.free_blocks == BLOCKS + PADDING, "everything is given back"


def test_texts_differ() -> None:
    device = OptDevice.random("opt-tiny", blocks=40, block_size=BLOCK, positions=256, threads=1, seed=1)
    session = Session(device, random_prompts([5, 5], 512))
    _, steps = record(TRACE[:2].clipped(prompt_tokens=5, output_tokens=10), "vllm", Ticking(), **OPTIONS)
    replay(steps, session)
    assert session.texts[0][5:] != session.texts[1][5:]
    assert "opt-tiny on cpu" in repr(device)
