"""The main job: what it shows, what it leaves behind, also when it is interrupted."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from experiments.cli import main
from experiments.commands import options
from experiments.pool import cores, run_all
from experiments.replications import interval, paired, paired_table
from experiments.results import read

if TYPE_CHECKING:
    from tests.experiments.conftest import Interrupt

TABLES = {f"{name}.parquet" for name in ("requests", "iterations", "spans", "events", "causes")}
FILES = TABLES | {"summary.json", "bench.json"}
PICTURES = {"causes.png", "goodput.png", "latency.png", "utilization.png", "attainment.png", "table.txt", "table.md"}
SMALL = ["compare", "--requests", "25", "-p", "vllm", "-p", "sarathi,chunk_size=256", "--jobs", "1"]


def test_a_comparison_shows_tables_and_leaves_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--rate", "0.5", "--sweep", "0.2,1", "--baseline", "sarathi,chunk_size=256", "-o", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "[6/6]" in told
    assert "times better than sarathi,chunk_size=256" in told
    assert f"Files are in {tmp_path}" in told
    shown = tmp_path / "rate-0.5"
    assert {path.name for path in (shown / "vllm").iterdir()} == FILES
    assert {path.name for path in shown.iterdir()} == PICTURES | {"vllm", "sarathi_chunk_size=256"}
    assert {path.name for path in tmp_path.iterdir()} == {"rate-0.5", "runs", "runs.csv", "scenario.json", "sweep.png"}
    assert len(list((tmp_path / "runs").iterdir())) == 4
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_files_say_what_the_run_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--rate", "2", "-o", str(tmp_path), "--timeline", "--seeds", "2"]) == 0
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert [(row["policy"], row["rate"], row["seed"]) for row in rows] == [
        (policy, "2", seed) for policy in ("vllm", "sarathi,chunk_size=256") for seed in "01"
    ]
    result = read(tmp_path / "rate-2" / "vllm")
    assert float(rows[0]["mean_jct"]) == result.summary()["mean_jct"]
    bench = json.loads((tmp_path / "rate-2" / "vllm" / "bench.json").read_text())
    assert bench["mean_ttft_ms"] == pytest.approx(1000 * float(rows[0]["mean_ttft"]))
    scenario = json.loads((tmp_path / "scenario.json").read_text())
    kept = json.loads((tmp_path / "rate-2" / "vllm" / "summary.json").read_text())["provenance"]["run"]["config"]
    assert (scenario["seeds"], kept["seeds"], kept["policies"]) == (2, 1, ["vllm"])
    assert (tmp_path / "rate-2" / "vllm" / "timeline.json.gz").is_file()
    assert "paired over 2 seeds" in capsys.readouterr().out
    assert "paired over 2 seeds" in (tmp_path / "rate-2" / "table.md").read_text()


def test_two_cores_tell_the_same_story_as_one(tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        assert main([*SMALL, "--rate", "1", "--sweep", "3", "--jobs", jobs, "-o", str(tmp_path / jobs)]) == 0
    one, two = (_without_clock(tmp_path / jobs / "runs.csv") for jobs in "12")
    assert one == two


def _without_clock(path: Path) -> list[dict[str, str]]:
    return [
        {key: row[key] for key in row if key != "mean_schedule_seconds"}
        for row in csv.DictReader(path.read_text().splitlines())
    ]


def test_a_recorded_trace_needs_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("arrived_at,prompt_tokens,output_tokens\n0,100,5\n1,50,4\n")
    words = ["compare", "--trace", str(tmp_path / "t.csv"), "-p", "vllm", "--jobs", "1", "-o", str(tmp_path / "c")]
    assert main(words) == 0
    assert "arrivals as recorded" in capsys.readouterr().out
    assert (tmp_path / "c" / "as-recorded" / "vllm" / "bench.json").is_file()
    assert not (tmp_path / "c" / "sweep.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "vlm"], "did you mean 'vllm'"),
        (["--baseline", "acelgen"], "is not among the compared policies"),
        (["--model", "opt-175b"], "not of opt-175b"),
        (["--set", "trace.sede=1"], "did you mean 'seed'"),
        (["missing.toml"], "missing.toml: cannot be read"),
        (["-o", "/dev/null/x"], "cannot be written"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "-o", str(tmp_path / "c"), *words]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.err.count("\n") == 1
    assert "[1/" not in told.out


def test_an_interrupt_leaves_what_is_finished(interrupted: Interrupt, tmp_path: Path) -> None:
    words = ["compare", "--requests", "3000", "-p", "vllm", "-p", "accelgen", "--jobs", "2", "-o", str(tmp_path)]
    out = interrupted(*words, after="[1/", within=20)
    assert "Interrupted." in out
    assert not list(tmp_path.rglob(".*.draft"))
    finished = [path.parent for path in tmp_path.rglob("bench.json")]
    assert finished
    assert all(len(read(folder)) == 3000 for folder in finished)


def test_an_interrupt_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(work: Any, tasks: Sequence[Any], jobs: int) -> Iterator[Any]:
        yield tasks[0], work(tasks[0])
        (tmp_path / "rate-1" / ".half.parquet.7.draft").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.compare.run_all", interrupted)
    assert main([*SMALL, "--rate", "1", "-o", str(tmp_path)]) == 130
    assert "Interrupted. 1 of 2 runs are finished" in capsys.readouterr().out
    assert not list(tmp_path.rglob(".*.draft"))
    assert len(list(tmp_path.rglob("bench.json"))) == 1


@pytest.mark.parametrize(("text", "rates"), [("none", []), ("0.5,8", [0.5, 8.0])])
def test_loads_are_lists(text: str, rates: list[float]) -> None:
    assert options.rates(text) == rates


def test_loads_that_are_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--rate", "fast"])
    assert "'fast' is not a list of requests per second" in capsys.readouterr().err


def _fails(task: int) -> int:
    if task == 3:
        raise ValueError("task 3")
    return task * task


def test_workers_hand_back_results_and_errors() -> None:
    assert sorted(run_all(_fails, [0, 1, 2], 2)) == [(0, 0), (1, 1), (2, 4)]
    assert list(run_all(_fails, [2], 2)) == [(2, 4)]
    with pytest.raises(ValueError, match="task 3"):
        list(run_all(_fails, [1, 3, 5, 7], 2))
    assert cores() >= 1


def test_intervals_are_student_s() -> None:
    known = interval([1.0, 2.0, 3.0, 4.0])
    assert known.mean == 2.5
    assert known.half == pytest.approx(3.182446 * math.sqrt(5 / 3) / 2, rel=1e-6)  # t(0.975, 3) from a printed table
    assert interval([1.0]).half == math.inf
    assert math.isnan(interval([]).mean)


def test_intervals_cover_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    samples = generator.normal(7.0, 2.0, (2000, 5))
    covered = [abs(one.mean - 7.0) <= one.half for one in map(interval, samples.tolist())]
    assert 0.935 <= np.mean(covered) <= 0.965


def test_paired_differences_shed_what_is_common() -> None:
    noise = np.random.default_rng(2).normal(0, 100, 8)
    ours, theirs = (noise + 3 + np.tile((0.1, -0.1), 4)).tolist(), noise.tolist()
    difference = paired(ours, theirs)
    assert difference.mean == pytest.approx(3)
    assert difference.certain
    keys = ("goodput", "mean_jct")
    runs = {"a": [dict.fromkeys(keys, value) for value in theirs], "b": [dict.fromkeys(keys, value) for value in ours]}
    for each in (*runs["a"], *runs["b"]):
        each |= dict.fromkeys(
            ("slo_attainment_tokens", "slo_attainment_requests", "mean_ttft", "p99_ttft", "p99_tbt"), math.nan
        )
    lines = paired_table(runs, "a").splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["goodput,", "JCT"]
    assert lines[1].split(",")[1].split() == ["tokens/s", "+3.000", "±", "0.089*"], "0.1069 x 2.365 / 8 ** 0.5"
    assert not any("TTFT" in line for line in lines)
