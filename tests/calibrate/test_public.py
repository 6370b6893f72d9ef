"""The public profiles: what is committed is what the command makes of the published measurements."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrate.evidence import (
    Measured,
    composition_errors,
    host_time,
    measured_engine,
    published_engine,
    straight_lines,
)
from calibrate.public import main
from costmodel import BatchShape, DecodeLine, PromptLine, WholeEngine, profiles, prompt
from costmodel.points import Points
from costmodel.profile import FOLDER
from tests.costmodel.synthetic import design
from traces.errors import SlosimError

ENGINE = WholeEngine(PromptLine(0.02, 1e-4), (DecodeLine(1, 0.021, 6e-7, 5e-5),), 4e-9)


def taken(engine: WholeEngine, extra: float = 0.0) -> Points:
    """Iterations that took what the engine takes, and something more."""
    points = design(300)
    times = np.array([engine.iteration_time(shape) for shape in points.shapes()])
    columns = (getattr(points, name) for name in Points.__slots__[:-1])
    return Points(*columns, times + extra)


def close(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return bool(np.isclose(found, expected, rtol=2e-3, atol=1e-12))
    return bool(found == expected)


def test_the_committed_profiles_are_what_the_command_makes(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(shared / "gpu"), "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == profiles()
    for name in profiles():
        made, committed = (json.loads((folder / f"{name}.json").read_text()) for folder in (tmp_path, FOLDER))
        assert close(made, committed), name
        assert name in said
    assert "opt-13b@a100-80gb-vllm: S_pf 768 (from 750), T_pf 134.7 ms, KVC 60098 tokens" in said


def test_the_readme_quotes_what_the_command_prints(
    shared: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--data", str(shared / "gpu"), "--output", str(tmp_path)])
    readme = (root / "calibrate" / "README.md").read_text()
    for line in capsys.readouterr().out.splitlines():
        if "S_pf" in line:
            name, figures = line.split(": S_pf ")
            size, seconds = figures.split(" (")[0], figures.split("T_pf ")[1].split(",")[0]
            row = next(row for row in readme.splitlines() if row.startswith(f"| `{name}`"))
            assert f"{size}, {seconds}" in row
        elif line.startswith("  all "):
            median, p95, bias = (part.split()[-1] for part in line.split(": ")[1].split(", "))
            assert f"{median[:-1]} %, {p95[:-1]} %, {bias[:-1]} %" in row


@pytest.mark.parametrize("spoil", ["remove", "cut"])
def test_missing_or_wrong_data_is_one_line(
    spoil: str, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(shared / "gpu", tmp_path / "data", copy_function=shutil.copyfile)
    data.chmod(0o755)
    engines = data / "a100-opt-13b-engines.json"
    if spoil == "cut":
        engines.write_text('{"vllm": {"prefill": [1.0, 2.0]}}')
    else:
        engines.unlink()
    assert main(["--data", str(data), "--output", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(str(engines))
    assert said.err.count("\n") == 1


def test_published_coefficients_are_read_as_milliseconds(shared: Path) -> None:
    engine = published_engine(shared / "gpu" / "a100-opt-13b-engines.json", "distserve")
    assert engine.iteration_time(prompt(1000)) == pytest.approx((18.10 + 101.91 + 7.12) / 1000)
    assert engine.decode_line(94) == pytest.approx((19.93e-3 + 94 * 0.0385e-3, 6.27e-7))
    assert engine.decode_line(95) == pytest.approx((7.17e-3 + 95 * 0.158e-3, 5.80e-7))


def test_an_engine_must_give_three_numbers_each(tmp_path: Path) -> None:
    path = tmp_path / "engines.json"
    path.write_text('{"mine": {"prefill": [1.0, 2.0, "x"]}}')
    with pytest.raises(SlosimError, match=r"mine: field 'prefill' must be a list of three numbers"):
        published_engine(path, "mine")


def test_host_time_is_what_kernels_lack() -> None:
    assert host_time(ENGINE, taken(ENGINE, extra=-4e-3)) == pytest.approx(4e-3)


def test_straight_lines_find_the_engine_that_took_the_times() -> None:
    found = straight_lines(taken(ENGINE))
    assert found.prompt.seconds(1000) == pytest.approx(0.12)
    assert found.per_squared_token == pytest.approx(4e-9)
    assert found.decode_line(10) == pytest.approx((0.0215, 6e-7))
    assert composition_errors(taken(ENGINE)).p95 < 1e-6


def test_a_measured_engine_meets_its_measurements() -> None:
    lengths, sizes = np.array([100.0, 400.0, 400.0, 400.0]), np.array([1.0, 1.0, 32.0, 64.0])
    prompts, tokens = np.array([0.08, 0.2, 5.0, 11.0]), np.array([0.05, 0.051, 0.07, 0.1])
    engine = measured_engine(Measured(lengths, sizes, prompts, tokens))
    assert engine.iteration_time(prompt(250)) == pytest.approx(0.14)
    assert engine.prompt.seconds(1) == 0.05
    assert engine.iteration_time(BatchShape(0, 64, 64 * 400, 0.0, 64)) == pytest.approx(0.1)
    at_32, at_33 = (engine.iteration_time(BatchShape(0, count, 12_800, 0.0, count)) for count in (32, 33))
    assert at_32 == pytest.approx(0.07, rel=0.02)
    assert 0 < at_33 - at_32 < 2e-3
