"""The device that is measured: what it is, how much memory is free, how its time is taken."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from calibrate.plan import Plan
from costmodel.facts import GPUS
from traces.errors import SlosimError

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""Numbers that weights and cache can be held in, by name."""


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

    cuda: bool
    every: float = 2.0
    _asked: float = field(default=float("-inf"), init=False)
    _asking: subprocess.Popen[str] | None = field(default=None, init=False)
    _last: float | None = field(default=None, init=False)

    def ask(self) -> None:
        """Begins to ask, without waiting."""
        if self.cuda and time.monotonic() - self._asked > self.every:
            self._asked = time.monotonic()
            with suppress(OSError):
                self._asking = subprocess.Popen(_query("clocks.sm"), stdout=subprocess.PIPE, text=True)

    def now(self) -> float | None:
        """MHz of the streaming multiprocessors when last asked; None where nobody can tell."""
        if self._asking is not None:
            said = self._asking.communicate()[0].strip()
            self._last = float(said) if said.isdigit() else None
            self._asking = None
        return self._last


def stopwatch(device: str) -> Stopwatch:
    """The stopwatch for a device; on a CPU torch is kept to one thread, which is what that stopwatch times."""
    if device.startswith("cuda"):
        return CudaWatch()
    torch.set_num_threads(1)
    return CpuWatch()


def checked(device: str) -> str:
    """The device, if torch can use it; raises SlosimError else."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SlosimError(f"there is no CUDA device that torch {torch.__version__} can use; try --device cpu")
    if not device.startswith(("cuda", "cpu")):
        raise SlosimError(f"device {device!r} cannot be timed: choose cuda, cuda:1, ..., or cpu")
    return device


def free_memory(device: str) -> int:
    """Bytes that nobody uses."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def described(device: str) -> dict[str, Any]:
    """What a profile tells of the device: its name, and driver and CUDA where it has them."""
    told: dict[str, Any] = {"torch": str(torch.__version__)}
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
        return {"device": name, **told, "cuda": torch.version.cuda, "driver": _driver("driver_version")}
    return {"device": f"{_processor()} (one thread)", **told}


def known_gpu(name: str) -> str | None:
    """The name in `costmodel.GPUS` of the GPU that calls itself so; None if it is none of them."""
    words = name.lower().replace("-", " ").split()
    for known in GPUS:
        model, _, memory = known.partition("-")
        if model in words and (not memory or memory in words):
            return known
    return None


def _driver(field_name: str) -> str:
    try:
        said = subprocess.run(_query(field_name), capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.strip().split("\n")[0] or "unknown"


def _query(field_name: str) -> list[str]:
    """The driver's tool, about the GPU that torch counts first unless CUDA_VISIBLE_DEVICES names another (inferred)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return ["nvidia-smi", f"--id={visible or 0}", f"--query-gpu={field_name}", "--format=csv,noheader,nounits"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
