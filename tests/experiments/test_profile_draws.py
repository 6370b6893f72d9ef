"""A comparison over the draws of a profile: intervals, and which orders the calibration does not settle."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from costmodel import MODELS, Calibrated, Profile
from experiments.cli import main
from experiments.profile_draws import Drawn, compare_draws, drawn
from experiments.replications import METRICS
from experiments.scenario import Scenario
from traces.errors import SlosimError

BASE = Calibrated(per_token=1.3e-4, weight_time=0.017, sharpness=1.7, per_pair=6e-9, per_context_token=6e-7)
PROVENANCE = {"measured_on": "nothing", "what": "a test", "by": "tests", "licence": "none", "prior": False}


def with_draws(*rows: tuple[float, float]) -> Profile:
    told = PROVENANCE | {"draws": {"parameters": ["per_token", "weight_time"], "values": [list(row) for row in rows]}}
    return Profile("drawn", BASE, MODELS["opt-13b"], provenance=told)


def scenario(path: Path, *policies: str) -> Scenario:
    return Scenario(
        trace={"source": "sharegpt", "requests": 30, "rate": 4.0},
        profile=str(path),
        policies=list(policies),
        cache={"kv_blocks": 500},
        rates=[4.0],
    )


def test_a_draw_is_the_profile_with_other_parameters() -> None:
    first, second = drawn(with_draws((1e-4, 0.015), (2e-4, 0.02), (3e-4, 0.03)), 2)
    assert first.cost_model == replace(BASE, per_token=1e-4, weight_time=0.015)
    assert second.cost_model == replace(BASE, per_token=2e-4, weight_time=0.02)
    assert first.digest != second.digest


def test_what_has_no_draws_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="has 1 draws, not 2"):
        drawn(with_draws((1e-4, 0.015)), 2)
    assert main(["compare", "--profile-draws", "20", "--requests", "5", "-o", str(tmp_path)]) == 2
    assert "has no draws" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was run before"


def test_draws_are_run_on_the_same_requests(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with_draws((1.3e-4, 0.017), (2.6e-4, 0.034), (1.0e-4, 0.014)).save(path)
    (found,) = compare_draws(scenario(path, "vllm", "sarathi"), 3, tmp_path, Console(quiet=True))
    for policy in ("vllm", "sarathi"):
        own, (same, slower, quicker) = found.values(policy, "mean_ttft")
        assert same == own, "the draw that is the profile itself"
        assert slower > own > quicker
        _, attained = found.values(policy, "slo_attainment_tokens")
        assert attained[1] <= attained[2], "objectives do not stretch with the machine"
    with (tmp_path / "draws.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["policy"], row["draw"]) for row in rows[:5]] == [("vllm", "0"), ("vllm", "1"), ("vllm", "2"),
                                                                ("vllm", "3"), ("sarathi", "0")]  # fmt: skip
    assert (tmp_path / "draws.txt").read_text().startswith("4 requests/s: the profile's value")


def figures(mean_jct: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, 1.0) | {"mean_jct": mean_jct}


def test_an_order_that_draws_turn_round_is_not_settled() -> None:
    level, ahead, behind = figures(2.0), figures(1.9), figures(2.1)
    close = Drawn(1.0, {"a": [level] * 21, "b": [ahead] * 15 + [behind] * 6})
    assert list(close.verdicts()) == ["JCT mean, s: b is ahead of a in 14 of 20 draws only"]
    assert "not settled" in close.text()
    clear = Drawn(1.0, {"a": [level] * 21, "b": [ahead] * 20 + [behind]})
    assert list(clear.verdicts()) == []
    assert "settles every order" in clear.text()
    assert "2 (1.9 to 2.1)" in Drawn(1.0, {"a": [level, ahead, behind, *[ahead] * 9, *[behind] * 9]}).text()
