"""The device that is measured: whether torch can use it, what it is, how much memory is free."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from costmodel.facts import GPUS
from traces.errors import SlosimError

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""Numbers that weights and cache can be held in, by name."""


def checked(device: str) -> str:
    """The device, which torch uses from now on where none is named; raises SlosimError if torch cannot use it."""
    gpu = gpu_number(device)
    if gpu is None:
        if device != "cpu":
            raise SlosimError(f"device {device!r} cannot be timed: choose cuda, cuda:1, ..., or cpu")
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise SlosimError(f"there is no CUDA device that torch {torch.__version__} can use; try --device cpu")
    if gpu >= count:
        raise SlosimError(f"there is no {device}: torch can use {', '.join(f'cuda:{one}' for one in range(count))}")
    torch.cuda.set_device(gpu)  # streams, events, recorded launches and Triton go by it
    return device


def gpu_number(device: str) -> int | None:
    """The number of the GPU that a device names, as torch counts; None if it names none."""
    found = re.fullmatch(r"cuda(?::(\d+))?", device)
    return int(found[1] or 0) if found else None


@contextmanager
def memory_told(device: str, cache: int) -> Iterator[None]:
    """Tells of a device that runs out of memory as a SlosimError, which says how to go on with less than this cache."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SlosimError(
            f"{device}: out of memory with a cache of {cache} tokens ({str(error).splitlines()[0]}); what is measured "
            "is kept: go on with a smaller --cache or --forward, and with nobody else on the device"
        ) from error


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
        return {"device": name, **told, "cuda": torch.version.cuda, "driver": _driver(gpu_number(device) or 0)}
    return {"device": f"{_processor()} (one thread)", **told}


def known_gpu(name: str) -> str | None:
    """The name in `costmodel.GPUS` of the GPU that calls itself so; None if it is none of them."""
    words = name.lower().replace("-", " ").split()
    for known in GPUS:
        model, _, memory = known.partition("-")
        if model in words and (not memory or memory in words):
            return known
    return None


def _driver(gpu: int) -> str:
    try:
        said = subprocess.run(
            driver_query("driver_version", gpu), capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.strip().split("\n")[0] or "unknown"


def driver_query(field_name: str, gpu: int) -> list[str]:
    """The driver's tool about a GPU, by torch's number unless CUDA_VISIBLE_DEVICES names another there (inferred)."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return [
        "nvidia-smi",
        f"--id={visible[gpu] if gpu < len(visible) else gpu}",
        f"--query-gpu={field_name}",
        "--format=csv,noheader,nounits",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
