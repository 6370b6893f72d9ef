"""The benchmark runs, measures what it says, and writes it down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import measure
from experiments.bench import TITLES, main
from experiments.measure import QUICK, Bench, Stopwatch, bare_timeouts
from experiments.reading_cost import ReadingCost
from experiments.sweep_cost import SweepCost


def test_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--quick", "--json", str(path)]) == 0
    told = capsys.readouterr().out
    figures = json.loads(path.read_text())
    assert figures["bare_timeouts_per_second"] > 1000
    assert {line["group"] for line in figures["lines"]} == TITLES.keys() == Bench(QUICK).groups().keys()
    for line in figures["lines"]:
        assert line["name"] in told
        assert line["iterations"] > 0
        assert line["iterations_per_second"] > 0
        assert line["ratio"] > 0
        assert line.get("verdict", "") in told
    assert any("verdict" in line for line in figures["lines"])
    for title in TITLES.values():
        assert title in told
    assert f"Peak memory so far: {figures['peak_memory_bytes'] / 1e6:,.0f} MB" in told
    assert 20e6 < figures["peak_memory_bytes"] < 20e9


def test_some_of_it_and_the_million(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--quick", "--million", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    assert figures["lines"] == []
    assert figures["million"]["requests"] == QUICK.million
    assert figures["million"]["iterations"] > QUICK.million
    assert figures["million"]["peak_memory_bytes"] > 20e6
    assert "200 ShareGPT requests through vllm" in capsys.readouterr().out
    assert main(["--quick", "light"]) == 0
    told = capsys.readouterr().out
    assert TITLES["light"] in told
    assert TITLES["heavy"] not in told


def test_what_a_sweep_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--quick", "--sweep", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["sweep"]
    assert found["points"] == QUICK.points
    assert 0 < found["kept"] < found["simulation"] < 1, "seconds"
    assert f"A sweep of {QUICK.points} points: {1e3 * found['overhead']:.2f} ms" in capsys.readouterr().out
    assert str(SweepCost(9, 0.02, 0.0021, 0.0001)).endswith("0.10 ms if it is kept already (at most 2 ms: OVER)")
    assert str(SweepCost(9, 0.02, 0.0019, 0.0001)).endswith(": PASS)")


def test_an_unknown_group(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--quick", "lihgt"])
    assert raised.value.code == 2
    assert "no group lihgt; there are light, heavy" in capsys.readouterr().err


def test_heavy_load_preempts_and_light_does_not() -> None:
    bench = Bench(replace(QUICK, requests=400))
    assert all(line.preemptions == 0 for line in bench.light())
    assert next(bench.heavy()).preemptions > 0


def test_single_iterations_are_timed_between_two_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([3.0, 5.5])
    monkeypatch.setattr(measure, "process_time", lambda: next(ticks))
    watch = Stopwatch(2, 4)
    for _ in range(3):
        watch.finished(None, None, 0.0)  # type: ignore[arg-type]
    with pytest.raises(measure.Enough):
        watch.finished(None, None, 0.0)  # type: ignore[arg-type]
    assert watch.seconds == 2.5


def test_bare_timeouts_are_counted_per_cpu_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([1.0, 1.5])
    monkeypatch.setattr(measure, "process_time", lambda: next(ticks))
    assert bare_timeouts(100) == 200.0


def test_what_reading_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--quick", "--reading", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["reading"]
    assert [each["name"] for each in found] == ["azure.csv", "burstgpt.csv", "mooncake.jsonl", "own.csv", "own.parquet"]
    assert all(each["rows"] == QUICK.rows and each["ratio"] > 0 for each in found)
    assert "own.parquet" in capsys.readouterr().out
    assert str(ReadingCost("a.csv", 9, 0.31, 0.1, 0.01)).endswith("3.10     0.010  OVER")
    assert ReadingCost("a.csv", 9, 0.29, 0.1, 0.01).verdict == "PASS"
