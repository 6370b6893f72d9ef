"""Tasks through executors: a few at a time, again after a lost worker, and none forgotten."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments.sweeps.driver import Cluster, Lost, drive
from experiments.sweeps.executors import Here, opened
from tests.experiments.sweeps import labour
from tests.experiments.sweeps.labour import Job, double, ran
from traces.errors import SlosimError


def jobs(number: int, folder: Path = Path()) -> deque[Job]:
    return deque(Job(str(each), folder) for each in range(number))


class Counting(Executor):
    """Runs at once, but hands back when it is told to; counts what is under way."""

    def __init__(self) -> None:
        self.flying: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.most = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.flying.append((future, work, arguments))
        self.most = max(self.most, len(self.flying))
        if len(self.flying) == 3:
            self.one()
        return future

    def one(self) -> None:
        future, work, arguments = self.flying.pop()
        future.set_result(work(*arguments))


def test_no_more_are_under_way_than_the_window_and_none_is_forgotten() -> None:
    executor = Counting()
    done = []
    for task, result in drive(Cluster(executor, 3), double, jobs(7)):
        done.append((task.key, result))
        if executor.flying:
            executor.one()
    assert sorted(done) == [(str(each), str(each) * 2) for each in range(7)]
    assert executor.most == 3


def test_more_tasks_may_come_meanwhile() -> None:
    queue = jobs(1)
    seen = []
    for task, _ in drive(Cluster(Here(), 1), double, queue):
        seen.append(task.key)
        if len(seen) < 4:
            queue.append(Job(task.key + "x"))
    assert seen == ["0", "0x", "0xx", "0xxx"]


def test_leaving_calls_off_what_has_not_begun() -> None:
    executor = Counting()
    with closing(drive(Cluster(executor, 3), double, jobs(7))) as driven:
        next(driven)
    assert len(executor.flying) == 2
    assert all(future.cancelled() for future, _, _ in executor.flying)


def test_a_dead_worker_costs_only_its_own_task(tmp_path: Path) -> None:
    """SIGKILL in mid-sweep: every other task is run exactly once; one that kills each time is given up."""
    with opened("local:2") as cluster:
        assert cluster.attempts == 3
        again: list[tuple[Job, str]] = []
        found = dict(drive(cluster._replace(attempts=2), ran, jobs(8, tmp_path), lambda *told: again.append(told)))
    answers = {task.key: result for task, result in found.items()}
    lost = answers.pop("5")
    assert answers == {key: key for key in "0123467"}
    assert isinstance(lost, Lost)
    assert "its worker was lost 2 times: BrokenProcessPool" in lost.why
    begun = Counter((tmp_path / "log").read_text().split())
    assert sorted(job.key for job, _ in again) == ["3", "5"]
    assert all("BrokenProcessPool" in why for _, why in again)
    assert begun == Counter("01234567") + Counter({"3": 1, "5": 1})


def test_an_idle_worker_that_dies_costs_nothing(tmp_path: Path) -> None:
    with opened("local:1") as cluster:
        first = cluster.executor.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        time.sleep(0.3)
        assert cluster.executor.submit(os.getpid).result() != first


def test_an_executor_of_ones_own_is_made_anew_when_it_breaks(tmp_path: Path) -> None:
    with opened(f"{labour.__name__}:processes", 2) as cluster:
        assert cluster.window == 2
        found = {task.key: result for task, result in drive(cluster, ran, jobs(5, tmp_path))}
    assert found == {key: key for key in "01234"}


class Unreachable(Here):
    """Loses everything, or calls everything off."""

    def __init__(self, calls_off: bool) -> None:
        self.calls_off = calls_off
        self.tried = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.tried += 1
        future: Future[Any] = Future()
        if self.calls_off:
            future.cancel()
            future.set_running_or_notify_cancel()  # as an executor does
        else:
            future.set_exception(ConnectionError("gone"))
        return future


def test_errors_on_the_way_are_tried_again_and_then_told() -> None:
    executor = Unreachable(calls_off=False)
    [(_, lost)] = drive(Cluster(executor, 1, attempts=2), double, jobs(1))
    assert lost == Lost("its worker was lost 2 times: ConnectionError: gone")
    assert executor.tried == 2


def test_an_executor_that_gives_up_ends_the_sweep_at_once() -> None:
    executor = Unreachable(calls_off=True)
    with pytest.raises(SlosimError, match="What is finished is kept"):
        list(drive(Cluster(executor, 1), double, jobs(5)))
    assert executor.tried == 1


def test_threads_and_this_process() -> None:
    for spec in (f"{labour.__name__}:threads", "serial"):
        with opened(spec) as cluster:
            assert len(list(drive(cluster, double, jobs(5)))) == 5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("locl", "there is no such; write local"),
        ("local:many", "write local:N"),
        ("local:0", "write local:N"),
        ("no_such_module:executor", "No module named"),
        (f"{labour.__name__}:missing", "no attribute 'missing'"),
        (f"{labour.__name__}:signal", "cannot be called"),
        (f"{labour.__name__}:no_executor", "'none' is no concurrent.futures.Executor"),
    ],
)
def test_executors_that_there_are_not(spec: str, said: str) -> None:
    with pytest.raises(SlosimError, match=said), opened(spec):
        pass


def test_an_error_in_this_process_is_a_future_s_and_an_interrupt_is_not() -> None:
    def fails() -> None:
        raise ValueError("no")

    def stops() -> None:
        raise KeyboardInterrupt

    assert isinstance(Here().submit(fails).exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        Here().submit(stops)
