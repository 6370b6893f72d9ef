"""Golden stories: what every policy did on small fixed workloads, to the last token and block, to be reviewed.

A story is told by a digest of all that is counted (who computed, waited, was preempted, in which iteration) and by
figures that a person can read in a diff. Counts must be equal; seconds to nine digits, which is what differs
between processors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.files import write_text
from experiments.pool import run_all
from sim.limits import untold
from sim.registry import BUILT_IN, scheduler
from sim.result import RunResult
from sim.simulation import simulate
from traces import assign_slos, paper_mix
from traces.errors import SlosimError

GOLDEN = Path(__file__).with_name("stories.json")
"""The stories of the built-in policies."""
PROFILE = "opt-13b@a100-80gb-vllm"
NEEDS_A_FILE = ("planned",)
"""Policies that have no story without one."""
CLOSE = 1e-9
FIGURES = ("end", "goodput", "slo_attainment_requests", "mean_jct", "p99_ttft", "p99_tbt")
"""Metrics of a story that are seconds or shares."""
COUNTS = ("finished", "rejections", "preemptions", "iterations")

Story = dict[str, Any]
Stories = dict[str, dict[str, Story]]


class Case(NamedTuple):
    """A workload and a cache."""

    requests: int
    rate: float
    """Requests per second."""
    seed: int
    kv_blocks: int
    """Of 32 tokens."""


CASES = {
    "near capacity": Case(80, 0.6, 1, 457),
    "overload": Case(60, 8.0, 2, 457),
    "little memory": Case(50, 0.4, 3, 190),
}


class Difference(NamedTuple):
    """Where a story is another than the golden one."""

    policy: str
    case: str
    what: str

    def __str__(self) -> str:
        return f"{self.policy}, {self.case}: {self.what}"


def story(policy: str, case: str) -> Story:
    """What a policy does in a case."""
    from costmodel import profile

    machine, (requests, rate, seed, blocks) = profile(PROFILE), CASES[case]
    trace = assign_slos(paper_mix(requests, rate, seed), machine.prefill_time, seed)
    with untold():
        return told(simulate(trace, policy, machine, kv_blocks=blocks, block_size=32, seed=seed))


def told(result: RunResult) -> Story:
    """A run as a story."""
    summary = result.summary() | {"end": result.end, "iterations": len(result.iterations["start"])}
    counts = {name: int(summary[name]) for name in COUNTS}
    figures = {name: None if np.isnan(summary[name]) else float(summary[name]) for name in FIGURES}
    return counts | figures | {"digest": _digest(result)}


def _digest(result: RunResult) -> str:
    """The sha256 of every whole number of the tables, by name."""
    state = hashlib.sha256()
    for name, table in sorted(result.to_tables().items()):
        for column, values in sorted(table.items()):
            if np.issubdtype(values.dtype, np.integer) and column != "replica":  # stories have one
                state.update(f"{name}.{column}\0".encode() + values.astype("<i8").tobytes())
    return state.hexdigest()[:16]


def tell(policies: Sequence[str], jobs: int = 1, heard: Callable[[str], object] = lambda text: None) -> Stories:
    """The stories of some policies in every case."""
    found: Stories = {policy: {} for policy in policies}
    for policy in policies:
        scheduler(policy)  # raises for an unknown name before anything runs
    tasks = [(policy, case) for policy in policies for case in CASES]
    for (policy, case), made in run_all(_perform, tasks, jobs):
        found[policy][case] = made
        heard(f"{policy}, {case}")
    return {policy: {case: cases[case] for case in CASES} for policy, cases in found.items()}


def _perform(task: tuple[str, str]) -> Story:
    return story(*task)


def known_policies() -> list[str]:
    """The built-in policies that have stories."""
    return [name for name in BUILT_IN if name not in NEEDS_A_FILE]


def read(path: Path) -> Stories:
    """The stories of a file; raises SlosimError if it holds none."""
    try:
        stories = json.loads(path.read_text("utf-8"))
        told = [each for cases in stories.values() for each in cases.values()]
        if not all(isinstance(each, dict) and "digest" in each for each in told):
            raise ValueError("a story without a digest")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise SlosimError(f"{path}: holds no stories ({error}); write them with --update") from error
    return dict(stories)


def write(path: Path, stories: Mapping[str, Mapping[str, Story]]) -> Path:
    """Writes stories so that a change is a readable diff."""
    return write_text(path, json.dumps(stories, indent=1) + "\n")


def compare(golden: Stories, now: Stories) -> Iterator[Difference]:
    """What is another story now."""
    for policy, cases in now.items():
        for case, new in cases.items():
            old = golden.get(policy, {}).get(case)
            if old is None:
                yield Difference(policy, case, "has no golden story; --update writes it")
                continue
            changed = [name for name, value in new.items() if not _same(old.get(name), value)]
            if changed:
                yield Difference(policy, case, "; ".join(f"{name} {old.get(name)} -> {new[name]}" for name in changed))


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return isclose(old, new, rel_tol=CLOSE)
    return bool(old == new)
