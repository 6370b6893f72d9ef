"""Bounds where people meet them: in a comparison, and by themselves."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.bound.bounds import WINDOWS, edges, of_any, of_serving, shortest
from experiments.bound.certificate import Question, certified
from experiments.bound.demand import demand
from experiments.bound.goals import good_requests, good_tokens
from experiments.bound.programme import solved
from experiments.cli import main
from sim.machine import Machine
from sim.simulation import simulate
from tests.sim.stories import MODEL, PROFILE, little_trace
from traces import assign_slos, paper_mix

SMALL = ["compare", "--requests", "20", "--jobs", "1"]
KINDS = ("serving", "refusing")


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "runs.csv").read_text().splitlines()))


def test_a_comparison_shows_shares_of_bound_and_oracle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies = ["-p", "vllm", "-p", "oracle,candidates=8"]
    assert main([*SMALL, "--rate", "3", "--sweep", "0.5", *policies, "-o", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "[2/2] bounds, 3 requests/s" in told
    for title in ("Share of bound, as served", "Share of bound, refusing", "Share of Oracle"):
        assert told.count(title) == 1
        assert f"**{title}**" in (tmp_path / "rate-3" / "table.md").read_text()
    found = rows(tmp_path)
    assert len(found) == 4
    for row in found:
        for kind in KINDS:
            for name in ("goodput", "request_goodput"):
                share, bound = float(row[f"{kind}_share_{name}"]), float(row[f"{kind}_bound_{name}"])
                assert 0 < share <= 1
                assert share == pytest.approx(float(row[name]) / bound)
    oracle = {row["rate"]: row for row in found if row["policy"] != "vllm"}
    for row in found:
        share = float(row["goodput"]) / float(oracle[row["rate"]]["goodput"])
        assert float(row["oracle_share_goodput"]) == pytest.approx(share)


def test_without_oracle_or_with_a_warm_up_there_is_no_such_share(tmp_path: Path) -> None:
    assert main([*SMALL, "--rate", "1", "-p", "vllm", "--warmup", "0.2", "-o", str(tmp_path)]) == 0
    assert "Share of" not in (tmp_path / "rate-1" / "table.txt").read_text()
    (row,) = rows(tmp_path)
    assert row["oracle_share_goodput"] == row["serving_share_goodput"] == ""


def test_each_seed_has_its_own_bound(tmp_path: Path) -> None:
    assert main([*SMALL, "--rate", "1", "-p", "vllm", "-p", "sarathi", "--seeds", "2", "-o", str(tmp_path)]) == 0
    bounds = {(row["seed"], row["refusing_bound_goodput"]) for row in rows(tmp_path)}
    assert len(bounds) == 2, "the same for all policies, another for another seed"


def test_the_command_says_what_nobody_exceeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bound", "--requests", "40", "--rate", "0.5,8", "--replicas", "2"]) == 0
    told = capsys.readouterr().out
    assert "8 requests/s" in told
    assert re.search(r"if it serves the (39|40) requests that fit the cache +\d+\.?\d* +0\.\d+", told)
    assert told.count("serving all of them takes") == 2


def test_the_certificate_is_as_good_as_the_programme() -> None:
    """If everybody is served, the priced sum is the programme's own optimum; else at most a little more."""
    trace = assign_slos(paper_mix(150, 3.0), PROFILE.prefill_time)
    needs = demand(trace, Machine(PROFILE.cost_model, 457, 32))
    everybody = np.ones(len(needs), bool)
    for goal in (good_tokens(needs), good_requests(needs)):
        for must, slack in ((everybody, 1e-6), (~everybody, 0.05)):
            least = max(shortest(needs, must), float(needs.arrived[-1]))
            question = Question(needs, goal, must, everybody, 1, least, 1.25 * least)
            prices, ratio = solved(question, edges(question))
            assert ratio * (1 - 1e-6) <= certified(question, prices, ratio) <= ratio * (1 + slack)
            assert len(prices.edges) <= WINDOWS + 2


def test_without_a_solution_the_bound_is_loose_but_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = little_trace(3, 20, 2.0)
    needs = demand(trace, Machine(MODEL, 30, 4))
    everybody = np.ones(len(needs), bool)
    tight = of_serving(needs, everybody, everybody)
    monkeypatch.setattr("experiments.bound.programme.SECONDS", 0.0)
    loose = of_serving(needs, everybody, everybody)
    assert loose.tokens >= tight.tokens * (1 - 1e-9)
    assert loose.tokens <= trace.output_tokens.sum() / shortest(needs, everybody) * (1 + 1e-8)
    result = simulate(trace, "vllm", MODEL, kv_blocks=30, block_size=4).summary()
    assert result["goodput"] <= tight.tokens


def test_prices_from_some_requests_bound_all(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = assign_slos(paper_mix(200, 8.0), PROFILE.prefill_time)
    needs = demand(trace, Machine(PROFILE.cost_model, 457, 32))
    every = of_any(needs, float(needs.arrived[-1]))
    monkeypatch.setattr("experiments.bound.programme.SAMPLE", 50)
    some = of_any(needs, float(needs.arrived[-1]))
    for exact, sampled in zip(every, some, strict=True):
        assert exact * (1 - 1e-6) <= sampled <= exact * 1.5
        assert math.isfinite(sampled)
