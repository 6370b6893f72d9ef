"""A time limit for each call of a policy's code, kept by an interval timer of the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

CHECKING = 10.0
"""Seconds that a call may take while a policy is checked: the default of ``slosim check --limit``."""
RUNNING = 60.0
"""Seconds that a call may take in a run; the environment variable below changes it."""
VARIABLE = "SLOSIM_DECISION_LIMIT"
NOT_ENFORCED = "the time limit of a decision is not enforced: it needs the main thread of a Unix process"

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT / name}{os.sep}" for name in ("traces", "costmodel", "calibrate", "sim", "experiments"))
"""Where the code of the simulator is; all other code that is no library is a policy's."""
STANDARD = f"{Path(os.__file__).resolve().parent}{os.sep}"
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
SIM = f"{Path(__file__).resolve().parent}{os.sep}"
TICKS = 10
"""How often a call is looked at before its time is up; a second lies between two looks at most."""
DEAF = 5
"""How often a call may swallow what ends it before the whole process is ended."""
LIBRARIES = {"simpy", "numpy"}
"""Packages that the engine calls itself."""


class TookTooLong(BaseException):
    """Raised inside of a call that exceeds its time limit; no `except Exception` of a policy swallows it."""

    def __init__(self, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.hint = hint
        """How to allow more."""


def is_ours(file: str) -> bool:
    """Whether a source file is the simulator's."""
    return file.startswith(OURS)


def is_library(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed package."""
    return file.startswith("<") or any(part in file for part in INSTALLED) or file.startswith(STANDARD)


class Clockwork:
    """Handles the timer's signal: counts how often it finds the same call of a policy still at work."""

    def __init__(self, limit: float, hint: str) -> None:
        self.limit = limit
        self.hint = hint
        self.interval = min(1.0, limit / TICKS)
        self._call: FrameType | None = None
        self._seen = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        call = call_of_policy(frame)
        self._seen = self._seen + 1 if call is not None and call is self._call else 0
        self._call = call
        ticks = round(self.limit / self.interval)
        if call is None or self._seen < ticks:
            return
        words = f"took longer than {self.limit:g} s"
        if self._seen >= ticks + DEAF:
            code = call.f_code
            sys.stderr.write(f"slosim: {code.co_name} at {code.co_filename}:{code.co_firstlineno} {words}{self.hint}\n")
            sys.stderr.flush()
            os._exit(2)
        raise TookTooLong(words, self.hint)


@contextmanager
def patience(limit: float, hint: str = "") -> Iterator[bool]:
    """Ends calls of policies that take longer than ``limit`` seconds (0: none is ended) with TookTooLong.

    Gives whether that is enforced: only in the main thread, where the system has interval timers and no other code
    uses them. ``hint`` follows in the message, and says how to allow more.
    """
    if limit <= 0 or not _available():
        yield limit <= 0
        return
    clockwork = Clockwork(limit, hint)
    handler = signal.signal(signal.SIGALRM, clockwork)
    timer = signal.setitimer(signal.ITIMER_REAL, clockwork.interval, clockwork.interval)
    try:
        yield True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def limit_of_runs() -> float:
    """Seconds that a call may take in a run, from the environment; any text that is no number: the default."""
    try:
        return float(os.environ.get(VARIABLE, RUNNING))
    except ValueError:
        return RUNNING


def call_of_policy(frame: FrameType | None) -> FrameType | None:
    """The call that the simulator made into a policy's code and that has not returned, if there is one."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    inside = False
    for each in reversed(frames):
        file = each.f_code.co_filename
        inside = inside or file.startswith(SIM)
        if inside and not is_ours(file) and not _is_known(each):
            return each
    return None


def _is_known(frame: FrameType) -> bool:
    """Whether a frame belongs to Python or to a library that the simulator uses, not to an installed policy."""
    file, package = frame.f_code.co_filename, str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package in LIBRARIES or package in sys.stdlib_module_names:
        return True
    return is_library(file) and file.startswith("<") and package != "__main__"


def _available() -> bool:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGALRM)
    return handler in (signal.SIG_DFL, signal.SIG_IGN) or isinstance(handler, Clockwork)
