"""The name of a point: everything that it depends on is in it, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from costmodel import profile
from experiments.provenance import PACKAGES, ROOT
from experiments.scenario import Scenario
from experiments.sweeps import digests
from experiments.sweeps.digests import key_of
from experiments.sweeps.source import run_files

ROWS = "arrived_at,prompt_tokens,output_tokens\n0,100,5\n1,50,4\n"


def scenario(**changes: Any) -> Scenario:
    return Scenario(**{"trace": {"requests": 5, "rate": 1.0}, "policies": ["vllm"], **changes})


def test_the_same_run_has_the_same_name() -> None:
    assert key_of(scenario()) == key_of(scenario())
    assert len(key_of(scenario())) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"policies": ["sarathi"]},
        {"policies": ["vllm,max_num_seqs=9"]},
        {"trace": {"requests": 5, "rate": 1.0, "seed": 1}},
        {"trace": {"requests": 5, "rate": 2.0}},
        {"cache": {"kv_blocks": 9}},
        {"profile": "opt-13b@a100-80gb"},
        {"predictor": "perfect"},
    ],
)
def test_another_setting_is_another_name(changes: dict[str, Any]) -> None:
    assert key_of(scenario(**changes)) != key_of(scenario())


def test_another_source_is_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(scenario())
    monkeypatch.setattr(digests, "run_digest", lambda: "other")
    assert key_of(scenario()) != before


RUN = """
import json, sys
from experiments.scenario import Scenario
from experiments.sweeps.digests import key_of
from experiments.sweeps.work import Task, run_point
asked = Scenario(trace={"requests": 5}, policies=["accelgen"]).at(0.5, 0)
if run_point(Task(asked, key_of(asked))).failed:
    sys.exit("it failed")
print(json.dumps([module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]))
"""


def test_the_source_of_a_run_is_all_that_it_imports_and_no_more() -> None:
    told = subprocess.run([sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {ROOT / package for package in PACKAGES}
    used = {path for path in map(Path, json.loads(told.stdout)) if folders & set(path.parents)}
    assert len(used) > 80
    assert used <= set(run_files())
    for telling in (
        "experiments/figures/figure.py",
        "experiments/drawing.py",
        "experiments/cli.py",
        "calibrate/grid.py",
    ):
        assert (ROOT / telling).is_file()
        assert ROOT / telling not in run_files()


def changed(path: Path, text: str) -> None:
    """Writes a file and makes sure that its time says so."""
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def test_a_trace_file_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ROWS)
    asked = scenario(trace={"source": str(path)})
    before = key_of(asked)
    changed(path, ROWS)
    assert key_of(asked) == before, "only its time is another"
    changed(path, ROWS.replace("100", "101"))
    assert key_of(asked) != before, "as long as before"


def test_so_are_a_folder_of_traces_lengths_and_a_plan(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    plan, lengths = tmp_path / "plan.json", tmp_path / "lengths.csv"
    for path in (folder / "a.csv", plan, lengths):
        path.write_text(ROWS)
    cases = {
        folder / "a.csv": scenario(trace={"source": str(folder)}),
        lengths: scenario(trace={"sources": {"alpaca": str(lengths)}}),
        plan: scenario().model_copy(
            update={"policies": (scenario().policies[0].model_copy(update={"parameters": {"plan": str(plan)}}),)}
        ),
    }
    for path, asked in cases.items():
        before = key_of(asked)
        changed(path, ROWS + "2,7,7\n")
        assert key_of(asked) != before, path


def test_a_profile_is_known_by_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.json"
    shipped = Path(digests.__file__).parents[2] / "costmodel" / "profiles" / "opt-13b@a100-80gb-vllm.json"
    path.write_text(shipped.read_text())
    asked = scenario(profile=str(path))
    before = key_of(asked)
    changed(path, shipped.read_text() + "\n")
    assert key_of(asked) != before
    before = key_of(scenario())
    digests._profile_digest.cache_clear()
    monkeypatch.setattr(digests, "profile", lambda name: profile("opt-13b@a100-80gb"))
    assert key_of(scenario()) != before
    digests._profile_digest.cache_clear()


def test_a_policy_of_ones_own_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_policies"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rules.py").write_text("BUDGET = 7\n")
    (package / "mine.py").write_text("from sim.schedulers.vllm import Vllm as Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    asked = scenario(policies=["their_policies.mine:Mine"])
    before = key_of(asked)
    digests._policy_digest.cache_clear()
    assert key_of(asked) == before
    digests._policy_digest.cache_clear()
    changed(package / "rules.py", "BUDGET = 8\n")
    assert key_of(asked) != before, "a module that the policy may import"
    digests._policy_digest.cache_clear()
