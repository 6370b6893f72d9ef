"""What a run depends on, as one hash: its settings, our source, every file outside of both that it reads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from costmodel import profile
from experiments.scenario import Scenario
from experiments.sweeps.source import policy_sources, run_digest, versions
from sim.registry import schedulers

DIGITS = 16
"""Hexadecimal digits of a key: 64 bits, so that among a million runs two share one with a chance of 3e-8."""


def key_of(scenario: Scenario) -> str:
    """The name of a run: the same for the same settings, seed, trace, profile and source, and for nothing else.

    The source is that of a run (`experiments.sweeps.source`): what asks for runs or draws them may change. A generated
    trace is told by its settings; whatever the settings name as a file (a trace, lengths, a profile, a plan) by what is
    in it; a shipped profile by its digest; a user's policy by its package and by all modules of the user's that it
    imports. Python and the libraries count with their versions.
    """
    told = scenario.model_dump(mode="json")
    parts = [scenario.canonical(), run_digest(), versions(), *(f"{path} {file_digest(path)}" for path in _files(told))]
    if not os.path.isfile(scenario.profile):
        parts.append(_profile_digest(scenario.profile))
    if not scenario.trace.generated and os.path.isdir(scenario.trace.source):
        parts += [f"{path} {file_digest(path)}" for path in _below(scenario.trace.source)]
    parts += [_policy_digest(name) for name in (*(policy.name for policy in scenario.policies), scenario.router)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:DIGITS]


def file_digest(path: str | Path) -> str:
    """The sha256 (hex) of a file; read anew only when its size or its time of change is another."""
    state = os.stat(path)
    return _file_digest(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(value: Any) -> Iterator[str]:
    """All texts in nested settings that name a file."""
    if isinstance(value, str):
        if os.path.isfile(value):
            yield value
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from _files(value[key])
    elif isinstance(value, list):
        for each in value:
            yield from _files(each)


def _below(folder: str) -> list[Path]:
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


@cache
def _profile_digest(name: str) -> str:
    return profile(name).digest


@cache
def _policy_digest(name: str) -> str:
    """Of the files that a policy's module depends on, and of its libraries' versions; empty if it is one of ours."""
    files, libraries = policy_sources(schedulers().get(name, name).partition(":")[0])
    return " ".join([*sorted(f"{path.name} {file_digest(path)}" for path in files), *libraries])
