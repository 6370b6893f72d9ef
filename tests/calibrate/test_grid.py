"""The grid: what it holds, within which limits, and what is refused where memory is short."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrate.grid import FITTED, HELD_OUT, UNIFORM, Case, Limits, _hypercube, grid
from calibrate.memory import fitted, need
from calibrate.opt import config
from costmodel import BatchShape
from traces.errors import SlosimError

GB = 10**9


def test_the_default_grid_is_the_one_that_was_planned() -> None:
    cases = grid(Limits())
    blocks = Counter(case.block for case in cases)
    assert blocks["prompts"] == 40
    assert blocks["chunks"] == 28
    assert (blocks["mixed"], blocks[HELD_OUT]) == (60, 60)
    assert set(blocks) == {*FITTED, UNIFORM, HELD_OUT}
    sizes = {case.shape.forward_size for case in cases if case.block == "prompts"}
    assert {1, 512, 513, 768, 769, 4096} <= sizes
    assert sum(size % 128 > 0 for size in sizes) >= 20, "multiples of a tile alone bias a fit"
    kinds = Counter(case.kind for case in cases if case.block == HELD_OUT)
    assert kinds == {"mixed": 40, "prefill": 10, "decode": 10}


def test_a_batch_has_the_aggregates_of_its_parts() -> None:
    case = Case("mixed", ((100, 50), (7, 0)), (33, 1))
    pairs = sum(cached + place + 0.5 for new, cached in case.chunks for place in range(new))
    assert case.shape == BatchShape(107, 2, 34, pairs, 4)
    assert case.sequences == [150, 7, 33, 1]
    assert [Case("x", ((1, 0),)).kind, Case("x", (), (4,)).kind, case.kind] == ["prefill", "decode", "mixed"]


LIMITS = st.builds(
    Limits,
    forward=st.integers(64, 4096),
    context=st.integers(64, 6144),
    cache=st.integers(6144, 20_000),
    sequences=st.integers(8, 256),
    mixed=st.integers(0, 10),
    held_out=st.integers(0, 10),
)


@settings(max_examples=30)
@given(limits=LIMITS, block_size=st.sampled_from([1, 16]), seed=st.integers(0, 3))
def test_every_batch_keeps_within_the_limits_and_is_there_once(limits: Limits, block_size: int, seed: int) -> None:
    cases = grid(limits, block_size, seed)
    assert cases == grid(limits, block_size, seed)
    assert len(cases) == len(set(cases))
    for case in cases:
        blocks = sum(-(-tokens // block_size) for tokens in case.sequences)
        assert blocks * block_size <= limits.cache
        assert 1 <= case.shape.forward_size <= limits.forward
        assert all(1 <= tokens <= limits.context for tokens in case.sequences)
        assert len(case.sequences) <= limits.sequences


def test_random_chunks_are_no_decodes_and_fill_their_range() -> None:
    """A chunk of one token would be computed as a decode, and its row would say otherwise."""
    drawn = [case.chunks for case in grid(Limits()) if case.block in ("mixed", HELD_OUT) and case.chunks]
    sizes = [new for chunks in drawn for new, _ in chunks]
    totals = [sum(new for new, _ in chunks) for chunks in drawn]
    assert min(sizes) >= 8
    assert min(totals) in range(32, 40)
    assert max(totals) in range(1800, 2049)
    assert Counter(map(len, drawn)).keys() == {1, 2, 3, 4}
    assert all(cached <= 2048 for chunks in drawn for _, cached in chunks)


def test_random_batches_differ_between_fitted_and_held_out_and_between_seeds() -> None:
    def drawn(block: str, seed: int) -> set[Case]:
        return {case._replace(block="") for case in grid(Limits(), seed=seed) if case.block == block}

    assert not drawn("mixed", 0) & drawn(HELD_OUT, 0)
    assert not drawn("mixed", 0) & drawn("mixed", 1)


def test_every_stratum_is_hit_once() -> None:
    found = _hypercube(20, 3, np.random.default_rng(1))
    for column in found.T:
        assert sorted((column * 20).astype(int)) == list(range(20))


def test_the_cache_is_what_the_memory_leaves() -> None:
    shape, limits = config("opt-13b"), Limits(cache=10**9)
    found = fitted(shape, limits, 2, 140 * GB)
    weights, work = 25.7 * GB, need(shape, limits, 2).work
    assert shape.kv_numbers * 2 == 819_200
    assert found.cache == pytest.approx((0.9 * 140 * GB - weights - work) / 819_200, rel=0.01)
    assert found == replace(limits, cache=found.cache)
    assert fitted(shape, replace(limits, cache=7000), 2, 140 * GB).cache == 7000


@pytest.mark.parametrize(
    ("name", "memory", "said"),
    [
        ("opt-66b", 80, "opt-66b needs 132 GB for its weights .* --shards 4, or --model opt-13b"),
        ("opt-13b", 32, "of 32.0 GB free memory 28.8 GB may be used; what would fit: --forward 1024 --context 1024"),
        ("opt-125m", 0.1, "what would fit: nothing of OPT"),
    ],
)
def test_what_does_not_fit_is_refused_and_what_would_is_said(name: str, memory: float, said: str) -> None:
    with pytest.raises(SlosimError, match=said) as caught:
        fitted(config(name), Limits(), 2, memory * GB)
    words = str(caught.value).split("fit: ")[1].replace(",", "").split()
    limits = Limits()
    if "--forward" in words:
        size = int(words[words.index("--forward") + 1])
        limits = replace(limits, forward=size, context=size)
        assert fitted(config(name), limits, 2, memory * GB).cache >= size
    if "--shards" in words:
        shards = int(words[words.index("--shards") + 1])
        assert fitted(config(name, shards), Limits(), 2, memory * GB).cache >= 6144
    if "--model" in words:
        assert fitted(config(words[words.index("--model") + 1]), Limits(), 2, memory * GB).cache >= 6144


def test_a_cache_asked_for_that_is_too_small_for_the_grid_is_refused() -> None:
    with pytest.raises(SlosimError, match="a cache of 4000 tokens"):
        fitted(config("opt-125m"), Limits(cache=4000), 2, 80 * GB)
