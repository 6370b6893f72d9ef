"""From made-up measurements to a profile: parameters, host time, copies and Equation (4) come back and are said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from calibrate import fit_file, fit_points, read_points
from calibrate.__main__ import main
from calibrate.copies import copies
from calibrate.grid import FITTED, HELD_OUT, PROMPTS, UNIFORM, Limits
from calibrate.measurements import Measurements, points
from calibrate.pages import preemption
from calibrate.profiling import Calibration, calibrated, profile_name, scaling_errors, uniform
from calibrate.report import draw_page, write_report
from costmodel import GPUS, MODELS, profile, prompt
from costmodel.fitting import errors
from tests.calibrate import made_up
from tests.costmodel.synthetic import TRUE
from traces.errors import SlosimError

FACTS = MODELS["opt-13b"]
SHORT = Limits(forward=2048, context=2048, cache=30_000)


@cache
def made() -> Calibration:
    return calibrated(made_up.measurements(TRUE), FACTS, by="me", licence="MIT", resamples=20)


def test_known_parameters_come_back_within_their_intervals_at_the_nominal_rate() -> None:
    trials = covered = 0
    for seed in range(10):
        fitted = made_up.measurements(TRUE, SHORT, 0.02, seed).fitted
        for name, (low, high) in fit_points(fitted, test=fitted, resamples=25, seed=seed).intervals.items():
            trials += 1
            covered += low <= getattr(TRUE, name) <= high
    assert trials == 90
    assert 0.88 <= covered / trials <= 0.99


def test_held_out_errors_are_the_noise_and_without_bias() -> None:
    """Two passes are averaged, so that a batch's noise is 0.02 / sqrt 2."""
    found = made().report.errors
    assert found["all"].points == 60
    assert found["all"].median == pytest.approx(0.6745 * 0.02 / 2**0.5, rel=0.3)
    assert abs(found["all"].bias) < 0.006
    assert made().report.points == sum(len(made().measurements.of(block)) for block in FITTED)
    assert made().whole_errors["all"].median < 0.015


def test_a_bias_of_the_held_out_times_is_seen() -> None:
    """Were held-out batches a tenth slower than the fitted ones say, the errors would tell."""
    rows = made_up.rows(TRUE, SHORT, 0.02)
    slower = [row | {"iteration_ms": row["iteration_ms"] * (1 + 0.1 * (row["block"] == HELD_OUT))} for row in rows]
    found = calibrated(Measurements(slower, made_up.ABOUT), FACTS, by="", licence="", resamples=2)
    assert found.report.errors["all"].bias == pytest.approx(1 / 1.1 - 1, abs=0.01)


def test_the_noise_floor_is_the_difference_of_the_passes() -> None:
    expected = 0.6745 * 0.02 * 2**0.5
    found = [made_up.measurements(TRUE, SHORT, 0.02, seed).noise for seed in range(8)]
    assert np.mean(found) == pytest.approx(expected, rel=0.1)
    assert np.isnan(Measurements(made_up.rows(TRUE, SHORT, 0.02, passes=1), made_up.ABOUT).noise)


def test_host_time_and_copies_are_what_was_put_in() -> None:
    model = made().profile.cost_model
    assert model.host_time == pytest.approx(made_up.HOST)  # type: ignore[union-attr]
    assert model.per_swapped_token == pytest.approx((made_up.OUT[1] + made_up.BACK[1]) / 2, rel=1e-4)
    found = made().copies
    assert found is not None
    assert (found.out.fixed, found.back.fixed) == (pytest.approx(made_up.OUT[0]), pytest.approx(made_up.BACK[0]))


