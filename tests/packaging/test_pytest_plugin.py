"""The pytest plugin in repositories of others: it breaks none, and its fixtures work where nothing is in their way."""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OWN_PACKAGES = """
import experiments, sim, traces
def test_own_packages():
    assert (experiments.WHOSE, sim.WHOSE, traces.WHOSE) == ("theirs", "theirs", "theirs")
"""
USES_FIXTURE = """
def test_simulated(simulate):
    simulate("vllm")
def test_gate(assert_no_regression):
    assert_no_regression("vllm", baseline="vllm")
"""
LOADED = """
import sys
def test_what_is_loaded(request):
    assert request.config.pluginmanager.has_plugin("slosim")
    assert not {"sim", "experiments", "numpy", "simpy", "traces"} & set(sys.modules)
"""
POLICY = "from sim.schedulers.vllm import Vllm\nclass Mine(Vllm):\n    pass\n"
WORKS = """
def test_it(simulate, assert_no_regression):
    small = {"trace.requests": 9, "rates": [1.0]}
    assert len(simulate("mine:Mine", **small)) == 9
    assert_no_regression("mine:Mine", baseline="vllm", max={"mean_jct": "+0%"}, seeds=2, most_seeds=2, **small)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder on the path that says what pip says of an installed slosim: the entry points of setup.cfg."""
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    facts = tmp_path / "site" / "slosim-9.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: slosim\nVersion: 9.0\n")
    (facts / "entry_points.txt").write_text(f"[pytest11]\n{settings['options.entry_points']['pytest11'].strip()}\n")
    return tmp_path / "site"


def suite(folder: Path, installed: Path, *words: str, **files: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a repository of such files, first on the path, where slosim is installed."""
    for name, text in files.items():
        path = folder / name.replace("__", "/", 1 if name.endswith("__init") else 0)
        path = path.with_name("__init__.py") if name.endswith("__init") else path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(installed), str(ROOT)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


THEIRS = {f"{name}__init": 'WHOSE = "theirs"\n' for name in ("experiments", "sim", "traces")}


def test_a_repository_with_packages_of_these_names_runs_its_tests(tmp_path: Path, installed: Path) -> None:
    done = suite(tmp_path / "repo", installed, **THEIRS, test_own=OWN_PACKAGES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", ["experiments", "sim", "traces", "costmodel"])
def test_a_fixture_says_in_one_line_what_shadows_what(name: str, tmp_path: Path, installed: Path) -> None:
    theirs = {f"{name}__init": "", "test_uses": USES_FIXTURE}
    done = suite(tmp_path / "repo", installed, "--tb=short", **theirs)
    assert done.returncode == 1, done.stdout + done.stderr
    told = [line for line in done.stdout.splitlines() if "come first on sys.path" in line]
    assert f"{name} ({tmp_path / 'repo' / name})" in told[0]
    assert str(ROOT) in told[0]
    assert "Traceback" not in done.stdout
    assert "2 error" in done.stdout


def test_a_fixture_of_the_same_name_is_theirs(tmp_path: Path, installed: Path) -> None:
    own = "import pytest\n@pytest.fixture\ndef simulate():\n    return 42\n"
    test = "def test_own(simulate):\n    assert simulate == 42\n"
    assert suite(tmp_path / "repo", installed, **THEIRS, conftest=own, test_own=test).returncode == 0


def test_nothing_is_imported_before_a_fixture_is_used(tmp_path: Path, installed: Path) -> None:
    done = suite(tmp_path / "repo", installed, "-p", "no:hypothesispytest", test_loaded=LOADED)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_fixtures_work_where_nothing_is_in_their_way(tmp_path: Path, installed: Path) -> None:
    done = suite(tmp_path / "repo", installed, mine=POLICY, test_it=WORKS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
