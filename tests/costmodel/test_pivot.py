"""The pivot forward size of published and made-up engines."""

from __future__ import annotations

import pytest

from costmodel import MODELS, Calibrated, Equation4, pivot, profile


@pytest.mark.parametrize(
    ("name", "forward_size", "exact", "milliseconds"),
    [
        ("opt-13b@a100-80gb-vllm", 768, 750, 134.7),
        ("opt-13b@a100-80gb-distserve", 768, 759, 100.6),
        ("bloom-176b@a100-80gb-tp8", 1280, 1171, 352.0),
    ],
)
def test_published_engines_give_the_papers_pivots(
    name: str, forward_size: int, exact: int, milliseconds: float
) -> None:
    found = profile(name).pivot
    assert (found.forward_size, found.exact) == (forward_size, exact)
    assert 1000 * found.time == pytest.approx(milliseconds, abs=0.05)


def test_the_pivot_of_a_straight_line_is_where_algebra_says() -> None:
    fixed, slope, longest = 0.02, 1e-4, 5000
    largest = longest / (fixed + slope * longest)
    expected = 0.95 * largest * fixed / (1 - 0.95 * largest * slope)
    found = pivot(Calibrated(slope, fixed), longest)
    assert found.exact == int(expected) + 1
    assert found.forward_size == 128 * -(-found.exact // 128)
    assert found.time == pytest.approx(fixed + slope * found.forward_size)


def test_a_later_host_moves_the_pivot_up() -> None:
    early, late = (pivot(Calibrated(1.27e-4, 17e-3, 1.75, 5.8e-9, host_time=host)).exact for host in (0.0, 8e-3))
    assert early < late


def test_equation_4_saturates_at_once() -> None:
    found = pivot(Equation4(MODELS["opt-13b"], 1e14))
    assert (found.forward_size, found.exact) == (128, 1)
