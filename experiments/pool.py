"""Many runs on several cores, every worker a process that ends with its parent.

An interrupt stops them and leaves what is finished. A worker that dies costs only its own run, and that is tried once
more when all others are done, alone, since most that die ran out of memory together.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sim.patience import VARIABLE, limit_of_runs, patience
from traces.errors import SlosimError

Task = TypeVar("Task")
Result = TypeVar("Result")

SCARCE = {
    errno.EMFILE: "too many open files: raise the limit (ulimit -n), or use fewer --jobs",
    errno.ENFILE: "too many open files in the whole system: close some, or use fewer --jobs",
    errno.ENOMEM: "out of memory: use fewer --jobs or fewer --requests",
    errno.EAGAIN: "no more processes or threads are allowed: raise the limit (ulimit -u), or use fewer --jobs",
}
"""Errors of a system at its limits, and what helps."""
DIED = "its worker process died twice, probably killed for want of memory: use fewer --jobs or fewer --requests"
NO_ROOM = ("failed to map segment", "annot allocate memory")
"""What the loader of libraries says without memory."""
FILES = 8
"""Open files that a worker takes in its parent, and so many again for what starts them all."""
PR_SET_PDEATHSIG = 1
"""Linux's request for a signal when the parent ends, from sys/prctl.h."""

_kept = ExitStack()
"""What a worker keeps open as long as it lives."""


class WorkersLost(SlosimError):
    """Some runs have no result because their workers died; all others have theirs."""

    def __init__(self, why: str, tasks: Sequence[Any] = ()) -> None:
        super().__init__(why)
        self.tasks = tuple(tasks)
        """The runs."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(jobs: int | None) -> int:
    """How many to use: as said, else as SLOSIM_JOBS in the environment says, else one for each core."""
    return jobs or asked_of_environment() or cores()


def asked_of_environment() -> int:
    """Processes that SLOSIM_JOBS asks for; 0: as many as there are cores."""
    text = os.environ.get("SLOSIM_JOBS", "0") or "0"
    if not text.isascii() or not text.isdecimal():
        raise SlosimError(f"SLOSIM_JOBS={text!r} in the environment: write a whole number of processes")
    return int(text[:9])


def run_all(work: Callable[[Task], Result], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, as they finish. Leaving early, by an error or an interrupt, ends the workers.

    Raises what a task raises at once, a want of memory or of files as a SlosimError that names the run, and at the end
    WorkersLost if workers died over some.
    """
    if jobs < 2 or len(tasks) < 2:
        for task in tasks:
            with naming(task):
                result = work(task)
            yield task, result
        return
    lost: list[Task] = []
    with ExitStack() as stack:
        number = min(jobs, len(tasks))
        executor = OneEach(number, stack)
        yield from _some(executor, work, tasks, number, lost)
        again, lost = lost, []
        yield from _some(executor, work, again, 1, lost)
    if lost:
        names = ", ".join(map(name_of, lost[:3])) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise WorkersLost(f"{names}: {DIED}", lost)


def _some(
    executor: Executor, work: Callable[[Task], Result], tasks: Sequence[Task], number: int, lost: list[Task]
) -> Iterator[tuple[Task, Result]]:
    """Results of tasks, ``number`` at a time; tasks whose workers died go into ``lost``."""
    waiting = deque(tasks)
    flying: dict[Future[Result], Task] = {}
    while waiting or flying:
        while waiting and len(flying) < number:
            task = waiting.popleft()
            flying[executor.submit(work, task)] = task
        for future in wait(flying, return_when=FIRST_COMPLETED).done:
            task = flying.pop(future)
            if broke(future):
                lost.append(task)
                continue
            with naming(task):
                result = future.result()
            yield task, result


@contextmanager
def naming(task: object) -> Iterator[None]:
    """Raises a SlosimError that names the run for a want of memory, files or processes in it."""
    try:
        yield
    except Exception as error:
        if why := scarcity(error):
            raise SlosimError(f"{name_of(task)}: {why}") from error
        raise


