"""Whole engines: exactly as published where published, continuous and monotone where composed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import BatchShape, DecodeLine, PromptLine, PromptTable, WholeEngine, prompt

VLLM = WholeEngine(
    PromptLine(22.052204789310185e-3, 0.14050923870128956e-3),
    (
        DecodeLine(1, 23.475041008414784e-3, 0.000592934466077393e-3, 0.060726861260369455e-3),
        DecodeLine(95, 20.206356173691958e-3, 0.0004907727036234946e-3, 0.1200031385587413e-3),
    ),
    8.076584822611088e-09,
    3e-5,
)
DISTSERVE = WholeEngine(
    PromptLine(18.10e-3, 0.10191e-3),
    (DecodeLine(1, 19.93e-3, 6.27e-7, 0.0385e-3), DecodeLine(95, 7.17e-3, 5.80e-7, 0.158e-3)),
    7.12e-9,
)
TABLE = WholeEngine(PromptTable((1, 128, 512), (0.04, 0.08, 0.17)), (DecodeLine(1, 0.042, 4e-7, 3e-4),))
engines = st.sampled_from([VLLM, DISTSERVE, TABLE])


def mixed(prefill: int, decodes: int, context: int) -> BatchShape:
    return BatchShape(prefill, decodes, context, prefill**2 / 2, decodes + (prefill > 0))


@pytest.mark.parametrize("size", [1, 100, 768, 4000])
def test_prompts_are_as_published(size: int) -> None:
    expected = 22.052204789310185 + 0.14050923870128956 * size + 8.076584822611088e-06 * size**2
    assert 1000 * VLLM.iteration_time(prompt(size)) == pytest.approx(expected)


def test_decodes_are_as_published_on_both_sides_of_the_jump() -> None:
    below, above = (1000 * DISTSERVE.iteration_time(mixed(0, count, 20_000)) for count in (94, 95))
    assert below == pytest.approx(19.93 + 6.27e-4 * 20_000 + 0.0385 * 94)
    assert above == pytest.approx(7.17 + 5.80e-4 * 20_000 + 0.158 * 95)


@given(engines, st.integers(1, 1024), st.integers(0, 10**6))
def test_decode_only_iterations_lie_on_the_line_to_the_last_bit(engine: WholeEngine, count: int, context: int) -> None:
    fixed, slope = engine.decode_line(count)
    assert engine.iteration_time(mixed(0, count, context)) == fixed + slope * context


@given(engines, st.integers(1, 300), st.integers(0, 60_000))
def test_a_few_prompt_tokens_start_from_the_decodes_without_a_jump(
    engine: WholeEngine, decodes: int, context: int
) -> None:
    alone = engine.iteration_time(mixed(0, decodes, context))
    one_token = 2 * (engine.prompt.seconds(2) - engine.prompt.seconds(1)) + 1e-8
    assert alone <= engine.iteration_time(mixed(1, decodes, context)) <= alone + one_token


@given(engines, st.integers(0, 4000), st.integers(1, 500), st.integers(0, 300), st.integers(0, 60_000))
def test_more_prompt_tokens_never_take_less_time(
    engine: WholeEngine, prefill: int, more: int, decodes: int, context: int
) -> None:
    time = engine.iteration_time(mixed(prefill, decodes, context))
    assert engine.iteration_time(mixed(prefill + more, decodes, context)) >= time - 1e-12


@given(engines, st.integers(1, 4000), st.integers(0, 300), st.integers(0, 60_000))
def test_decodes_on_top_of_a_prompt_cost_something_but_less_than_apart(
    engine: WholeEngine, prefill: int, decodes: int, context: int
) -> None:
    together = engine.iteration_time(mixed(prefill, decodes, context))
    first, second = engine.iteration_time(prompt(prefill)), engine.iteration_time(mixed(0, decodes, context))
    assert max(first, second) - 1e-12 <= together <= first + second + 1e-12


@given(engines, st.integers(0, 4000), st.integers(1, 93), st.integers(0, 60_000))
def test_within_a_published_line_one_more_decode_never_takes_less(
    engine: WholeEngine, prefill: int, decodes: int, context: int
) -> None:
    fewer = engine.iteration_time(mixed(prefill, decodes, context))
    assert engine.iteration_time(mixed(prefill, decodes + 1, context)) >= fewer - 1e-12


def test_the_squares_of_chunks_add_up_to_the_prompt() -> None:
    halves = VLLM.iteration_time(BatchShape(500, 0, 0, 500 * 250.0, 1))
    halves += VLLM.iteration_time(BatchShape(500, 0, 0, 500 * (500 + 250.0), 1))
    assert halves == pytest.approx(VLLM.iteration_time(prompt(1000)) + VLLM.prompt.seconds(0))


def test_copies_add_and_alone_take_only_themselves() -> None:
    assert VLLM.iteration_time(BatchShape(swapped_tokens=100)) == pytest.approx(3e-3)
    plain = VLLM.iteration_time(mixed(0, 5, 100))
    assert VLLM.iteration_time(BatchShape(0, 5, 100, 0.0, 5, 100)) == pytest.approx(plain + 3e-3)


def test_a_table_is_straight_between_and_beyond_its_measurements() -> None:
    sizes = (1, 128, 320, 512, 896)
    assert [TABLE.prompt.seconds(size) for size in sizes] == pytest.approx([0.04, 0.08, 0.125, 0.17, 0.26])
