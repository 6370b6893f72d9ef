"""The name of a point: everything that it depends on is in it, and nothing else."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import invalidate_caches
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from costmodel import profile
from experiments.provenance import PACKAGES, ROOT
from experiments.scenario import Scenario
from experiments.sweeps import digests, source
from experiments.sweeps.digests import key_of
from experiments.sweeps.source import run_files, versions

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


KEY = """
import sys
from experiments.scenario import Scenario
from experiments.sweeps.digests import key_of
asked = Scenario(trace={"requests": 5, "rate": 1.0}, policies=[sys.argv[1]])
print(key_of(asked), *sorted(name for name in sys.modules if name.startswith("their")))
"""


def key_in(folder: Path, policy: str = "their_policy:Mine", program: str = KEY, site: Path | None = None) -> str:
    """The key of a run in a new process whose path holds a folder, and a place where packages are installed."""
    path = os.pathsep.join(map(str, [ROOT, folder, *([site] if site else [])]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", program, policy]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


MINE = "from sim.schedulers.vllm import Vllm\n{}\nclass Mine(Vllm):\n    pass\n"
HELPERS = {
    "a module beside it": ("import their_helper", "their_helper.py"),
    "a module of a module": ("import their_middle", "their_helper.py"),
    "a name from a module": ("from their_helper import *", "their_helper.py"),
    "a module in a function": ("def f():\n    import their_helper", "their_helper.py"),
    "a module named by a text": ("import importlib\nimportlib.import_module('their_helper')", "their_helper.py"),
    "a module of a package": ("import their_package.part", "their_package/part.py"),
    "the package of a module": ("from their_package import part", "their_package/__init__.py"),
    "a module of a folder": ("from their_folder import part", "their_folder/part.py"),
    "what a package imports from itself": ("import their_package.part", "their_package/within.py"),
}


@pytest.mark.parametrize("case", HELPERS)
def test_a_policy_is_known_by_the_modules_that_it_imports(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is imported, so that one process can look again and again."""
    monkeypatch.syspath_prepend(tmp_path)
    line, file = HELPERS[case]

    def known() -> str:
        for cached in (digests._policy_digest, source.policy_sources, source._spec):
            cached.cache_clear()
        invalidate_caches()
        return digests._policy_digest("their_policy:Mine")

    others = {
        "their_policy.py": MINE.format(line),
        "their_middle.py": "try:\n    import their_helper as helper\nexcept ImportError:\n    helper = None\n",
        "their_helper.py": "SIZE = 7\nimport their_middle  # each imports the other\n",
        "their_package/__init__.py": "",
        "their_package/part.py": "from . import within\nfrom .within import SIZE\n",
        "their_package/within.py": "SIZE = 7\n",
        "their_folder/part.py": "SIZE = 7\n",
        "unrelated.py": "SIZE = 7\n",
    }
    for name, text in others.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = known()
    changed(tmp_path / "unrelated.py", "SIZE = 8\n")
    assert known() == before
    changed(tmp_path / file, others[file] + "SIZE = 8\n")
    assert known() != before
    assert not {name for name in sys.modules if name.startswith("their_") and not name.startswith("their_policies")}


def test_a_policy_in_a_folder_without_init_is_known_by_its_source(tmp_path: Path) -> None:
    (tmp_path / "their_folder").mkdir()
    path = tmp_path / "their_folder" / "policy.py"
    path.write_text(MINE.format(""))
    before = key_in(tmp_path, "their_folder.policy:Mine")
    changed(path, MINE.format("# another"))
    assert key_in(tmp_path, "their_folder.policy:Mine") != before


def test_an_editable_install_is_one_s_own_and_a_library_counts_with_its_version(tmp_path: Path) -> None:
    """As pip writes them: a .pth line that leads to the source, and packages with their metadata."""
    own, site = tmp_path / "checkout", tmp_path / "lib" / "site-packages"
    for folder in (own, site, site / "their_library-1.0.dist-info"):
        folder.mkdir(parents=True)
    (site / "their_library.py").write_text("SIZE = 7\n")
    facts = site / "their_library-1.0.dist-info"
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-library\nVersion: 1.0\n")
    (facts / "top_level.txt").write_text("their_library\n")
    (site / "editable.pth").write_text(f"{own}\n")
    (own / "their_helper.py").write_text("import their_library\n")
    (tmp_path / "their_policy.py").write_text(MINE.format("import their_helper"))
    program = f"import site; site.addsitedir({str(site)!r})\n{KEY}"
    before = key_in(tmp_path, program=program)
    changed(own / "their_helper.py", "import their_library\nSIZE = 8\n")
    edited = key_in(tmp_path, program=program)
    assert edited != before
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-library\nVersion: 2.0\n")
    assert key_in(tmp_path, program=program) != edited


def test_the_python_and_the_libraries_count(monkeypatch: pytest.MonkeyPatch) -> None:
    told = versions()
    assert platform.python_version() in told
    assert all(f"{name} {version(name)}" in told for name in ("numpy", "scipy", "simpy"))
    before = key_of(scenario())
    monkeypatch.setattr(digests, "versions", lambda: told.replace("numpy ", "numpy 9"))
    assert key_of(scenario()) != before