def scarcity(error: BaseException) -> str:
    """What helps if an error comes from a system at its limits; nothing for other errors."""
    if isinstance(error, MemoryError):
        return SCARCE[errno.ENOMEM]
    if isinstance(error, BrokenExecutor):
        return "a worker process died, probably killed for want of memory: use fewer --jobs or fewer --requests"
    if isinstance(error, ImportError | OSError) and any(words in str(error) for words in NO_ROOM):
        return SCARCE[errno.ENOMEM]
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return SCARCE[errno.EAGAIN]
    if isinstance(error, OSError):
        return SCARCE.get(error.errno or 0, "")
    return ""


def reason(error: BaseException) -> str:
    """Why a run failed, in one line."""
    if isinstance(error, SlosimError):
        return str(error)
    return scarcity(error) or f"{type(error).__name__}: {' '.join(str(error).split())}"


def name_of(task: object) -> str:
    """A run as a reader knows it: its policy, load and seed, as far as it has them."""
    if isinstance(task, tuple) and not hasattr(task, "_fields"):
        return ", ".join(map(str, task))
    title = getattr(task, "title", None) or getattr(getattr(task, "policy", None), "title", None)
    if title is None:
        return f"{task!r:.80}"
    parts = [str(title)]
    if (rate := getattr(task, "rate", None)) is not None:
        parts.append(f"{rate:g} requests/s")
    parts += [f"{word} {value}" for word in ("seed", "draw") if (value := getattr(task, word, None)) is not None]
    return ", ".join(parts)


class OneEach(Executor):
    """Processes with one task each at a time, every one a pool of its own: one that dies costs only its own task."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        need_files(number)
        self.stack = stack
        self.free: SimpleQueue[ProcessPoolExecutor | None] = SimpleQueue()
        """Pools with nothing to do; None stands for one that is yet to be made."""
        for _ in range(number):
            self.free.put(None)

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Gives it to a free process; waits for one if there is none. Raises SlosimError if none can be started."""
        pool = self.free.get() or self._process()
        try:
            future = _started(pool, work, *arguments, **named)
        except BrokenExecutor:  # it died while it had nothing to do
            pool = self._process()
            future = _started(pool, work, *arguments, **named)
        future.add_done_callback(lambda done: self.free.put(None if broke(done) else pool))
        return future

    def _process(self) -> ProcessPoolExecutor:
        try:
            return self.stack.enter_context(workers(1))
        except (OSError, RuntimeError, MemoryError) as error:
            raise _no_worker(error) from error


def _started(pool: ProcessPoolExecutor, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
    try:
        return pool.submit(work, *arguments, **named)
    except BrokenExecutor:
        raise
    except (OSError, RuntimeError, MemoryError, EOFError) as error:
        raise _no_worker(error) from error


def _no_worker(error: BaseException) -> SlosimError:
    return SlosimError(f"no worker process can be started: {reason(error)}")


def need_files(processes: int) -> None:
    """Raises SlosimError if so many workers need more open files than this process may have, after asking for more.

    Without them, workers fail on the way up in as many ways as there are files.
    """
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        need = len(os.listdir("/dev/fd")) + FILES + FILES * processes
    except (ImportError, OSError):
        return
    if resource.RLIM_INFINITY in (soft, hard) or need <= soft:
        return
    if need > hard:
        raise SlosimError(
            f"no {processes} worker processes can be started, which need {need} open files: {hard} are "
            "allowed; raise the limit (ulimit -n), or use fewer --jobs"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def broke(future: Future[Any]) -> bool:
    """Whether the worker of a future died over it."""
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes; leaving by an error or an interrupt ends them at once."""
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    )
    need_files(jobs)
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, context, _begin)
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """The first thing that a worker does.

    Ctrl-C reaches every process of a terminal, and only the first one decides what happens; so workers ignore it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    _kept.enter_context(patience(limit_of_runs(), f"; {VARIABLE}=S in the environment allows more"))


def _end_with_parent() -> None:
    """Ends this process when the one that works for the user ends, however it does, SIGKILL included.

    A thread waits for that. On Linux the kernel ends a worker with its forkserver besides, which ends with the parent:
    for a worker whose threads do not run while it computes.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        wait_for([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True, name="ends with its parent").start()
    if sys.platform == "linux" and os.getppid() != parent.pid:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def remove_drafts(folder: Path) -> None:
    """Removes what workers that were stopped had begun to write."""
    for draft in folder.rglob(".*.draft"):
        draft.unlink(missing_ok=True)
