"""Studies: grids that resume, differences paired by seed, tables and verdicts; the command."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.cli import main
from experiments.inputs import run
from experiments.replications import Interval
from experiments.studies import STUDIES, study_of
from experiments.studies.findings import Findings, Place, said
from experiments.studies.report import csv_text, markdown, text
from experiments.studies.running import Studying
from experiments.studies.study import SMALL, Setting, Study, Variant
from experiments.studies.verdicts import lowest_and_highest, what_moves, who_wins, wins
from experiments.sweeps import digests, running
from experiments.sweeps.work import Answer, Task, run_point
from traces.errors import SlosimError

HERE = Setting("here", "made up", {}, (1.0, 2.0))
METRICS = ("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests", "mean_jct")


def made_up(**variants: list[dict[str, float]]) -> Findings:
    """Findings of variants a, b, ...: at 1/s as the baseline, at 2/s as given, by seed, beside the baseline's 100s."""
    level = dict.fromkeys(METRICS, 100.0) | {"slo_attainment_tokens": 0.5, "slo_attainment_requests": 0.5}
    titles = {"base": [{}, {}, {}], **variants}
    asked = Study("made-up", "Why?", tuple(map(Variant, titles)), who_wins, (HERE,), 10, 3, metrics=METRICS)
    runs = {}
    for title, changes in titles.items():
        noise = [1.0, 2.0, 4.0]  # the same for all: differences are paired
        for rate in HERE.rates:
            runs[Place("here", rate, title)] = [
                {name: value + each + (change.get(name, 0.0) if rate == 2.0 else 0.0) for name, value in level.items()}
                for each, change in zip(noise, changes, strict=True)
            ]
    return Findings(asked, runs)


def alike(**changes: float) -> list[dict[str, float]]:
    """The same change, but for a little, with each of three seeds."""
    return [{name: value * spread for name, value in changes.items()} for spread in (0.99, 1.0, 1.01)]


def test_differences_are_paired_and_in_the_metrics_own_unit() -> None:
    findings = made_up(a=alike(goodput=10.0, slo_attainment_tokens=-0.1))
    goodput = findings.change(HERE, 2.0, Variant("a"), "goodput")
    base = 100 + 7 / 3
    assert goodput.mean == pytest.approx(100 * 10 / base)
    assert goodput.half == pytest.approx(4.303 * 100 * 0.1 / base / 3**0.5, rel=1e-3)
    assert findings.change(HERE, 2.0, Variant("a"), "slo_attainment_tokens").mean == pytest.approx(-10.0)
    assert findings.change(HERE, 1.0, Variant("a"), "goodput") == Interval(0.0, 0.0)
    assert findings.level(HERE, 1.0, Variant("base"), "goodput").mean == pytest.approx(base)


def test_who_wins_gains_goodput_and_loses_nothing() -> None:
    findings = made_up(
        better=alike(goodput=10.0, mean_jct=50.0),
        bought=alike(goodput=10.0, slo_attainment_requests=-0.2),
        slower=alike(request_goodput=-30.0),
        same=alike(),
        noisy=[{"goodput": -90.0}, {"goodput": 5.0}, {"goodput": 100.0}],
        attains=alike(slo_attainment_tokens=0.2),
    )
    verdicts = {variant.title: wins(findings, variant) for variant in findings.study.variants[1:]}
    assert verdicts == dict.fromkeys(verdicts, False) | {"better": True}
    told = who_wins(findings)
    assert "`better` beats it on goodput and loses nothing: goodput, tokens/s +9.8 ± 0.2 % (here, 2/s);" in told
    assert "`bought` gains goodput, tokens/s +9.8 ± 0.2 % (here, 2/s), but loses requests in all SLOs -20.0" in told
    assert "`slower` only loses: goodput, requests/s -29.3 ± 0.7 % (here, 2/s)" in told
    assert "`same`: no difference; `noisy`: no difference; `attains` gains tokens in SLO +20.0" in told


def test_what_moves_and_what_does_not() -> None:
    findings = made_up(a=alike(goodput=3.0), b=alike(goodput=0.5), c=alike(goodput=-30.0, slo_attainment_tokens=0.4))
    told = what_moves(findings)
    assert told.index("`c`: tokens in SLO +40.0") < told.index("goodput, tokens/s -29.3") < told.index("`a`: goodput")
    assert told.endswith("Nowhere: `b`."), "half a per cent is a trifle"
    assert "at most: nothing." in what_moves(made_up(a=alike()))


def test_the_summary_has_the_most_either_way() -> None:
    findings = made_up(a=alike(goodput=-30.0), b=alike(goodput=0.5))
    for each in findings.runs[Place("here", 1.0, "a")]:
        each["goodput"] += 20
    assert lowest_and_highest(findings, Variant("a"), "goodput") == "-29.3 ± 0.7 (here, 2/s); +19.5 ± 0.0 (here, 1/s)"
    lines = markdown(findings).splitlines()
    assert "| `a` | -29.3 ± 0.7 (here, 2/s); +19.5 ± 0.0 (here, 1/s) | – | – | – | – |" in lines
    assert "| `b` | – | – | – | – | – |" in lines, "half a per cent is a trifle"


def test_a_handful_of_requests_says_nothing() -> None:
    findings = made_up(a=alike(request_goodput=30.0))
    assert lowest_and_highest(findings, Variant("a"), "request_goodput").startswith("+29.3")
    for runs in findings.runs.values():
        for each in runs:
            each["slo_attainment_requests"] = 0.019
    assert lowest_and_highest(findings, Variant("a"), "request_goodput") == "–"
    findings.runs[Place("here", 2.0, "a")][0]["slo_attainment_requests"] = 0.03
    assert lowest_and_highest(findings, Variant("a"), "request_goodput").startswith("+29.3"), "one of both has more"