@pytest.mark.parametrize(
    ("recompute", "low", "high"),
    [((1e-4, 4e-5), 4, 4), ((0.0, 3.1e-5), 50, 64), ((0.0, 1e-5), np.inf, np.inf)],
)
def test_the_crossover_is_where_copying_begins_to_take_less(
    recompute: tuple[float, float], low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both copies take 60 us and 30 us per token: 31 us per token to compute anew are more from 60 tokens on."""
    monkeypatch.setattr(made_up, "RECOMPUTE", recompute)
    found = copies(made_up.copies((4, 16, 64, 256, 1024)))
    assert found is not None
    assert low <= found.crossover <= high


def test_too_little_to_fit_is_told() -> None:
    rows = made_up.rows(TRUE, SHORT, 0.02)
    alone = [row for row in rows if row["block"] != "prompts"]
    for few, message in (
        (alone, "no prompt is measured alone yet, .* longer"),
        (rows[:6], "cannot tell .* parameters"),
    ):
        with pytest.raises(SlosimError, match=message):
            calibrated(Measurements(few, made_up.ABOUT), FACTS, by="", licence="", resamples=2)


def test_too_few_lengths_say_nothing_of_copies() -> None:
    assert copies(made_up.copies((16, 64))) is None
    assert copies([]) is None


def test_a_profile_says_where_it_comes_from_and_can_be_loaded(tmp_path: Path) -> None:
    made().profile.save(tmp_path / "made.json")
    again = profile(tmp_path / "made.json")
    told = again.provenance
    assert again.name == "opt-13b@h200"
    assert (again.model, again.gpu) == (FACTS, GPUS["h200"])
    assert again.cost_model == made().profile.cost_model
    assert told["measured_on"] == "Made-up GPU"
    assert told["device"] == {"device": "Made-up GPU", "driver": "0", "cuda": "0", "torch": "0"}
    assert told["clocks_mhz"] == [1980.0] * 3
    assert told["host_time"]["by_launch"] == {"eager": made_up.HOST, "recorded": made_up.HOST}
    assert set(told["held_out_errors"]) == {"all", "decode", "prefill", "mixed"} == set(told["held_out_errors_whole"])
    assert told["equation_4"]["rate"] == made().equation.rate
    assert "NaN" not in (tmp_path / "made.json").read_text()
    draws = told["draws"]
    assert draws["parameters"] == list(made().report.intervals)
    assert np.array(draws["values"]).shape == (20, len(draws["parameters"]))
    place = draws["parameters"].index("per_token")
    spread = np.array(draws["values"])[:, place]
    assert spread.std() > 0
    assert abs(spread.mean() - TRUE.per_token) < 4 * spread.std()


def test_names_tell_device_and_shards() -> None:
    assert profile_name(made_up.ABOUT | {"shards": 8}) == "opt-13b@h200-tp8"
    assert profile_name(made_up.ABOUT | {"gpu": None, "device": "A (TM) CPU"}) == "opt-13b@a-tm-cpu"


def test_points_are_written_whole_and_fit_as_any_others(tmp_path: Path) -> None:
    found = made_up.measurements(TRUE, SHORT)
    found.save(tmp_path / "points.parquet")
    assert len(read_points(tmp_path / "points.parquet")) == 2 * len(found.batches)
    report, _ = fit_file(tmp_path / "points.parquet", model="opt-13b")
    assert report.cost_model.per_token == pytest.approx(TRUE.per_token, rel=0.05)
    import pandas as pd
    from pyarrow import parquet

    table = pd.read_parquet(tmp_path / "points.parquet")
    assert {"spread_ms", "repetitions", "laps_ms", "pass", "launch", "whole_ms"} <= set(table.columns)
    told = json.loads(parquet.read_schema(tmp_path / "points.parquet").metadata[b"slosim"])
    assert told == made_up.ABOUT


def test_the_passes_of_a_batch_become_one_point() -> None:
    found = made_up.measurements(TRUE, SHORT)
    one = found.of("decodes")[3]
    assert len(one) == 2
    point = points([one])
    assert point.seconds[0] == pytest.approx((one[0]["iteration_ms"] * one[1]["iteration_ms"]) ** 0.5 / 1e3)
    assert point.context_tokens[0] == sum(one[0]["decodes"])


def test_equation_4_is_at_its_best_rate_for_saturated_prompts_and_misses_small_ones() -> None:
    exact = calibrated(made_up.measurements(TRUE, noise=0.0), FACTS, by="", licence="", resamples=2)
    model = replace(TRUE, host_time=made_up.HOST)
    measured, scaling = uniform(exact.measurements), scaling_errors(exact)
    assert measured is not None
    assert scaling is not None
    sizes, speed, found = measured
    assert sizes.tolist() == [512 * count for count in (1, 2, 3, 4, 5, 6, 7, 8)]
    assert found.seconds == pytest.approx([model.iteration_time(shape) for shape in found.shapes()])
    long = [size for size in PROMPTS if size >= exact.profile.pivot.forward_size]
    rates = [FACTS.operations(prompt(size)) / model.iteration_time(prompt(size)) for size in long]
    assert exact.equation.rate == pytest.approx(np.exp(np.mean(np.log(rates))), rel=1e-6)
    smallest, largest = found.shapes()[0], found.shapes()[-1]
    for name, shape in (("smallest", smallest), ("largest", largest)):
        expected = FACTS.operations(shape) / exact.equation.rate / model.iteration_time(shape) - 1
        assert scaling[name] == pytest.approx(expected, rel=1e-4)
    assert scaling["smallest"] < scaling["largest"] - 0.03, "a small forward takes longer than its operations"
    saturated = next(size for size, rate in zip(sizes, speed, strict=True) if rate >= 0.95 * max(speed))
    assert scaling["pivot_measured"] == saturated


def test_the_outcome_as_text_says_what_matters() -> None:
    text = "\n".join(made().lines())
    for word in (
        "per_token",
        "test points",
        "host time of 1.500 ms",
        "noise floor",
        "S_pf",
        "Equation (4)",
        "copies: 16",
    ):
        assert word in text
    assert errors(made().report.cost_model, made().measurements.held_out) == made().report.errors


def pages(path: Path) -> int:
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


def test_a_report_has_a_page_for_whatever_was_measured(tmp_path: Path) -> None:
    whole = write_report(made(), tmp_path / "whole.pdf")
    assert pages(whole) == 8
    rows = [row for row in made_up.rows(TRUE, SHORT, 0.02, passes=1) if row["block"] not in (UNIFORM, HELD_OUT)]
    less = calibrated(Measurements(rows, made_up.ABOUT), FACTS, by="", licence="", resamples=2)
    assert less.copies is None
    assert scaling_errors(less) is None
    assert "each fifth" in less.report.held_out
    assert pages(write_report(less, tmp_path / "less.pdf")) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["less.pdf", "whole.pdf"]


def test_a_page_is_a_picture_if_there_is_something_to_draw(tmp_path: Path) -> None:
    drawn = draw_page(preemption, made(), tmp_path / "page.png")
    assert drawn.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SlosimError, match="nothing on page 'preemption' was measured"):
        draw_page(preemption, replace(made(), copies=None), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_nothing_measured_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"no batch is measured yet: .* more --minutes"):
        Measurements([], made_up.ABOUT).save(tmp_path / "points.parquet")
    few = Measurements(made_up.rows(TRUE, SHORT, 0.02)[:6], made_up.ABOUT)
    with pytest.raises(SlosimError, match="points cannot tell"):
        calibrated(few, FACTS, by="", licence="")


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SlosimError, match=r"report.pdf: cannot be written \(Not a directory\)"):
        write_report(replace(made()), tmp_path / "file" / "report.pdf")


def test_importing_calibrate_loads_no_torch(root: Path) -> None:
    """Nor do fits, reports and the command's help, so that they work without it."""
    names = ("", ".command", ".copies", ".grid", ".journal", ".measurements", ".memory", ".profiling", ".report")
    program = f"import sys, {', '.join(f'calibrate{name}' for name in names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == ["False"]


def test_without_torch_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--device", "cpu"]) == 2
    assert capsys.readouterr().err == "calibrate: measuring needs torch: pip install 'slosim[calibrate]'\n"
