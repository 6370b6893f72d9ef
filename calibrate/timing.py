"""How a device's time is taken, and how fast its clock runs meanwhile."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from calibrate.device import driver_query
from calibrate.plan import Plan


class Lap(NamedTuple):
    """Seconds of one iteration: all of it, from the host's first instruction to the answer, and the device's share."""

    whole: float
    device: float


class Stopwatch(Protocol):
    """Times one iteration."""

    def lap(self, prepare: Callable[[], Plan], compute: Callable[[Plan], Tensor]) -> Lap:
        """Prepares a forward, computes it, and waits for its answer."""
        ...

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds that some work takes whose end can be waited for."""
        ...


class CpuWatch:
    """Time that this thread had the processor: what other programs take of it does not count; for one torch thread."""

    def lap(self, prepare: Callable[[], Plan], compute: Callable[[Plan], Tensor]) -> Lap:
        """See `Stopwatch`; the device's share is the forward, the host's is what prepares it and takes the answer."""
        begin = time.thread_time()
        planned = prepare()
        start = time.thread_time()
        answer = compute(planned)
        stop = time.thread_time()
        answer.tolist()
        return Lap(time.thread_time() - begin, stop - start)

    def seconds(self, work: Callable[[], object]) -> float:
        """See `Stopwatch`."""
        begin = time.thread_time()
        work()
        return time.thread_time() - begin


class CudaWatch:
    """Wall clock around an iteration and its answer, and events on the GPU around its forward."""

    def lap(self, prepare: Callable[[], Plan], compute: Callable[[Plan], Tensor]) -> Lap:
        """See `Stopwatch`."""
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin = time.perf_counter()
        planned = prepare()
        start.record()
        answer = compute(planned)
        stop.record()
        answer.tolist()
        whole = time.perf_counter() - begin
        torch.cuda.synchronize()
        return Lap(whole, start.elapsed_time(stop) / 1000)

    def seconds(self, work: Callable[[], object]) -> float:
        """See `Stopwatch`."""
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - begin


@dataclass
class Clocks:
    """The GPU's clock as its driver tells it while batches run, asked every two seconds at most: it takes a while."""

    gpu: int | None
    """Which one, as torch counts; None where there is none to ask."""
    every: float = 2.0
    patience: float = 20.0
    """Seconds after which a driver that does not answer is not asked again."""
    _asked: float = field(default=float("-inf"), init=False)
    _asking: subprocess.Popen[str] | None = field(default=None, init=False)
    _last: float | None = field(default=None, init=False)

    def ask(self) -> None:
        """Begins to ask, without waiting."""
        if self.gpu is not None and time.monotonic() - self._asked > self.every:
            self._asked = time.monotonic()
            with suppress(OSError):
                self._asking = subprocess.Popen(driver_query("clocks.sm", self.gpu), stdout=subprocess.PIPE, text=True)

    def now(self) -> float | None:
        """MHz of the streaming multiprocessors when last asked; None where nobody can tell."""
        if self._asking is not None:
            try:
                said = self._asking.communicate(timeout=self.patience)[0].strip()
            except subprocess.TimeoutExpired:
                self._asking.kill()
                self.gpu, said = None, ""
                with suppress(subprocess.TimeoutExpired):
                    self._asking.communicate(timeout=1)
            self._last = float(said) if said.isdigit() else None
            self._asking = None
        return self._last


def stopwatch(device: str) -> Stopwatch:
    """The stopwatch for a device; on a CPU torch is kept to one thread, which is what that stopwatch times."""
    if device.startswith("cuda"):
        return CudaWatch()
    torch.set_num_threads(1)
    return CpuWatch()
