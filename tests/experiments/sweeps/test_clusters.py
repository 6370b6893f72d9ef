"""A real Dask cluster on loopback, one of whose workers is killed in mid-sweep; and what is refused, with stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pandas
import pytest

from experiments.inputs import run
from experiments.provenance import source_digest
from experiments.sweeps.executors import Here, opened
from experiments.sweeps.plan import points_of
from experiments.sweeps.store import Record, Store
from traces.errors import SlosimError

ROOT = Path(__file__).resolve().parents[3]
TABLE: dict[str, Any] = {"policies": ["vllm", "sarathi"], "seeds": 15, "trace": {"requests": 60, "rate": 1.0}}
PATIENCE = 120.0
"""Seconds until a test gives up."""


class Loopback(NamedTuple):
    """A cluster of three processes."""

    address: str
    workers: list[subprocess.Popen[bytes]]
    log: Path


def until(true: Callable[[], Any]) -> Any:
    """Waits for something; what it is."""
    limit = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return found


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started: list[subprocess.Popen[bytes]] = []
    log = tmp_path / "dask.log"

    def start(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
        with log.open("ab") as to:
            process = subprocess.Popen(command, stdout=to, stderr=to, env=environment, cwd=tmp_path)
        started.append(process)
        return process

    file = tmp_path / "scheduler.json"
    start("scheduler", "--port", "0", "--scheduler-file", str(file))

    def address() -> str | None:
        try:
            return str(json.loads(file.read_text())["address"])
        except (OSError, ValueError):
            return None

    found = until(address)
    yield Loopback(found, [start("worker", found, "--nthreads", "1", "--no-nanny") for _ in range(2)], log)
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_that_is_killed_in_mid_sweep_loses_nothing(loopback: Loopback, tmp_path: Path) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text('policies = ["vllm", "sarathi"]\nseeds = 15\n[trace]\nrequests = 60\nrate = 1.0\n')
    program = "import sys; from experiments.cli import main; sys.exit(main())"
    until(lambda: loopback.log.read_text().count("Starting established connection") >= 4)
    words = ["sweep", str(file), "-o", str(out), "--executor", f"dask:{loopback.address}"]
    running = subprocess.Popen(
        [sys.executable, "-c", program, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(list((out / "points").glob("*.json"))) >= 5 or running.poll() is not None)
    assert running.poll() is None, "still in the middle"
    finished = len(list((out / "points").glob("*.json")))
    os.kill(loopback.workers[0].pid, signal.SIGKILL)
    told, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, told + errors
    assert finished < 30
    frame = pandas.read_parquet(out / "points.parquet")
    assert len(frame) == 30
    assert set(frame["error"]) == {""}
    points, store = points_of(TABLE), Store(out / "points")
    assert all(isinstance(store.record(key), Record) for key in frame["key"])
    for point, key in (*list(zip(points, frame["key"], strict=True))[:2], (points[-1], frame["key"].iloc[-1])):
        record, here = store.record(key), run(point.scenario, point.policy).summary()
        assert record is not None
        del record.summary["mean_schedule_seconds"], here["mean_schedule_seconds"]
        assert record.summary == pytest.approx(here, nan_ok=True, rel=0, abs=0), "as in this process"


class Client:
    """Stands in for Dask's, connected to workers that say what their source is."""

    digests: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    error: Exception | None = None
    scheduler = SimpleNamespace(address="tcp://nowhere:1")

    def __init__(self, where: Any, timeout: float = 0.0) -> None:
        if isinstance(where, str) and "nowhere" not in where:
            raise OSError("timed out")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait_for_workers(self, number: int, timeout: float | None = None) -> None:
        if not self.threads:
            raise TimeoutError

    def nthreads(self) -> dict[str, int]:
        return dict(enumerate(self.threads))  # type: ignore[arg-type]

    def run(self, question: Callable[[], str]) -> dict[str, str]:
        assert question is source_digest
        if self.error:
            raise self.error
        return {f"worker-{number}": digest for number, digest in enumerate(self.digests)}

    def get_executor(self, pure: bool) -> Executor:
        assert not pure, "the same point asked for twice is run twice"
        return Here()


def stand_in(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    module = ModuleType("distributed")
    module.Client = type("Client", (Client,), facts)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", module)


def test_a_cluster_is_given_two_points_per_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, threads=(4, 8), digests=(source_digest(),) * 2)
    with opened("dask:tcp://nowhere:1") as cluster:
        assert (cluster.window, cluster.attempts) == (24, 1)
    with opened("dask:tcp://nowhere:1", 100) as cluster:
        assert cluster.window == 100


@pytest.mark.parametrize(
    ("address", "facts", "said"),
    [
        ("tcp://elsewhere:1", {}, "no scheduler answers there"),
        ("tcp://nowhere:1", {}, "it has no workers"),
        ("tcp://nowhere:1", {"threads": (1,), "digests": ("0" * 64,)}, "worker-0 has another slosim .source 00000000"),
        ("tcp://nowhere:1", {"threads": (1,), "error": ImportError("No module")}, "have no slosim: No module"),
    ],
)
def test_clusters_that_cannot_be_used(
    address: str, facts: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, **facts)
    with pytest.raises(SlosimError, match=said), opened(f"dask:{address}"):
        pass


def test_libraries_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SlosimError, match=r"needs distributed: pip install slosim\[cluster\]"), opened("dask:x"):
        pass
    stand_in(monkeypatch)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    file = tmp_path / "cluster.toml"
    file.write_text("cores = 4\nmemory = '8GB'\n")
    with pytest.raises(SlosimError, match="needs dask_jobqueue: pip install dask-jobqueue"), opened(f"slurm:{file}"):
        pass


def test_slurm_jobs_are_asked_for_as_the_file_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    class SLURMCluster:
        """Stands in for dask-jobqueue's."""

        def __init__(self, *, cores: int, memory: str, processes: int, queue: str = "") -> None:
            asked.append((cores, memory, processes, queue))

        def __enter__(self) -> SLURMCluster:
            return self

        def __exit__(self, *error: object) -> None:
            asked.append("ended")

        def scale(self, jobs: int) -> None:
            asked.append(jobs)

    module = ModuleType("dask_jobqueue")
    module.SLURMCluster = SLURMCluster  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dask_jobqueue", module)
    stand_in(monkeypatch, threads=(1,), digests=(source_digest(),))
    file = tmp_path / "cluster.toml"
    file.write_text("jobs = 3\ncores = 4\nmemory = '8GB'\nqueue = 'short'\n")
    with opened(f"slurm:{file}") as cluster:
        assert cluster.window == 24
        assert asked == [(4, "8GB", 4, "short"), 3]
    assert asked[-1] == "ended"
    file.write_text("cores = 4\nmemory = '8GB'\nquue = 'short'\n")
    with pytest.raises(SlosimError, match=r"does not take this: .*quue"), opened(f"slurm:{file}"):
        pass
    file.write_text("jobs = 3\n")
    with pytest.raises(SlosimError, match="say what a job takes"), opened(f"slurm:{file}"):
        pass
