"""What a sweep costs beside its simulations: CPU time per point to name it, hand it out, write and keep it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

from rich.console import Console

from experiments.console import Steps
from experiments.grid import Summary
from experiments.inputs import build, run
from experiments.scenario import Scenario
from experiments.sweeps.executors import opened
from experiments.sweeps.plan import Point
from experiments.sweeps.progress import Progress
from experiments.sweeps.running import Running
from experiments.sweeps.store import Store
from sim.schedulers.vllm import Vllm

POLICY = Vllm()
MOST = 2e-3
"""Seconds per point that a sweep may cost."""


@dataclass(frozen=True)
class SweepCost:
    """CPU seconds per point."""

    points: int
    simulation: float
    """Trace, run and metrics, without a sweep."""
    overhead: float
    """What the sweep takes beside that."""
    kept: float
    """The same of a point that is there already."""

    def __str__(self) -> str:
        verdict = "PASS" if self.overhead <= MOST else "OVER"
        return (
            f"A sweep of {self.points:,} points: {1e3 * self.overhead:.2f} ms of CPU per point beside its simulation "
            f"of {1e3 * self.simulation:.1f} ms; {1e3 * self.kept:.2f} ms if it is kept already (at most "
            f"{1e3 * MOST:g} ms: {verdict})"
        )


def sweep_cost(points: int, rounds: int = 3, requests: int = 50) -> SweepCost:
    """Of short runs with a seed each, swept in this process into folders that are thrown away; medians of rounds."""
    asked = Scenario(trace={"requests": requests}, policies=["vllm"])  # type: ignore[arg-type]
    first, *others = (Point(asked.at(0.5, seed)) for seed in range(points + 1))
    measured = []
    with TemporaryDirectory() as folder:
        _sweep(Path(folder), [first])  # what is loaded once
        for number in range(rounds):
            here = Path(folder) / str(number)
            alone = _timed(lambda: list(map(_simulate, others)))
            swept, again = (_timed(partial(_sweep, here, others)) for _ in range(2))
            measured.append((alone, swept - alone, again))
    return SweepCost(points, *(median(column) / points for column in zip(*measured, strict=True)))


def _simulate(point: Point) -> Summary:
    result = run(point.scenario, deepcopy(POLICY), build(point.scenario))
    result.by_application()
    return result.summary()


def _sweep(folder: Path, points: list[Point]) -> None:
    out = Console(file=StringIO())
    with opened("serial") as cluster, Steps(out, "starting", len(points)) as steps:
        progress = Progress(steps)
        for each in Running(Store(folder), cluster).run(deque(points)):
            progress.told(each)


def _timed(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began
