"""How the runs of a comparison stand: beside their bounds, and beside Oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from experiments.bound.course import Course
from experiments.bound.shares import Bounds, bounds_of, share, shares
from experiments.grid import Cell, Outcome
from experiments.inputs import build
from experiments.pool import run_all
from experiments.scenario import Scenario
from sim.machine import Machine

GOODPUTS = ("goodput", "request_goodput")


class Load(NamedTuple):
    """Runs on one trace."""

    scenario: Scenario
    """At one rate and with one seed."""
    courses: tuple[Course, ...]
    """What the runs did, each only once."""

    @property
    def title(self) -> str:
        """Names it in messages."""
        return f"bounds at {self.scenario.trace.rate or 'the recorded'} requests/s"

    def bounds(self) -> list[Bounds]:
        """Of each course."""
        trace, found, kv_blocks, block_size, _ = build(self.scenario)
        machine = Machine.of(found, kv_blocks, block_size)
        return bounds_of(trace, machine, self.courses, self.scenario.replicas)


def standing(finished: Mapping[Cell, Outcome], jobs: int = 1) -> Iterator[dict[Cell, Outcome]]:
    """The runs with bounds and shares among their metrics, those of one trace at a time."""
    places = sorted(finished, key=_trace)
    loads = {}
    for _, group in groupby(places, key=_trace):
        cells = list(group)
        load = Load(cells[0].scenario, tuple(dict.fromkeys(finished[cell].course for cell in cells)))
        loads[load] = cells
    for load, bounds in run_all(Load.bounds, list(loads), jobs):
        found = dict(zip(load.courses, bounds, strict=True))
        yield _beside({cell: finished[cell] for cell in loads[load]}, found)


def _trace(cell: Cell) -> tuple[float, int]:
    return cell.rate or 0.0, cell.seed


def _beside(runs: Mapping[Cell, Outcome], bounds: Mapping[Course, Bounds]) -> dict[Cell, Outcome]:
    oracle = next((run.summary for cell, run in runs.items() if _named(cell) == "oracle"), dict.fromkeys(GOODPUTS, 0.0))

    def more(run: Outcome) -> dict[str, float]:
        beside = {f"oracle_share_{name}": share(run.summary[name], oracle[name]) for name in GOODPUTS}
        return shares(run.summary, bounds[run.course]) | beside

    return {cell: run._replace(summary=run.summary | more(run)) for cell, run in runs.items()}


def _named(cell: Cell) -> str:
    """The policy's name, without parameters and label."""
    return cell.scenario.policies[cell.policy].name
