"""Workers: they end with their parent, one that dies costs only its own run, and low limits end in one line."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from experiments.pool import WorkersLost, name_of, reason, run_all, scarcity
from traces.errors import SlosimError


class Job(NamedTuple):
    """A run that notes that it was begun; like some, it has no hash."""

    title: str
    folder: Path = Path()
    rate: float | None = 0.5
    seed: int = 3
    parameters: dict[str, int] = {}  # noqa: RUF012

    def begun(self) -> int:
        """How often, this time included."""
        with open(self.folder / self.title, "a") as log:
            log.write("x")
        return (self.folder / self.title).stat().st_size


def dies(job: Job) -> str:
    """`always` takes its worker with it, `once` does so the first time."""
    if job.title == "always" or (job.title == "once" and job.begun() == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return job.title


def wants_all_memory(job: Job) -> str:
    raise MemoryError


def wants_all_files(job: Job) -> str:
    raise OSError(errno.EMFILE, "Too many open files")


def sleeps(job: Job) -> str:
    """Says which process it is, and stays."""
    (job.folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)
    return ""


def test_a_worker_that_dies_costs_its_own_run_only(tmp_path: Path) -> None:
    found = []

    def collect() -> None:
        for task, result in run_all(dies, [Job(name, tmp_path) for name in ("a", "always", "once", "b")], 2):
            found.append((task.title, result))

    with pytest.raises(WorkersLost, match=r"always, 0.5 requests/s, seed 3: its worker process died twice") as lost:
        collect()
    assert sorted(found) == [(name, name) for name in ("a", "b", "once")]
    assert [task.title for task in lost.value.tasks] == ["always"]
    assert (tmp_path / "once").read_text() == "xx"


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("work", "told"), [(wants_all_memory, "out of memory"), (wants_all_files, "ulimit -n")])
def test_a_want_of_memory_or_files_names_the_run(work: Callable[[Job], str], told: str, jobs: int) -> None:
    with pytest.raises(SlosimError, match=rf"^vllm, 0.5 requests/s, seed 3: .*{told}.*--jobs"):
        list(run_all(work, [Job("vllm"), Job("vllm")], jobs))


def test_names_and_reasons() -> None:
    assert name_of(("vllm", "overload")) == "vllm, overload"
    assert name_of(Job("x", rate=None)) == "x, seed 3"
    assert reason(SlosimError("as it stands")) == "as it stands"
    assert reason(KeyError("k")) == "KeyError: 'k'"
    assert "ulimit -u" in scarcity(RuntimeError("can't start new thread"))
    assert "out of memory" in scarcity(ImportError("libarrow.so: failed to map segment from shared object"))
    assert scarcity(OSError(errno.ENOENT, "no such file")) == ""
    assert scarcity(ValueError("no")) == ""


PARENT = """
import sys
from pathlib import Path
from experiments.pool import run_all
from experiments.sweeps.driver import drive
from experiments.sweeps.executors import opened
from tests.experiments.test_pool import Job, sleeps
folder, way = Path(sys.argv[1]), sys.argv[2]
jobs = [Job(name, folder) for name in "abc"]
if way == "run_all":
    list(run_all(sleeps, jobs, 2))
else:
    from experiments.pool import workers
    with workers(2) as executor:
        list(executor.map(sleeps, jobs))
"""


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text() if sys.platform == "linux" else ""
        os.kill(process, 0)
    except (OSError, ProcessLookupError):
        return False
    return " Z " not in status


def children(process: int) -> list[int]:
    """All processes below one, as far as this system reports them."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {process}
    while more := {pid for pid, parent in pairs if parent in found} - found:
        found |= more
    return sorted(found - {process})


@pytest.mark.parametrize("way", ["run_all", "workers"])
def test_workers_end_when_their_parent_is_killed(way: str, root: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), way], env=environment, cwd=root)
    try:
        began = time.monotonic()
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() - began < 60:
            time.sleep(0.05)
        below = children(parent.pid)
        begun = {int(path.stem) for path in tmp_path.glob("*.pid")}
        assert len(begun) == 2
        assert begun < set(below)
        parent.kill()
        parent.wait()
        killed = time.monotonic()
        while any(map(alive, below)) and time.monotonic() - killed < 10:
            time.sleep(0.05)
        assert [process for process in below if alive(process)] == []
    finally:
        parent.kill()
        for process in below:
            if alive(process):
                os.kill(process, signal.SIGKILL)


def limited(root: Path, limit: int, size: int, *words: str) -> subprocess.CompletedProcess[str]:
    """The command under a limit of the system."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", *words],
        env=os.environ | {"PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(limit, (size, size)),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits as on Linux")
@pytest.mark.parametrize("files", [9, 14, 20])
def test_few_files_end_in_one_line(files: int, root: Path, tmp_path: Path) -> None:
    words = ["compare", "-p", "vllm", "-p", "sarathi", "--requests", "5", "--rate", "1", "--jobs", "2"]
    done = limited(root, resource.RLIMIT_NOFILE, files, *words, "-o", str(tmp_path / "out"))
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "ulimit -n" in done.stderr + done.stdout
