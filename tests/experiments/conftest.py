"""What tests of commands share: a command in a process of its own that can be interrupted, and what sweeps run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.sweeps import running
from experiments.sweeps.work import Answer, Task, run_point

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(root: Path) -> Iterator[Begin]:
    """Starts slosim in a group of processes of its own, and returns when it has said a line that begins like that."""
    begun: list[subprocess.Popen[str]] = []
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from experiments.cli import main; sys.exit(main())"
    default = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}

    def start(*words: str, until: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", program, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **default,  # type: ignore[call-overload]
        )
        begun.append(process)
        assert process.stdout is not None
        assert any(line.startswith(until) for line in process.stdout), "it ended before"
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """What is run in this process."""
    tasks: list[Task] = []

    def noted(task: Task) -> Answer:
        tasks.append(task)
        return run_point(task)

    monkeypatch.setattr(running, "run_point", noted)
    return tasks
