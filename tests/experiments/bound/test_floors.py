"""Floors: no iteration gets below them, whatever is in it, and some touch them."""

from __future__ import annotations

import math
from random import Random

import pytest

from costmodel import BatchShape, Calibrated, CostModel, Equation4, WholeEngine, profile, profiles, prompt
from costmodel.facts import MODELS as FACTS
from costmodel.whole_engine import DecodeLine, PromptLine, PromptTable
from experiments.bound.floors import Floor, floors
from tests.experiments.bound.tiny import MODELS
from traces.errors import SlosimError

BLOCKS, SIZE = 60, 8
MORE: tuple[CostModel, ...] = (
    Calibrated(1e-4, 0.02, 3.0, 1e-8, 1e-6, 2e-5, 0.003, 0.4, 1e-7, 64.0),
    Calibrated(1e-4, 0.02, 20.0),
    Calibrated(1e-4, 0.0, 1.5, tile_share=1.0),
    Equation4(FACTS["llama-3.1-8b"], 3e14),
    Equation4(FACTS["opt-13b"], 2e14, whole_forward=True),
    WholeEngine(PromptTable((8, 64, 256), (0.02, 0.03, 0.09)), (DecodeLine(1, 0.03, 1e-6, 1e-4),), 1e-8),
    WholeEngine(PromptTable((4, 64, 300), (0.0028, 0.05, 0.06)), (DecodeLine(1, 0.01, 1e-6, 1e-4),), 1e-8),
    WholeEngine(
        PromptLine(0.01, 1e-4),
        (DecodeLine(1, 0.02, 1e-6, 1e-4), DecodeLine(9, 0.005, 3e-6, 4e-5), DecodeLine(30, 0.012, 0.0, 4e-4)),
    ),
)


def under(floor: Floor, shape: BatchShape) -> float:
    return (
        floor.fixed
        + floor.per_prompt_token * shape.prefill_tokens
        + floor.per_pair * shape.attention_pairs
        + floor.per_decode * shape.decode_tokens
        + floor.per_context_token * shape.context_tokens
    )


def some_batch(random: Random) -> BatchShape:
    """Members that the cache can hold together, one by one."""
    left, shape = BLOCKS, BatchShape()
    greedy = random.random()
    while not shape.sequences or (left and random.random() < greedy):
        tokens = random.choice((1, 2, random.randint(1, left * SIZE), random.randint(1, min(left, 3) * SIZE)))
        left -= -(-tokens // SIZE)
        new = random.choice((0, 0, tokens, random.randint(1, tokens)))
        pairs = new * (tokens - new + new / 2)
        prefill, decodes, context, before, sequences, _ = shape
        shape = BatchShape(prefill + new, decodes, context, before + pairs, sequences + 1)
        if not new:
            shape = BatchShape(prefill, decodes + 1, context + tokens, before, sequences + 1)
    return shape._replace(swapped_tokens=random.choice((0, 0, 5)))


@pytest.mark.parametrize("model", [*MODELS, *MORE, *(profile(name).cost_model for name in profiles())], ids=repr)
def test_no_iteration_gets_below_a_floor(model: CostModel) -> None:
    found = floors(model, BLOCKS, SIZE)
    assert all(cost >= 0 for some in found for floor in some for cost in floor)
    assert all(found)
    random = Random(1)
    for _ in range(300):
        shape = some_batch(random)
        seconds = model.iteration_time(shape)
        here = [*found.any, *(found.with_prompts if shape.prefill_tokens else ())]
        here += found.with_decodes if shape.decode_tokens else ()
        for floor in here:
            assert under(floor, shape) <= seconds * (1 + 1e-12), (floor, shape)


@pytest.mark.parametrize("name", profiles())
def test_a_whole_prompt_alone_takes_hardly_more_than_the_highest_floor(name: str) -> None:
    model = profile(name).cost_model
    straight = isinstance(model, WholeEngine) and isinstance(model.prompt, PromptLine)
    for tokens in (16, 300, 2000):
        lost = 1e-9 if straight else 0.1 if isinstance(model, WholeEngine) else 0.01 + 128 / tokens
        highest = max(under(floor, prompt(tokens)) for floor in floors(model, 457, 32).with_prompts)
        assert highest >= model.iteration_time(prompt(tokens)) * (1 - lost)


def test_lines_are_exact_where_the_model_is_one() -> None:
    line = WholeEngine(PromptLine(0.02, 1e-4), (DecodeLine(1, 0.02, 1e-6, 1e-4),), 1e-8)
    assert Floor(0.02, 1e-4, 2e-8, 1e-4, 1e-6) in floors(line, BLOCKS, SIZE).any
    straight = Calibrated(1e-4, 0.02, 1.0, 1e-8, 1e-6, 2e-5, 0.003)
    best = max(floors(straight, BLOCKS, SIZE).any)
    assert best.fixed == pytest.approx(0.023)
    assert best[1:] == pytest.approx((1e-4, 1e-8, 1.2e-4, 1e-6))


def test_tangents_touch_the_knee() -> None:
    model = Calibrated(1e-4, 0.02, 2.0)
    for size in (16, 256, 4096):
        assert max(under(floor, prompt(size)) for floor in floors(model, 457, 32).any) == pytest.approx(
            math.hypot(0.02, 1e-4 * size)
        )


def test_a_cost_model_of_another_kind_is_refused() -> None:
    class Other:
        def iteration_time(self, shape: BatchShape) -> float:
            return 1.0

    with pytest.raises(SlosimError, match="no floor is known under a cost model of type Other: bounds need one of Cal"):
        floors(Other(), BLOCKS, SIZE)
