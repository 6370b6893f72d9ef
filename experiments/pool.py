"""Many runs on several cores; an interrupt stops them and leaves what is finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from traces.errors import SlosimError

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    """Each task with its result, as they finish. Leaving early, by an error or an interrupt, ends the workers."""
    if jobs < 2 or len(tasks) < 2:
        yield from ((task, work(task)) for task in tasks)
        return
    with workers(min(jobs, len(tasks))) as executor:
        futures = {executor.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes; leaving by an error or an interrupt ends them at once."""
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    )
    before = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, context, _ignore_interrupts)
    try:
        yield executor
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; only the first one decides what happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def remove_drafts(folder: Path) -> None:
    """Removes what workers that were stopped had begun to write."""
    for draft in folder.rglob(".*.draft"):
        draft.unlink(missing_ok=True)
