"""Fit reports: what is held out, what is written down, and how far public measurements are met."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibrate import fit_file, fit_points, read_points
from calibrate.points import COLUMNS
from costmodel import MODELS, profile
from costmodel.fitting import draw, errors, fit
from costmodel.points import Points
from tests.costmodel.synthetic import TRUE, design, measured
from traces.errors import SlosimError

PUBLIC = ["gpu/a100-opt-13b-iterations.csv", "gpu/a100-opt-175b-tp8-iterations.csv"]
REAL_ENGINE = "validation/rtx-pro-6000-llama-3.1-8b/iterations.csv"


def write(points: Points, path: Path) -> Path:
    columns = {name: getattr(points, field.name) for name, field in zip(COLUMNS, fields(points), strict=True)}
    pd.DataFrame(columns | {"iteration_ms": 1000 * points.seconds}).to_csv(path, index=False)
    return path


def test_without_a_test_file_each_fifth_is_held_out() -> None:
    report = fit_points(measured(TRUE, design(150), 0.02), resamples=10)
    assert report.points == report.errors["all"].points == 150
    assert report.cost_model == fit(measured(TRUE, design(150), 0.02))
    assert "each fifth" in report.held_out


def test_with_a_test_file_errors_are_of_its_points() -> None:
    other = measured(TRUE, design(60, seed=5))
    report = fit_points(measured(TRUE, design(150), 0.02), test=other, resamples=10)
    assert report.errors == errors(report.cost_model, other)
    assert report.held_out == "the test points"


def test_with_a_count_the_rest_is_held_out() -> None:
    points = measured(TRUE, design(600), 0.02)
    report = fit_points(points, count=90, resamples=10, seed=7)
    chosen = draw(points, 90, 7)
    assert report.points == 90
    assert report.cost_model == fit(points.take(chosen))
    assert report.errors == errors(report.cost_model, points.take(np.setdiff1d(np.arange(600), chosen)))


def test_several_draws_are_averaged() -> None:
    points = measured(TRUE, design(600), 0.02)
    report = fit_points(points, count=90, draws=3, resamples=10)
    single = [fit(points.take(draw(points, 90, seed))).per_token for seed in range(3)]
    assert report.cost_model.per_token == pytest.approx(np.mean(single))
    assert report.errors["all"].points < 600 - 2 * 90


def test_a_report_tells_parameters_intervals_and_kinds() -> None:
    lines = fit_points(measured(TRUE, design(150), 0.02), resamples=10).lines()
    assert lines[0] == "fitted to 150 points"
    assert sum(" to " in line and line.startswith(("per_", "weight", "sharp", "tile", "chunk")) for line in lines) == 9
    assert [line.split()[0] for line in lines[-4:]] == ["all", "decode", "prefill", "mixed"]
    assert "bias" in lines[-1]


def test_a_file_becomes_a_profile_that_can_be_loaded(tmp_path: Path) -> None:
    points = measured(TRUE, design(150), 0.02)
    path, test = write(points, tmp_path / "mine.csv"), write(points, tmp_path / "other.csv")
    report, made = fit_file(
        path, test=test, model="opt-13b", gpu="h200", host_time=2e-3, by="me", licence="MIT", name="opt-13b@mine"
    )
    made.save(tmp_path / "made.json")
    again = profile(tmp_path / "made.json")
    assert again.cost_model == made.cost_model
    assert again.model == MODELS["opt-13b"]
    assert again.provenance["held_out_errors"]["all"]["points"] == 150
    assert again.provenance["what"] == "iterations in mine.csv, tested on other.csv"
    assert again.provenance["host_time"]["seconds"] == 2e-3
    without_host = report.cost_model.iteration_time(points.shapes()[0])
    assert again.cost_model.iteration_time(points.shapes()[0]) == pytest.approx(without_host + 2e-3, rel=1e-4)


def test_a_file_alone_makes_a_profile_without_facts(tmp_path: Path) -> None:
    _, made = fit_file(write(measured(TRUE, design(150)), tmp_path / "mine.csv"), terms=())
    assert (made.name, made.model, made.gpu) == ("mine", None, None)
    assert "host_time" not in made.provenance


@pytest.mark.parametrize("names", [{"model": "opt-14b"}, {"gpu": "b300"}])
def test_unknown_models_and_gpus_are_refused(names: dict[str, str], tmp_path: Path) -> None:
    path = write(measured(TRUE, design(60)), tmp_path / "mine.csv")
    with pytest.raises(SlosimError, match=r"there is no (model 'opt-14b': choose from opt-125m|GPU 'b300'.* a100)"):
        fit_file(path, **names)


@pytest.mark.parametrize("file", PUBLIC)
@pytest.mark.parametrize("terms", [("tile_share",), ("tile_share", "per_mixed_context_token", "chunk_floor")])
def test_public_measurements_are_met_where_they_were_not_fitted(
    shared: Path, file: str, terms: tuple[str, ...]
) -> None:
    found = fit_points(read_points(shared / file), terms=terms, resamples=2).errors
    assert found["all"].median <= 0.022
    assert found["all"].p95 <= 0.08
    for kind in ("all", "decode", "prefill", "mixed"):
        assert abs(found[kind].bias) <= 0.01, kind


@pytest.mark.parametrize("file", PUBLIC)
def test_about_a_hundred_and_sixty_points_suffice(shared: Path, file: str) -> None:
    found = [
        fit_points(read_points(shared / file), count=160, resamples=2, seed=seed).errors["all"] for seed in range(5)
    ]
    assert np.mean([error.median for error in found]) <= 0.022
    assert np.mean([error.p95 for error in found]) <= 0.08
    assert abs(np.mean([error.bias for error in found])) <= 0.01


@pytest.mark.parametrize(("file", "median", "p95"), [(PUBLIC[0], 0.03, 0.07), (PUBLIC[1], 0.02, 0.06)])
def test_public_measurements_beyond_the_fitted_sizes(shared: Path, file: str, median: float, p95: float) -> None:
    points = read_points(shared / file)
    size = points.prefill_tokens + points.decode_tokens
    beyond = errors(fit(points.take(size <= 2048)), points.take(size > 2048))["all"]
    assert beyond.points > 500
    assert beyond.median <= median
    assert beyond.p95 <= p95


def test_a_real_engine_whose_kernel_serves_chunks_and_decodes_together(shared: Path) -> None:
    points = read_points(shared / REAL_ENGINE)
    found = fit_points(points, count=160, draws=5, resamples=2).errors
    plain = fit_points(points, count=160, draws=5, resamples=2, terms=("tile_share",)).errors
    assert found["decode"].median <= 0.02
    assert found["prefill"].median <= 0.03
    assert all(abs(found[kind].bias) <= 0.02 for kind in ("all", "decode", "prefill", "mixed"))
    assert found["mixed"].median < 0.7 * plain["mixed"].median