def test_tables() -> None:
    findings = made_up(a=alike(goodput=10.0))
    lines = markdown(findings).splitlines()
    assert lines[0] == "# Why?"
    assert "| | here, 1/s | here, 2/s |".replace("| |", "|  |") in lines
    assert "**goodput, tokens/s; differences in %**" in lines
    assert "| `base (level)` | 102.3 | 102.3 |" in lines
    assert "| `a` | +0.0 ± 0.0 | +9.8 ± 0.2* |" in lines
    assert "a             +0.0 ± 0.0  +9.8 ± 0.2*" in text(findings)
    rows = list(csv.DictReader(StringIO(csv_text(findings))))
    assert len(rows) == 2 * 2 * 3
    assert rows[3]["rate"] == "2"
    assert [row["goodput"] for row in rows if (row["variant"], row["rate"]) == ("a", "2")] == [
        "110.9",
        "112.0",
        "114.1",
    ]
    assert said(Interval(-1.25, float("inf"))) == "-1.2"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_whole(name: str) -> None:
    """Its policies, predictors and settings exist, no run is named twice, and five seeds or more bear its intervals."""
    asked = study_of(name)
    assert asked.name == name
    points = list(asked.points())
    assert len(points) == len(asked.variants) * asked.seeds * sum(len(setting.rates) for setting in asked.settings)
    assert len({(Place.of(point), point.seed) for point in points}) == len(points)
    assert len({point.scenario for point in points}) == len(points)
    assert asked.seeds >= 5
    assert asked.verdict in (what_moves, who_wins)


def test_the_own_scheduler_is_judged_on_seeds_of_its_own() -> None:
    chosen_on = range(500, 503)
    own = study_of("own")
    judged_on = range(own.first_seed, own.first_seed + own.seeds)
    assert not set(judged_on) & set(chosen_on)
    assert all(
        not set(judged_on) & set(range(s.first_seed, s.first_seed + s.seeds))
        for s in map(study_of, set(STUDIES) - {"own"})
    )


def little(**changes: Any) -> Study:
    asked = Study("little", "?", (Variant("vllm"), Variant("accelgen")), who_wins, (SMALL,), 8, 2)
    return replace(asked, settings=(SMALL._replace(rates=(2.0,)),), **changes)


def titles(ran: list[Task]) -> list[str]:
    return sorted(f"{task.scenario.policies[0].title} {task.scenario.trace.seed}" for task in ran)


def test_finished_runs_are_not_run_again(tmp_path: Path, ran: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    studying = Studying(tmp_path, Console(file=StringIO(), width=200), "serial")
    first = studying.run(little())
    assert titles(ran) == ["accelgen 0", "accelgen 1", "vllm 0", "vllm 1"]
    ran.clear()
    again = studying.run(little())
    assert not ran
    assert {key: runs[0]["goodput"] for key, runs in again.runs.items()} == {
        key: runs[0]["goodput"] for key, runs in first.runs.items()
    }
    studying.run(little(seeds=3))
    assert titles(ran) == ["accelgen 2", "vllm 2"]
    ran.clear()
    studying.run(little(requests=9))
    assert len(ran) == 4, "another scenario"
    ran.clear()
    monkeypatch.setattr(digests, "run_digest", lambda: "other")
    studying.run(little(requests=9))
    assert len(ran) == 4, "another source"


def test_the_runs_are_those_of_the_scenario(tmp_path: Path) -> None:
    findings = Studying(tmp_path, Console(file=StringIO()), "serial").run(little(seeds=2))
    for point in little(seeds=2).points():
        found = findings.runs[Place("12GB", 2.0, point.policy.title)][point.seed]
        assert found["goodput"] == run(point.scenario, point.policy).summary()["goodput"]


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(task: Task) -> Answer:
        if task.scenario.trace.seed == 1:
            raise KeyboardInterrupt
        return run_point(task)

    told = StringIO()
    monkeypatch.setattr(running, "run_point", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Studying(tmp_path, Console(file=told), "serial").run(little())
    assert "goes on from here" in told.getvalue()
    monkeypatch.setattr(running, "run_point", run_point)
    Studying(tmp_path, Console(file=told, width=200), "serial").run(little())
    assert "4 runs, 2 of them finished before" in told.getvalue()


def test_runs_that_fail_are_told_after_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_sometimes(task: Task) -> Answer:
        if task.scenario.trace.seed == 1:
            return Answer(f'{{"key": "{task.key}", "error": "no such luck"}}', failed=True)
        return run_point(task)

    monkeypatch.setattr(running, "run_point", fails_sometimes)
    with pytest.raises(SlosimError, match=r"2 of 4 runs failed, such as setting=12GB, .*: no such luck"):
        Studying(tmp_path, Console(file=StringIO()), "serial").run(little())
    assert len(list((tmp_path / "points").iterdir())) == 4


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in STUDIES)
    words = [
        "study",
        "chunking",
        "--quick",
        "--seeds",
        "1",
        "--requests",
        "20",
        "--executor",
        "serial",
        "-o",
        str(tmp_path),
    ]
    assert main(words) == 0
    assert {path.name for path in (tmp_path / "chunking").iterdir()} == {"table.txt", "table.md", "table.csv"}
    assert "Beside `accelgen`" in capsys.readouterr().out
    assert main(["study", "sensitivty"]) == 2
    assert "did you mean 'sensitivity'?" in capsys.readouterr().err
    with pytest.raises(SlosimError, match="there are ablation"):
        study_of("zzz")
