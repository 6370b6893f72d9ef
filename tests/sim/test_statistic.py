"""Statistics of values with counts, against numpy's of the values written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.statistic import Sample

numbers = st.floats(-1e6, 1e6)
counted = st.lists(st.tuples(numbers, st.integers(0, 5)), min_size=1, max_size=30)


@given(counted, st.floats(0, 100))
def test_as_numpy_has_it_of_the_values_written_out(pairs: list[tuple[float, int]], percent: float) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    written_out = np.repeat(values, weights)
    sample = Sample.of(values, weights)
    assert sample.size == len(written_out)
    if not sample.size:
        assert math.isnan(sample.mean)
        return
    assert sample.percentile(percent) == np.percentile(written_out, percent)
    assert sample.mean == pytest.approx(written_out.mean(), rel=1e-12, abs=1e-9)
    assert sample.deviation == pytest.approx(written_out.std(), rel=1e-9, abs=1e-6)


def test_nan_is_no_value() -> None:
    sample = Sample.of(np.array([3.0, np.nan, 1.0]))
    assert (sample.size, sample.mean, sample.percentile(50)) == (2, 2.0, 2.0)


def test_nothing_has_no_statistics() -> None:
    assert all(math.isnan(value) for value in Sample.of(np.array([])).described("ttft").values())
    assert math.isnan(Sample.of(np.array([np.nan])).deviation)


def test_names_say_what_is_described() -> None:
    described = Sample.of(np.array([1.0])).described("ttft", (50, 99.9))
    assert described == {"mean_ttft": 1.0, "p50_ttft": 1.0, "p99.9_ttft": 1.0}
