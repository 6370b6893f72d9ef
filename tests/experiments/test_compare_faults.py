"""What goes wrong in a comparison costs nothing else: failing runs, pictures, bounds, and folders that were used."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from experiments import compare
from experiments.cli import main
from experiments.used_folder import make_ready
from sim.batch import Batch
from sim.schedulers.vllm import Vllm
from sim.server import Server
from traces.errors import SlosimError

SMALL = ["compare", "--requests", "12", "--sweep", "none", "--jobs", "1"]
HERE = "tests.experiments.test_compare_faults"


class Fails(Vllm):
    """Cannot stand a queue."""

    def schedule(self, server: Server) -> Batch:
        if server.waiting.size > 3:
            raise RuntimeError("too many wait")
        return super().schedule(server)


class Dies(Vllm):
    """Takes its process with it."""

    def schedule(self, server: Server) -> Batch:
        os._exit(3)


def rows(folder: Path) -> list[tuple[str, str, str]]:
    found = csv.DictReader((folder / "runs.csv").read_text().splitlines())
    return [(row["policy"], row["rate"], row["seed"]) for row in found]


def test_a_run_that_fails_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 0.1 requests/s no request waits; in a burst they do."""
    policies = ["-p", f"{HERE}:Fails", "-p", "vllm"]
    words = [*SMALL, *policies, "--rate", "0.1,500", "--seeds", "2", "--baseline", f"{HERE}:Fails", "-o", str(tmp_path)]
    assert main(words) == 1
    told = capsys.readouterr().out
    assert rows(tmp_path) == [
        *[(f"{HERE}:Fails", "0.1", seed) for seed in "01"],
        *[("vllm", rate, seed) for rate in ("0.1", "500") for seed in "01"],
    ]
    assert "vllm" in (tmp_path / "rate-500" / "table.txt").read_text()
    assert "Fails" not in (tmp_path / "rate-500" / "table.txt").read_text()
    assert "Fails" in (tmp_path / "rate-0.1" / "table.txt").read_text()
    assert (tmp_path / "rate-500" / "goodput.png").is_file()
    failure = f"FAILED: {HERE}:Fails, 500 requests/s, seed 0: policy {HERE}:Fails: schedule raised RuntimeError"
    assert failure in told
    assert "test_compare_faults.py:30" in told
    assert "6 of 8 runs are finished" in told
    assert "another baseline" in told
    kept = (tmp_path / "failures.txt").read_text()
    assert kept.count("Traceback") >= 2
    assert main(["report", str(tmp_path)]) == 0
    assert main(["report", str(tmp_path), "--baseline", f"{HERE}:Fails"]) == 0


def test_nothing_is_left_if_all_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "-p", f"{HERE}:Fails", "--rate", "500", "-o", str(tmp_path)]) == 1
    assert "0 of 1 runs are finished" in capsys.readouterr().out
    assert not (tmp_path / "runs.csv").exists()


def test_a_policy_that_kills_its_worker_costs_no_other_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policies = ["-p", "vllm", "-p", f"{HERE}:Dies", "-p", "orca"]
    assert main([*SMALL[:-1], "2", *policies, "--rate", "1", "-o", str(tmp_path)]) == 1
    assert [policy for policy, *_ in rows(tmp_path)] == ["vllm", "orca"]
    told = capsys.readouterr().out
    assert f"FAILED: {HERE}:Dies, 1 requests/s: its worker process died twice" in told
    assert "--jobs" in told


@pytest.mark.parametrize("picture", ["rate-1/goodput.png", "rate-1/causes.png", "sweep.png"])
def test_a_crash_in_drawing_loses_nothing_else(
    picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments import drawing

    def crashes(drawn: Any, path: Path) -> Path:
        if path == tmp_path / picture:
            assert (tmp_path / "runs.csv").is_file()
            assert (tmp_path / "rate-1" / "table.md").is_file()
            raise RuntimeError("no such font")
        return write(drawn, path)

    write = drawing.write
    for module in ("pictures", "causes.picture", "sweep_picture"):
        monkeypatch.setattr(f"experiments.{module}.write", crashes)
    words = [*SMALL, "-p", "vllm", "--rate", "1", "-o", str(tmp_path)]
    words[words.index("none")] = "2"
    assert main(words) == 1
    assert f"FAILED: {tmp_path / picture}: RuntimeError: no such font" in capsys.readouterr().out
    assert len(rows(tmp_path)) == 2
    drawn = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert len(drawn) == 5
    assert picture not in drawn


def test_runs_keep_their_tables_if_bounds_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(compare, "standing", fails)
    assert main([*SMALL, "-p", "vllm", "--rate", "1", "-o", str(tmp_path)]) == 1
    assert "FAILED: bounds: out of memory" in capsys.readouterr().out
    assert rows(tmp_path) == [("vllm", "1", "0")]
    assert (tmp_path / "rate-1" / "table.txt").is_file()


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_former_comparison_is_removed_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--rate", "1", "-o", str(tmp_path)]
    assert main([*words, "-p", "vllm", "-p", "orca", "--rate", "1,2", "--timeline"]) == 0
    assert main(["report", str(tmp_path)]) == 0
    own = {"notes.txt", "rate-1/my.txt", "rate-2/vllm/mine.csv", "rates/a.json", "runs/mine.json"}
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "rate-3").symlink_to(tmp_path / "rates")
    capsys.readouterr()
    assert main([*words, "-p", "sarathi"]) == 0
    assert "Removed a former comparison (" in capsys.readouterr().out
    fresh = tmp_path.parent / "fresh"
    assert main([*words[:-1], str(fresh), "-p", "sarathi"]) == 0
    assert files(tmp_path) - own - {"rate-3/a.json"} == files(fresh)
    assert own < files(tmp_path)
    assert not (tmp_path / "rate-1" / "vllm").exists()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    words = [*SMALL, "-p", "vllm", "--rate", "1", "-o", str(tmp_path)]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "holds files that no comparison wrote, such as 'thesis.tex'" in told.err
    assert told.err.count("\n") == 1
    assert files(tmp_path) == {"thesis.tex"}
    assert main([*words, "--overwrite"]) == 0
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 99_999, '{"digest": 1}', "\x00"])
def test_a_scenario_of_another_program_is_no_comparison(content: str, tmp_path: Path) -> None:
    (tmp_path / "scenario.json").write_text(content)
    (tmp_path / "runs.csv").write_text("mine")
    with pytest.raises(SlosimError, match="no comparison wrote"):
        make_ready(tmp_path)
    assert files(tmp_path) == {"scenario.json", "runs.csv"}


def test_hidden_files_and_an_empty_folder_are_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*")
    assert make_ready(tmp_path) == 0
    assert make_ready(tmp_path / "new") == 0


def test_a_run_leaves_no_table_of_a_former_run(tmp_path: Path) -> None:
    words = ["--requests", "12", "--rate", "1", "-o", str(tmp_path)]
    assert main(["run", "accelgen", *words, "--timeline"]) == 0
    (tmp_path / "notes.parquet").touch()
    assert main(["run", "vllm", *words]) == 0
    assert not {"notes.parquet", "timeline.json.gz"} & files(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["provenance"]["run"]["scheduler"].startswith("Vllm")
