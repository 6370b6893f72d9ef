"""Work for processes of these tests; loads nothing, so that they start quickly."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """A task that has a name."""

    key: str
    folder: Path = Path()


def double(job: Job) -> str:
    return job.key * 2


def ran(job: Job) -> str:
    """Notes that it was begun; job 3 takes its worker with it the first time, job 5 each time."""
    with open(job.folder / "log", "a") as log:
        log.write(job.key + "\n")
    died_before = (job.folder / job.key).exists()
    (job.folder / job.key).touch()
    if (job.key == "3" and not died_before) or job.key == "5":
        os.kill(os.getpid(), signal.SIGKILL)
    return job.key


def processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2)


def threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


def no_executor() -> str:
    return "none"
