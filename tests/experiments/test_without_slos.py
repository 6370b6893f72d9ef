"""A workload without SLOs: every command leaves attainment and goodput out, and says so with a dash or null."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pandas
import pytest

from experiments.cli import main
from experiments.inputs import build, run
from experiments.scenario import Scenario
from experiments.table import Comparison
from experiments.table_rows import IN_ALL_SLOS
from traces import Trace

NONE = ["--set", 'slos.rule="none"', "--requests", "30"]
JUDGED = ("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests", "slo_attainment_strict")


def test_a_comparison_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    words = ["compare", "-p", "vllm", "-p", "sarathi", "--rate", "0.6,1", "--sweep", "none", "--jobs", "1"]
    assert main([*words, *NONE, "-o", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("vllm: no request has an SLO") == 2
    for label in ("goodput, tokens/s", "goodput, requests/s", "tokens", "requests, in all SLOs"):
        (line, *_) = [line for line in shown.splitlines() if line.startswith(f"  {label} ")]
        assert line.split()[-2:] == ["-", "-"], line
    place = folder / "rate-1" / "vllm"
    summary = json.loads((place / "summary.json").read_text())
    for metrics in (summary["summary"], *summary["applications"].values(), *summary["slo_classes"].values()):
        assert {metrics[name] for name in JUDGED} == {None}
    assert json.loads((place / "bench.json").read_text())["request_goodput"] is None
    assert pandas.read_parquet(place / "requests.parquet")[["met_slo", "met_strict"]].isna().all(axis=None)
    with (folder / "runs.csv").open() as file:
        assert {row[name] for row in csv.DictReader(file) for name in JUDGED} == {""}
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert not re.search(r"\bnan\b", page, re.IGNORECASE)
    assert "not defined, for no request has an SLO" in page


def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text('policies = ["vllm", "sarathi"]\nrates = [0.6]\nseeds = 2\n')
    assert main(["sweep", str(tmp_path / "s.toml"), *NONE, "--executor", "serial", "-o", str(tmp_path / "out")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sarathi  ")]
    assert line.split()[:6] == ["sarathi", "2", "-", "-", "-", "-"]
    assert pandas.read_parquet(tmp_path / "out" / "points.parquet")[list(JUDGED)].isna().all(axis=None)


def test_the_usual_margins_are_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["regress", "vllm", "--against", "vllm", "--rate", "0.6", "--seeds", "2", "--most-seeds", "2", *NONE]
    assert main([*words, "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "mean_jct" in shown
    assert "goodput" not in shown
    assert main([*words, "--jobs", "1", "--min", "goodput:-1%"]) == 2
    assert "goodput is not defined in every run" in capsys.readouterr().err


@pytest.mark.parametrize("goal", ["goodput", "request_goodput", "slo_attainment_requests", "slo_attainment_jct"])
def test_a_search_for_what_is_not_defined_is_refused(goal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--objective", goal, "--simulations", "3", "--jobs", "1", *NONE]) == 2
    assert f"--objective {goal}: no request of the workload has such an SLO" in capsys.readouterr().err


def test_of_a_mixture_only_requests_with_slos_are_judged() -> None:
    """Half of the requests, taken at random, lose their SLOs: the run is the same, the verdicts on the others, too."""
    scenario = Scenario(trace={"requests": 60, "rate": 0.6})
    inputs = build(scenario)
    whole, bare = inputs.trace, [row % 2 == 0 for row in range(60)]
    rows = [row._replace(slo=type(row.slo)()) if gone else row for row, gone in zip(whole, bare, strict=True)]
    mixed = run(scenario, "vllm", inputs._replace(trace=Trace.from_rows(rows)))
    all_judged = run(scenario, "vllm", inputs)
    frame = all_judged.to_pandas()[[not gone for gone in bare]]
    figures = mixed.summary()
    assert figures["slo_attainment_requests"] == frame["met_slo"].mean()
    seconds = mixed.end - mixed.begin
    assert figures["request_goodput"] == pytest.approx((frame["met_slo"] == 1).sum() / seconds)
    assert figures["goodput"] == pytest.approx(frame["good_tokens"].sum() / seconds)
    assert figures["token_throughput"] == all_judged.summary()["token_throughput"]


def test_the_foot_of_a_table_says_what_in_all_slos_means() -> None:
    table = Comparison.of({"vllm": {"slo_attainment_requests": 0.5, "mean_jct": 3.0}})
    assert "mean gap (TPOT) within TBT" in IN_ALL_SLOS
    assert IN_ALL_SLOS in " ".join(table.text().split())
    assert IN_ALL_SLOS in table.markdown()
    assert IN_ALL_SLOS not in Comparison.of({"vllm": {"mean_jct": 3.0}}).markdown()
