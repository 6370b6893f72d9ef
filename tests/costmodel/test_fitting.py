"""Fitting: made-up parameters come back, intervals cover as often as they say, bad questions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel import Calibrated
from costmodel.fitting import DEFAULT, bootstrap, cross_validate, draw, errors, errors_by_kind, fit, predict
from costmodel.points import Points
from tests.costmodel.synthetic import TRUE, design, measured
from traces.errors import SlosimError

PARAMETERS = (
    "per_token",
    "weight_time",
    "sharpness",
    "per_pair",
    "per_context_token",
    "per_decode",
    "tile_share",
    "per_mixed_context_token",
    "chunk_floor",
)


def test_columns_are_predicted_as_single_iterations_are() -> None:
    points = design(300)
    one_by_one = [TRUE.iteration_time(shape) for shape in points.shapes()]
    assert predict(TRUE, points).tolist() == pytest.approx(one_by_one, rel=1e-12)


def test_without_noise_the_parameters_come_back() -> None:
    found = fit(measured(TRUE, design(150)))
    for name in PARAMETERS:
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-4), name
    assert found.host_time == 0


@pytest.mark.parametrize("sharpness", [1.0, 4.0, 20.0])
def test_sharpness_is_found_and_stays_within_its_bounds(sharpness: float) -> None:
    model = Calibrated(4e-5, 8e-3, sharpness, 2e-9, 3e-7, 1e-5)
    found = fit(measured(model, design(150)), terms=())
    assert found.sharpness == pytest.approx(sharpness, rel=1e-2)
    assert 1 <= found.sharpness <= 20


def test_host_time_is_fitted_where_it_is_asked_for() -> None:
    model = Calibrated(1.2e-4, 17e-3, 2.5, 6e-9, 6e-7, 2e-5, host_time=6e-3)
    assert fit(measured(model, design(150)), terms=("host_time",)).host_time == pytest.approx(6e-3, rel=1e-3)


def test_terms_that_are_not_asked_for_stay_nought() -> None:
    found = fit(measured(TRUE, design(150)), terms=())
    assert (found.tile_share, found.per_mixed_context_token, found.chunk_floor, found.host_time) == (0, 0, 0, 0)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    trials = covered = 0
    for seed in range(24):
        points = measured(TRUE, design(120, seed), noise=0.02, seed=seed)
        for name, (low, high) in bootstrap(points, fit(points), times=40, seed=seed).items():
            trials += 1
            covered += low <= getattr(TRUE, name) <= high
    assert trials == 24 * len(PARAMETERS)
    assert 0.90 <= covered / trials <= 0.985


def test_intervals_narrow_with_more_points() -> None:
    few, many = (measured(TRUE, design(count), noise=0.02) for count in (90, 1440))
    widths = [np.ptp(bootstrap(points, fit(points), times=30)["per_token"]) for points in (few, many)]
    assert widths[1] < 0.5 * widths[0]


def test_held_out_errors_show_the_noise_and_no_bias() -> None:
    found = cross_validate(measured(TRUE, design(600), noise=0.03))
    assert [found[kind].points for kind in ("all", "decode", "prefill", "mixed")] == [600, 200, 200, 200]
    assert found["all"].median == pytest.approx(0.6745 * 0.03, rel=0.15)
    assert found["all"].p95 == pytest.approx(1.96 * 0.03, rel=0.15)
    assert abs(found["all"].bias) < 0.003


def test_held_out_errors_betray_a_fit_that_merely_remembers() -> None:
    points = measured(TRUE, design(30), noise=0.05)
    assert cross_validate(points)["all"].median > errors(fit(points), points)["all"].median


def test_extrapolation_from_2048_tokens_upwards() -> None:
    points = measured(TRUE, design(900), noise=0.02)
    size = points.prefill_tokens + points.decode_tokens
    beyond = errors(fit(points.take(size <= 2048)), points.take(size > 2048))["all"]
    assert beyond.points > 50
    assert beyond.median < 0.025
    assert abs(beyond.bias) < 0.02


@pytest.mark.parametrize(("kind", "absent"), [(0, "per_pair"), (1, "per_context_token")])
def test_what_no_point_can_tell_stays_nought(kind: int, absent: str) -> None:
    points = measured(TRUE, design(150))
    alone = points.take(points.kinds == kind)
    found = fit(alone)
    assert getattr(found, absent) == 0
    assert found.per_mixed_context_token == 0
    assert errors(found, alone)["all"].p95 < 0.02
    assert absent not in bootstrap(alone, found, times=2)


def test_kinds_weigh_the_same_however_many_points_they_have() -> None:
    """Decodes that contradict the rest are met half-way whether they are few or many."""
    points = measured(TRUE, design(300), noise=0.02)
    rows = np.arange(len(points))
    decodes = points.kinds == 0
    bent = Points(*(getattr(points, name) for name in Points.__slots__[:-1]), points.seconds * (1 + decodes))
    repeated = bent.take(np.concatenate([rows, np.repeat(rows[decodes], 9)]))
    once, often = (errors(fit(some, ()), bent)["decode"].bias for some in (bent, repeated))
    assert often == pytest.approx(once, abs=1e-3)


def test_impossible_questions_are_refused() -> None:
    points = measured(TRUE, design(150))
    with pytest.raises(SlosimError, match="no optional term 'alpha': choose from tile_share"):
        fit(points, ("alpha",))
    with pytest.raises(SlosimError, match="9 points cannot tell 9 parameters"):
        fit(points.take(np.arange(0, 150, 17)), DEFAULT)


def test_draws_take_every_kind_alike_and_leave_a_fifth_of_each() -> None:
    points = design(300)
    uneven = points.take(np.concatenate([np.arange(20), np.arange(100, 300)]))
    drawn = draw(uneven, 60)
    assert np.bincount(uneven.kinds[drawn]).tolist() == [16, 22, 22]
    assert np.unique(drawn).size == 60
    assert not np.array_equal(drawn, draw(uneven, 60, seed=1))
    assert np.array_equal(drawn, draw(uneven, 60))
    all_draws = np.unique(np.concatenate([draw(uneven, 999, seed) for seed in range(5)]))
    assert all_draws.size == 16 + 80 + 80


def test_errors_of_kinds_that_do_not_occur_are_left_out() -> None:
    points = design(30)
    found = errors_by_kind(np.array([-0.1, 0.2]), points.take(np.array([0, 1])))
    assert list(found) == ["all", "decode"]
    assert found["decode"] == (2, pytest.approx(0.15), pytest.approx(0.195), pytest.approx(0.05))
