"""A policy in a package of its own, installed as pip does it, is there by its short name, also in worker processes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICY = '''
from dataclasses import dataclass
from sim.scheduler import Scheduler

@dataclass(frozen=True)
class Newest(Scheduler):
    """Decodes first, then the newest prompt."""

    token_budget: int = 512

    def priority(self, request):
        return -request.arrived_at

    def schedule(self, server):
        batch = server.new_batch(self.token_budget)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            if not batch.admit(request):
                break
        return batch


class Undocumented(Newest):
    pass
'''


def wheel(folder: Path, name: str, policies: Mapping[str, str], modules: Mapping[str, str]) -> Path:
    """A built distribution with entry points, as any build tool makes it."""
    facts = f"{name}-1.0.dist-info"
    members = {f"{module}.py": text for module, text in modules.items()} | {
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{facts}/entry_points.txt": "\n".join(
            ["[slosim.schedulers]", *(f"{policy} = {path}" for policy, path in policies.items()), ""]
        ),
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
        archive.writestr(f"{facts}/RECORD", "".join(f"{member},,\n" for member in [*members, f"{facts}/RECORD"]))
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which two packages were installed: one that works, and one that does not."""
    folder = tmp_path_factory.mktemp("packages")
    whole = wheel(
        folder,
        "newest_first",
        {"newest": "newest_first:Newest", "undocumented": "newest_first:Undocumented"},
        {"newest_first": POLICY},
    )
    broken = wheel(
        folder,
        "broken_policies",
        {"moved": "moved_away:Policy", "renamed": "broken_policies:Gone", "raising": "raising:Policy"},
        {"broken_policies": "", "raising": "raise RuntimeError('needs a GPU')"},
    )
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--target", str(site), str(whole), str(broken)], check=True)
    return site


def slosim(site: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command where those packages are installed, too."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-m", "experiments.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_list_names_it_and_says_which_cannot_be_loaded(site: Path, tmp_path: Path) -> None:
    listed = slosim(site, tmp_path, "list", "policies")
    assert listed.returncode == 0, listed.stderr
    lines = {line.split()[0]: line for line in listed.stdout.splitlines() if line.split()}
    assert lines["newest"].endswith("Decodes first, then the newest prompt.")
    assert "token_budget=512" in listed.stdout
    assert "newest_first:Undocumented" in lines["undocumented"]
    assert {"vllm", "sarathi", "accelgen"} <= lines.keys()
    assert "cannot be loaded from moved_away:Policy: No module named 'moved_away'" in lines["moved"]
    assert "cannot be loaded from broken_policies:Gone" in lines["renamed"]
    assert "cannot be loaded from raising:Policy: needs a GPU" in lines["raising"]


def test_it_is_checked_and_run_by_name(site: Path, tmp_path: Path) -> None:
    checked = slosim(site, tmp_path, "check", "newest")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("Newest(token_budget=512) keeps all rules")
    ran = slosim(site, tmp_path, "run", "newest,token_budget=64", "--requests", "5", "-o", "out")
    assert ran.returncode == 0, ran.stderr
    assert "Newest(token_budget=64)" in (tmp_path / "out" / "summary.json").read_text()


def test_it_is_compared_in_worker_processes(site: Path, tmp_path: Path) -> None:
    words = ["compare", "-p", "newest", "-p", "vllm", "--requests", "8", "--rate", "1", "--jobs", "2", "-o", "out"]
    compared = slosim(site, tmp_path, *words)
    assert compared.returncode == 0, compared.stderr
    assert "2 runs on 2 cores" in compared.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "runs.csv").read_text().splitlines()))
    assert [row["policy"] for row in rows] == ["newest", "vllm"]
    assert float(rows[0]["mean_ttft"]) != float(rows[1]["mean_ttft"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("moved", "scheduler 'moved' (moved_away:Policy): No module named 'moved_away'"),
        ("renamed", "scheduler 'renamed' (broken_policies:Gone): module 'broken_policies' has no attribute 'Gone'"),
    ],
)
def test_a_broken_one_is_told_in_one_line(site: Path, tmp_path: Path, name: str, words: str) -> None:
    for command in (["check", name], ["compare", "-p", "vllm", "-p", name]):
        failed = slosim(site, tmp_path, *command)
        assert failed.returncode == 2
        assert words in failed.stderr
        assert failed.stderr.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_slip_of_the_pen_is_told_what_is_meant(site: Path, tmp_path: Path) -> None:
    assert "did you mean 'newest'?" in slosim(site, tmp_path, "run", "newst").stderr
