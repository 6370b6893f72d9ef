"""What tests of commands share: an interrupted command, what sweeps run, and damaged content of JSON files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from experiments.sweeps import running
from experiments.sweeps.work import Answer, Task, run_point

Interrupt = Callable[..., str]


@pytest.fixture
def interrupted(root: Path) -> Iterator[Interrupt]:
    """Starts slosim, interrupts it when it has said a line that begins like that, and gives what it says then.

    It must end with the code of an interrupt within so many seconds, without a traceback, and leave no process behind.
    """
    begun: list[subprocess.Popen[str]] = []
    program = f"import sys; sys.path.insert(0, {str(root)!r}); from experiments.cli import main; sys.exit(main())"
    default = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}

    def interrupt(*words: str, after: str, within: float, terminal: bool = True) -> str:
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
        assert any(line.startswith(after) for line in process.stdout), "it ended before"
        if terminal:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C: to all of them
        else:
            process.terminate()  # as a service or a batch system ends it
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert time.monotonic() - began < within
        assert "Traceback" not in err
        while time.monotonic() - began < within and alive(process.pid):
            time.sleep(0.05)
        assert not alive(process.pid)
        return out

    yield interrupt
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def alive(group: int) -> bool:
    """Whether a group of processes has any."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """What is run in this process."""
    tasks: list[Task] = []

    def noted(task: Task) -> Answer:
        tasks.append(task)
        return run_point(task)

    monkeypatch.setattr(running, "run_point", noted)
    return tasks


def mutated(content: Any, random: Random) -> Any:
    """The same content with one value, somewhere in it, gone or another."""
    place = content = json.loads(json.dumps(content))
    while True:
        name = random.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        inner = place[name]
        if isinstance(inner, dict | list) and inner and random.random() < 0.7:
            place = inner
            continue
        if random.random() < 0.3:
            del place[name]
        else:
            place[name] = random.choice([None, True, -1, 1e308, "1.5", "\ud800", [], [[]], {}, {"a": {}}, 10**400])
        return content
