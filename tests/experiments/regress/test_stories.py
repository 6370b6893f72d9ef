"""Golden stories: as written, and a change of any kind is found and named."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from experiments.cli import main
from experiments.regress import baseline
from experiments.regress.gate import Run, Runs
from experiments.regress.settings import policy_of, scenario_for
from experiments.regress.stories import CASES, GOLDEN, compare, known_policies, read, story
from sim.registry import BUILT_IN
from tests.experiments.conftest import mutated
from traces.errors import SlosimError

CASE = "overload"


def test_every_policy_has_its_stories() -> None:
    golden = read(GOLDEN)
    assert list(golden) == known_policies()
    assert {*BUILT_IN} - {*golden} == {"planned"}
    assert all(list(cases) == list(CASES) for cases in golden.values())


@pytest.mark.parametrize("policy", known_policies())
def test_a_story_is_as_written(policy: str) -> None:
    now = {policy: {CASE: story(policy, CASE)}}
    assert not list(compare(read(GOLDEN), now)), "if that is meant: make golden, and review the diff"


def test_any_change_is_found() -> None:
    golden = {"vllm": {CASE: story("vllm", CASE)}}
    other = {"vllm": {CASE: story("vllm,watermark=0.05", CASE)}}
    found = [str(each) for each in compare(golden, other)]
    assert len(found) == 1
    assert found[0].startswith(f"vllm, {CASE}: ")
    assert "preemptions" in found[0]
    near = json.loads(json.dumps(golden))
    near["vllm"][CASE]["end"] *= 1 + 1e-11
    assert not list(compare(golden, near))
    near["vllm"][CASE]["end"] *= 1 + 1e-7
    assert [each.what.split(" ")[0] for each in compare(golden, near)] == ["end"]
    near["vllm"][CASE] = golden["vllm"][CASE] | {"digest": "0"}
    assert [each.what.split(" ")[0] for each in compare(golden, near)] == ["digest"]
    assert [each.what for each in compare({}, golden)] == ["has no golden story; --update writes it"]


def test_stories_of_one_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.json"
    words = ["regress", "--stories", str(file), "--jobs", "1", "-p", "vllm"]
    assert main(words) == 2
    assert "holds no stories" in capsys.readouterr().err
    assert main([*words, "--update"]) == 0
    assert main(words) == 0
    assert f"all {len(CASES)} stories are as written in mine.json" in capsys.readouterr().out
    assert main([*words[:-1], "sarathi", "--update"]) == 0
    stories = read(file)
    assert list(stories) == ["vllm", "sarathi"]
    stories["vllm"][CASE]["preemptions"] += 1
    file.write_text(json.dumps(stories))
    assert main(words) == 1
    assert f"1 of {len(CASES)} stories changed" in capsys.readouterr().out


def test_files_of_stories_and_baselines_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    scenario, random = scenario_for({"trace.requests": 5, "rates": [1.0]}, 5, (1.0,)), Random(8)
    runs = Runs(scenario, policy_of("vllm"), known={(1.0, 0): Run({"goodput": 1.0, "p99_ttft": 2.0}, {"trace": "a"})})
    baseline.write(tmp_path / "whole.json", runs)
    assert baseline.read(tmp_path / "whole.json", scenario).known == runs.known
    whole, golden = json.loads((tmp_path / "whole.json").read_text()), {"vllm": json.loads(GOLDEN.read_text())["vllm"]}
    path, refused = tmp_path / "damaged.json", []

    def baseline_used() -> None:
        found = baseline.read(path, scenario)
        if (1.0, 0) in found.known:
            found.values("goodput", 1.0, [0])

    for _ in range(300):
        for content, use in ((whole, baseline_used), (golden, lambda: list(compare(read(path), golden)))):
            path.write_text(json.dumps(mutated(content, random)))
            try:
                use()
            except SlosimError as error:
                refused.append(str(error))
    assert 100 < len(refused) < 500
    assert not [words for words in refused if "\n" in words]
    for text in ("", "[]", "null", "7", "[" * 99_999, '{"a": 7}', '{"a": {"b": "digest"}}', "\x00"):
        path.write_text(text)
        for reads in (lambda: baseline.read(path, scenario), lambda: read(path)):
            with pytest.raises(SlosimError, match=r"is not a baseline|holds no stories"):
                reads()
