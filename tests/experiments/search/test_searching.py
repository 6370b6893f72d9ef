"""A search as a command: the same on one process and two, stopped at any time, with what it says and leaves behind."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.cli import main
from experiments.scenario import Scenario
from experiments.search import searching
from experiments.search.climb import Climb
from experiments.search.objective import Score, objective
from experiments.search.problem import Story, Task, evaluate, serve
from experiments.search.report import progress, share, standings
from experiments.search.searching import Searching

SCENARIO = Scenario.model_validate({"trace": {"requests": 15, "rate": 8.0}, "policies": ["sarathi", "oracle"]})
WORDS = ("search", "--requests", "15", "--rate", "8", "-p", "sarathi", "-p", "oracle", "--jobs", "1")


def searched(folder: Path, simulations: int = 40, **settings: Any) -> tuple[dict[str, Any], str]:
    """What it wrote, without what differs from run to run, and what it said."""
    told = StringIO()
    settings = {"simulations": simulations} | settings
    Searching(SCENARIO, objective("goodput"), folder, Console(file=told, width=100), **settings).run()
    return written(folder), told.getvalue()


def written(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    for part in ("seconds", "simulations_per_second"):
        assert content["search"].pop(part) > 0
    del content["provenance"]
    content["summary"] = {key: value for key, value in content["summary"].items() if "schedul" not in key}
    return content


def test_one_process_and_two_find_the_same(tmp_path: Path) -> None:
    one, said = searched(tmp_path / "one", jobs=1)
    two, _ = searched(tmp_path / "two", jobs=2)
    assert one == two
    assert one["search"]["simulations"] == 40
    assert one["value"] == one["summary"]["goodput"] >= max(one["starts"].values())
    assert "after 40 simulations in" in said
    assert "/s)" in said, "simulations per second"


def test_what_it_found_is_served_again_by_the_file(tmp_path: Path) -> None:
    found, said = searched(tmp_path)
    plan = f"planned,plan={tmp_path / 'plan.json'}"
    assert plan in said.replace("\n", "")
    assert serve(SCENARIO, plan).summary()["goodput"] == found["value"]


def test_an_interrupt_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def interrupted(task: Task) -> Story:
        nonlocal made
        made += 1
        if made == 30:
            raise KeyboardInterrupt
        return evaluate(task)

    monkeypatch.setattr(searching, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, simulations=1000)
    found = written(tmp_path)
    assert found["search"]["simulations"] == 29
    assert found["value"] == max([*found["starts"].values(), *(each["value"] for each in found["history"])])


def test_an_interrupt_before_anything_was_simulated_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(task: Task) -> Story:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching, "evaluate", interrupted)
    assert main([*WORDS, "-o", str(tmp_path)]) == 130
    assert "Nothing was simulated yet" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_it_stops_in_time(tmp_path: Path) -> None:
    found, said = searched(tmp_path, simulations=100_000, seconds=0.01)
    assert found["search"]["simulations"] < 20, "after the first round"
    assert said.count("simulations in") == 1


def test_where_there_is_no_terminal_it_tells_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "EVERY", 0.0)
    _, said = searched(tmp_path)
    lines = [line for line in said.splitlines() if "simulations in" in line]
    assert len(lines) > 3
    assert all(line.startswith("goodput, tokens/s: ") for line in lines)
    assert all("/s, " in line and line.endswith(" s left)") for line in lines[:-1])


def test_words() -> None:
    assert share(Score(8.0, 0), Score(10.0, 0)) == " 80.00%"
    assert share(Score(-10.0, 0), Score(-8.0, 0)) == " 80.00%", "less is better"
    assert share(Score(0.0, 0), Score(0.0, 0)) == ""
    scores = {"vllm": Score(-9.0, 0), "smallest first": Score(-8.0, 0), "largest first": Score(-10.0, 0)}
    climb = Climb(None, ("vllm",), None, simulations=20, scores=scores, best_score=Score(-6.0, 0))  # type: ignore[arg-type]
    goal = objective("mean_jct")
    assert progress(climb, goal, 4.0, 6.0) == "mean JCT, s: 6 after 20 simulations in 4 s (5.0/s, 6 s left)"
    assert [line.split() for line in standings(climb, goal)] == [
        ["vllm", "9", "66.67%"],
        ["best", "start", "(smallest", "first)", "8", "75.00%"],
        ["search", "6", "100.00%"],
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "speed"], "--objective speed: there is no such objective; choose one of goodput"),
        (["-p", "sarati"], "no scheduler 'sarati'; did you mean 'sarathi'?"),
        (["-p", "planned,plan=nowhere.json", "--simulations", "1"], "plan=nowhere.json: is no plan"),
    ],
)
def test_what_a_user_can_mend_is_said(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, *words, "-o", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--simulations", "0"], "--simulations: '0' is not a whole number of 1 or more"),
        (["--minutes", "-1"], "--minutes: '-1' is not a number above 0"),
        (["--minutes", "inf"], "--minutes: 'inf' is not a number above 0"),
        (["--together", "0"], "--together: '0' is not a whole number of 1 or more"),
        (["--jobs", "0"], "--jobs: '0' is not a whole number of 1 or more"),
        (["--search-seed", "-1"], "--search-seed: '-1' is not a whole number of 0 or more"),
    ],
)
def test_numbers_have_a_sense(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*WORDS, *words])
    assert said in capsys.readouterr().err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--simulations", "20", "--objective", "mean_jct", "-o", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "mean JCT, s: " in out
    assert "after 20 simulations" in out
    found = written(tmp_path)
    assert found["objective"] == "mean_jct"
    assert found["value"] == found["summary"]["mean_jct"] <= min(found["starts"].values())
