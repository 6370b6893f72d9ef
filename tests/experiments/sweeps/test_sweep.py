"""The command: what it runs, what it keeps, what it tells; reruns, failures, damage, interrupts, and what it costs."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas
import pytest

from costmodel import profile
from experiments.cli import main
from experiments.results import footer
from experiments.settings import scenario_of
from experiments.sweeps import digests, running
from experiments.sweeps.digests import key_of
from experiments.sweeps.driver import Cluster
from experiments.sweeps.executors import Here
from experiments.sweeps.plan import points_of
from experiments.sweeps.store import Store
from experiments.sweeps.work import Answer, Task, run_point
from sim.schedulers.vllm import Vllm
from sim.simulation import simulate
from traces import assign_slos, paper_mix

if TYPE_CHECKING:
    from tests.experiments.conftest import Interrupt

FILE = """
policies = ["vllm", "sarathi"]
rates = [1.0]
seeds = 2
[trace]
requests = 8
[grid]
cache.kv_blocks = [300, 457]
"""


class Fragile(Vllm):
    """Fails on some machines."""

    def schedule(self, server: Any) -> Any:
        """Decides, or not."""
        if server.free_blocks > 300:
            raise RuntimeError("no such luck")
        return super().schedule(server)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(FILE)
    return path


def sweep(file: Path, *words: str) -> int:
    return main(["sweep", str(file), "-o", str(file.parent / "out"), "--executor", "serial", *words])


def test_a_sweep_from_end_to_end(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(file) == 0
    told = capsys.readouterr().out
    assert "8 points, by serial" in told
    assert "[8/8]" in told
    assert "cache.kv_blocks=457, 1 requests/s" in told
    assert re.search(r"sarathi +2 +[\d.]+ ± [\d.]+ +[+-][\d.]+", told)
    frame = pandas.read_parquet(file.parent / "out" / "points.parquet")
    assert len(frame) == 8
    assert list(frame.columns[:5]) == ["key", "policy", "rate", "seed", "cache.kv_blocks"]
    assert set(frame["error"]) == {""}
    machine = profile("opt-13b@a100-80gb-vllm")
    trace = assign_slos(paper_mix(8, 1.0, 1), machine.prefill_time, 1)
    direct = simulate(trace, "sarathi", machine, kv_blocks=300, block_size=32, seed=1).summary()
    [row] = frame.query("policy == 'sarathi' and seed == 1 and `cache.kv_blocks` == 300").to_dict("records")
    for metric in ("goodput", "mean_jct", "p99_ttft", "slo_attainment_requests", "iterations"):
        assert row[metric] == direct[metric], metric


def test_every_file_says_where_it_comes_from(file: Path) -> None:
    sweep(file)
    out = file.parent / "out"
    paths = sorted((out / "points").iterdir())
    assert len(paths) == 8
    for path in paths:
        content = json.loads(path.read_text())
        origin = content["provenance"]
        config = {name: value for name, value in origin["run"]["config"].items() if name != "digest"}
        assert path.stem == content["key"]
        assert {"trace_digest", "profile_digest", "seed", "source_digest", "version"} <= origin["run"].keys()
        assert {"date", "numpy", "wall_seconds"} <= origin["made"].keys()
        assert key_of(scenario_of(defaults=config)) == path.stem
    asked = footer(out / "points.parquet")["run"]["asked"]
    assert asked["grid"] == {"cache": {"kv_blocks": [300, 457]}}


def test_a_rerun_does_only_what_is_missing(file: Path, ran: list[Task], capsys: pytest.CaptureFixture[str]) -> None:
    sweep(file)
    first, whole = [task.key for task in ran], pandas.read_parquet(file.parent / "out" / "points.parquet")
    assert len(set(first)) == 8
    ran.clear()
    capsys.readouterr()
    sweep(file)
    assert not ran
    assert "8 of 8 points had been run before" in capsys.readouterr().out
    pandas.testing.assert_frame_equal(pandas.read_parquet(file.parent / "out" / "points.parquet"), whole)
    sweep(file, "--seeds", "3")
    assert len(ran) == 4
    ran.clear()
    store = Store(file.parent / "out" / "points")
    store.place(first[0]).unlink()
    store.place(first[1]).write_text(store.place(first[1]).read_text()[:-40])
    store.place(first[2]).write_text("[]")
    store.place(first[3]).write_text(store.place(first[4]).read_text())
    sweep(file)
    assert sorted(task.key for task in ran) == sorted(first[:4]), "gone, cut off, something else, of another point"


def test_another_source_runs_everything_anew(file: Path, ran: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(file)
    ran.clear()
    monkeypatch.setattr(digests, "run_digest", lambda: "other")
    sweep(file)
    assert len(ran) == 8


def test_failures_are_kept_counted_and_tried_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = ("-p", "vllm", "-p", f"{__name__}:Fragile", "--seeds", "1")
    assert sweep(file, *policy) == 1
    told = capsys.readouterr().out
    assert "FAILED: 1 of 4 points" in told
    assert "RuntimeError: no such luck" in told
    [path] = (file.parent / "out" / "points").glob("*.failure.json")
    content = json.loads(path.read_text())
    assert "in schedule" in content["traceback"]
    assert content["provenance"]["run"]["config"]["cache"]["kv_blocks"] == 457
    frame = pandas.read_parquet(file.parent / "out" / "points.parquet")
    assert frame["error"].str.contains("no such luck").tolist() == [False, False, False, True]
    assert frame["goodput"].isna().tolist() == [False, False, False, True]
    Fragile.schedule = Vllm.schedule  # type: ignore[method-assign]
    assert sweep(file, *policy) == 0
    assert not list((file.parent / "out" / "points").glob("*.failure.json"))


def test_points_that_come_to_the_same_are_run_once(tmp_path: Path, ran: list[Task]) -> None:
    [point] = points_of({"trace": {"requests": 5, "rate": 1.0}, "policies": ["vllm"]})
    other = point._replace(varied=(("setting", "of another name"),))
    at_work = running.Running(Store(tmp_path), Cluster(Here(), 1))
    found = list(at_work.run(deque([point, other])))
    assert [each.point for each in found] == [point, other]
    assert found[0].kept == found[1].kept
    assert len(ran) == 1


def test_workers_that_died_are_told_of(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    died: list[str] = []

    def dies_once(task: Task) -> Answer:
        if not died:
            died.append(task.key)
            raise BrokenExecutor("killed")
        return run_point(task)

    monkeypatch.setattr(running, "run_point", dies_once)
    assert sweep(file) == 0
    assert "lost 1 of the workers; what they were at was run again (BrokenExecutor: killed)" in capsys.readouterr().out
    assert len(list((file.parent / "out" / "points").iterdir())) == 8


def test_a_worker_with_other_files_refuses(file: Path) -> None:
    [point, *_] = points_of({"trace": {"requests": 5, "rate": 1.0}, "policies": ["vllm"]})
    answer = run_point(Task(point.scenario, "0" * 16))
    assert answer.failed
    assert "not the same" in json.loads(answer.text)["error"]


def test_what_not_to_trust_is_said(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--seeds", "1", "-p", "vllm", "--set", "grid.cache.kv_blocks=[457]")
    assert sweep(file, "--requests", "150", "--set", "rates=[0.1, 4]", *words) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "warning: one seed says nothing about chance" in told
    assert "beyond the p99 of TTFT lie fewer than 100 requests of a run (1)" in told
    assert "warning: overloaded: vllm (cache.kv_blocks=457, 4 requests/s). " in told


@pytest.mark.parametrize("terminal", [True, False])
def test_ctrl_c_or_its_end_from_outside_keeps_what_is_finished(
    terminal: bool, interrupted: Interrupt, file: Path
) -> None:
    words = ["sweep", str(file), "-o", str(file.parent / "out"), "--jobs", "2", "--seeds", "400"]
    out = interrupted(*words, after="[", within=30, terminal=terminal)
    assert "the same command goes on from here" in out
    points = file.parent / "out" / "points"
    finished = list(points.glob("*.json"))
    assert finished
    assert not list(points.glob(".*"))
    assert len(pandas.read_parquet(file.parent / "out" / "points.parquet")) == len(finished)
    for path in finished:
        assert Store(points).record(path.stem), "whole"


def test_a_point_costs_little_beside_its_simulation(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CPU time of naming, handing out, keeping and telling 200 points whose simulation takes none: below 2 ms each."""
    sweep(file)
    [path, *_] = (file.parent / "out" / "points").iterdir()
    text = path.read_text()

    def at_once(task: Task) -> Answer:
        return Answer(text.replace(path.stem, task.key))

    monkeypatch.setattr(running, "run_point", at_once)
    cost = []
    for round in range(3):
        began = time.process_time()
        sweep(file, "--seeds", "50", "--seed", str(1000 * (round + 1)))
        cost.append((time.process_time() - began) / 200)
    assert min(cost) < 0.002, cost
