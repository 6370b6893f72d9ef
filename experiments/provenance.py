"""Where a result comes from: everything that is needed to make it again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sim.result import RunResult

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("traces", "costmodel", "calibrate", "sim", "experiments")
MEASURED = ("wall_seconds", "cpu_seconds")
"""What differs from run to run of the same inputs."""


def provenance(result: RunResult, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What made a result: `run` is the same whenever the same is run, `made` says when and where it was run.

    `run` holds the result's own account (policy, trace and profile with digests, seed, ...), the `config` that asked
    for it, slosim's version and the digest of its source.
    """
    about = {name: value for name, value in result.about.items() if name not in MEASURED}
    told = origin({**about, "config": dict(config or {})})
    told["made"] |= {name: result.about[name] for name in MEASURED if name in result.about}
    return told


def origin(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of anything: what asked for it, our version and source, when and where."""
    return {"run": {**asked, "version": slosim_version(), "source_digest": source_digest()}, "made": made()}


def made() -> dict[str, str]:
    """Now and here: UTC date, Python, the libraries that numbers depend on, the platform."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), **_here()}


@cache
def _here() -> dict[str, str]:
    libraries = {name: version(name) for name in ("numpy", "scipy", "simpy")}
    return {"python": platform.python_version(), "platform": platform.platform(), **libraries}


@cache
def slosim_version() -> str:
    """The installed version; `uninstalled` if the packages are only on the path."""
    try:
        return version("slosim")
    except PackageNotFoundError:
        return "uninstalled"


@cache
def source_digest() -> str:
    """The sha256 (hex) of all Python files of our packages, names included: a commit alone would miss local changes."""
    return digest_of(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))


def digest_of(paths: Iterable[Path]) -> str:
    """The sha256 (hex) of files below our folder, with their names."""
    state = hashlib.sha256()
    for path in paths:
        state.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        state.update(path.read_bytes() + b"\0")
    return state.hexdigest()
