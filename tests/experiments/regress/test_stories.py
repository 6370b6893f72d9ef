"""Golden stories: as written, and a change of any kind is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.regress.stories import CASES, GOLDEN, compare, known_policies, read, story
from sim.registry import BUILT_IN

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
