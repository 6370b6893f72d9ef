"""The calibrated form and Equation (4), against the formulas written out term by term."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import MODELS, BatchShape, Calibrated, Equation4, LinearDecode, prompt

OPT_13B = MODELS["opt-13b"]
TYPICAL = Calibrated(
    1.27e-4, 17e-3, 1.75, 5.8e-9, 6.4e-7, 2e-5, 5e-3, 0.28, 7e-8, chunk_floor=200.0, per_swapped_token=3e-5
)

small = st.floats(0, 1e-2)
calibrated = st.builds(
    Calibrated,
    per_token=st.floats(1e-6, 1e-3),
    weight_time=small,
    sharpness=st.floats(1, 20),
    per_pair=st.floats(0, 1e-6),
    per_context_token=st.floats(0, 1e-5),
    per_decode=small,
    host_time=small,
    tile_share=st.floats(0, 1),
    per_mixed_context_token=st.floats(0, 1e-5),
    chunk_floor=st.floats(0, 500),
    per_swapped_token=small,
)
equation_4 = st.builds(Equation4, st.sampled_from(list(MODELS.values())), st.floats(1e12, 1e15), st.booleans())
chunks = st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 5000)), min_size=1, max_size=4)
contexts = st.lists(st.integers(1, 8000), max_size=30)


def batch(pieces: list[tuple[int, int]], reads: list[int], swapped: int = 0) -> BatchShape:
    """The shape of chunks (q new tokens on c cached) and decodes (by the context each reads)."""
    pairs = sum(q * (c + q / 2) for q, c in pieces)
    return BatchShape(sum(q for q, _ in pieces), len(reads), sum(reads), pairs, len(pieces) + len(reads), swapped)


def written_out(model: Calibrated, pieces: list[tuple[int, int]], reads: list[int], swapped: int) -> float:
    """The formula of the calibrated form, request by request; exact where at most one chunk is given."""
    size = sum(q for q, _ in pieces) + len(reads)
    total = model.host_time + model.per_swapped_token * swapped
    if size:
        tiles = (1 - model.tile_share) * size + model.tile_share * 128 * math.ceil(size / 128)
        compute, p = model.per_token * tiles, model.sharpness
        total += (model.weight_time**p + compute**p) ** (1 / p)
    for q, c in pieces:
        total += model.per_pair * (max(q, model.chunk_floor) * c + q * q / 2)
    for c in reads:
        total += model.per_decode + (model.per_context_token + bool(pieces) * model.per_mixed_context_token) * c
    return total


@given(calibrated, chunks.map(lambda some: some[:1]), contexts, st.integers(0, 1000), st.booleans())
def test_calibrated_is_the_formula(
    model: Calibrated, pieces: list[tuple[int, int]], reads: list[int], swapped: int, decodes_only: bool
) -> None:
    pieces = [] if decodes_only else pieces
    expected = written_out(model, pieces, reads, swapped)
    assert model.iteration_time(batch(pieces, reads, swapped)) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_of_several_chunks_the_floor_takes_the_mean_length() -> None:
    pieces = [(40, 1000), (60, 1000)]
    plain = Calibrated(1e-4, per_pair=1e-8).iteration_time(batch(pieces, []))
    floored = Calibrated(1e-4, per_pair=1e-8, chunk_floor=200.0).iteration_time(batch(pieces, []))
    reads = batch(pieces, []).attention_pairs - 100**2 / 4
    assert floored - plain == pytest.approx(1e-8 * reads * (200 / 50 - 1))
    equal = [(50, 1000), (50, 1000)]
    exact = written_out(Calibrated(1e-4, per_pair=1e-8, chunk_floor=200.0), equal, [], 0)
    assert Calibrated(1e-4, per_pair=1e-8, chunk_floor=200.0).iteration_time(batch(equal, [])) == pytest.approx(exact)


@given(st.one_of(calibrated, equation_4), st.integers(1, 1024), st.integers(0, 10**6))
def test_decode_only_iterations_lie_on_the_line_to_the_last_bit(model: LinearDecode, count: int, context: int) -> None:
    fixed, slope = model.decode_line(count)
    assert model.iteration_time(BatchShape(0, count, context, 0.0, count)) == fixed + slope * context


def test_the_line_is_the_same_whoever_is_asked_first() -> None:
    line = Calibrated(1e-4, 2e-2, 1.7, per_decode=1e-5).decode_line(7)
    warm = Calibrated(1e-4, 2e-2, 1.7, per_decode=1e-5)
    warm.iteration_time(BatchShape(3, 4, 100, 4.5, 5))
    warm.iteration_time(BatchShape(0, 7, 100, 0.0, 7))
    assert warm.decode_line(7) == line


@given(calibrated, chunks, contexts)
def test_more_work_never_takes_less_time(model: Calibrated, pieces: list[tuple[int, int]], reads: list[int]) -> None:
    time = model.iteration_time(batch(pieces, reads))
    (q, c), *rest = pieces
    assert model.iteration_time(batch(pieces, [*reads, 500])) >= time
    assert model.iteration_time(batch([(q, c + 100), *rest], reads)) >= time * (1 - 1e-12)
    assert model.iteration_time(batch(pieces, reads, swapped=10)) >= time


def test_sharpness_runs_from_the_sum_to_the_maximum() -> None:
    assert Calibrated(1e-4, 2e-2, 1.0).iteration_time(prompt(300)) == pytest.approx(0.05)
    assert Calibrated(1e-4, 2e-2, 20.0).iteration_time(prompt(300)) == pytest.approx(0.03, rel=1e-4)


def test_whole_tiles_are_a_staircase() -> None:
    model = Calibrated(1e-4, tile_share=1.0)
    times = [model.iteration_time(prompt(size)) for size in (1, 128, 129, 256)]
    assert times == pytest.approx([0.0128, 0.0128, 0.0256, 0.0256])


def test_an_iteration_that_only_copies_takes_the_host_and_the_copies() -> None:
    assert TYPICAL.iteration_time(BatchShape(swapped_tokens=100)) == pytest.approx(5e-3 + 100 * 3e-5)
    assert Equation4(OPT_13B, 1e14).iteration_time(BatchShape()) == 0


def test_models_compare_pickle_and_hash_by_their_parameters() -> None:
    TYPICAL.iteration_time(prompt(100))
    again = pickle.loads(pickle.dumps(TYPICAL))
    assert again == TYPICAL
    assert hash(again) == hash(TYPICAL)
    assert again.iteration_time(prompt(100)) == TYPICAL.iteration_time(prompt(100))


def test_equation_4_as_the_paper_writes_it() -> None:
    operations = 40 * (24 * 768 * 5120**2 + 4 * 768**2 * 5120)
    whole = Equation4(OPT_13B, 1e14, whole_forward=True)
    assert whole.operations(prompt(768)) == operations
    assert whole.iteration_time(prompt(768)) == pytest.approx(operations / 1e14)
    assert whole.operations(batch([(700, 0)], [90] * 68)) == operations
    assert Equation4(OPT_13B, 1e14).operations(prompt(768)) == operations


def test_attention_equals_the_rest_at_six_times_the_hidden_size() -> None:
    size = 6 * 5120
    assert Equation4(OPT_13B, 1e14).operations(prompt(size)) == 2 * 40 * 24 * size * 5120**2


def test_equation_4_counts_attention_per_request() -> None:
    shape = batch([(100, 300), (100, 300)], [50, 70])
    squares = 2 * 100 * (300 + 100) + 50 + 70
    assert Equation4(OPT_13B, 1e14).operations(shape) == 40 * (24 * 202 * 5120**2 + 4 * 5120 * squares)


@given(st.integers(1, 8192))
def test_equation_4_is_a_special_case_of_the_calibrated_form(size: int) -> None:
    rate = 2e14
    special = Calibrated(24 * 40 * 5120**2 / rate, per_pair=8 * 40 * 5120 / rate)
    assert special.iteration_time(prompt(size)) == pytest.approx(Equation4(OPT_13B, rate).iteration_time(prompt(size)))


def test_equation_4_charges_copies() -> None:
    model = Equation4(OPT_13B, 1e14, per_swapped_token=1e-5)
    free = model.iteration_time(BatchShape(0, 3, 30, 0.0, 3))
    assert model.iteration_time(BatchShape(0, 3, 30, 0.0, 3, 200)) == pytest.approx(free + 2e-3)
