"""A sweep at work: what it tells, and what it leaves behind, finished or interrupted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.console import Steps
from experiments.sweeps.executors import opened
from experiments.sweeps.plan import Point
from experiments.sweeps.progress import Progress
from experiments.sweeps.report import beyond, groups, told, warnings
from experiments.sweeps.running import Found, Running
from experiments.sweeps.store import Failed, Record, Store
from experiments.sweeps.table import write_points
from experiments.table_rows import IN_ALL_SLOS


@dataclass
class Sweeping:
    """Runs what is missing of a sweep and says what came of all of it."""

    points: Sequence[Point]
    folder: Path
    out: Console
    asked: Mapping[str, Any] = field(default_factory=dict)
    """What the points come from, for the record."""
    executor: str = "local"
    jobs: int | None = None
    found: list[Found] = field(default_factory=list)

    def run(self) -> int:
        """The number of points that failed; passes an interrupt on after writing what is finished."""
        store = Store(self.folder / "points")
        try:
            with opened(self.executor, self.jobs) as cluster:
                self._run(Running(store, cluster))
        except KeyboardInterrupt:
            self._write()
            done = f"{len(self.found)} of {len(self.points)} points are finished and kept in {self.folder}"
            self.out.print(f"\nInterrupted. {done}; the same command goes on from here", markup=False)
            raise
        return self._conclude()

    def _run(self, running: Running) -> None:
        with Steps(self.out, "starting", len(self.points)) as steps:
            progress = Progress(steps)
            for each in running.run(deque(self.points)):
                self.found.append(each)
                progress.told(each)
        progress.mended(running)
        if progress.before:
            self.out.print(f"{progress.before} of {len(self.points)} points had been run before", markup=False)

    def _conclude(self) -> int:
        path = self._write()
        found = groups(self._ordered())
        self.out.print(told(found), markup=False, soft_wrap=True)
        self.out.print("± and *: 95 % intervals over seeds; p99s: all seeds' requests pooled, jackknifed", markup=False)
        self.out.print(IN_ALL_SLOS, markup=False)
        runs = [each.kept for each in self._ordered() if isinstance(each.kept, Record)]
        for warning in (*warnings(found), *beyond(runs)):
            self.out.print(f"warning: {warning}", markup=False)
        failed = [each.kept for each in self.found if isinstance(each.kept, Failed)]
        if failed:
            self.out.print(
                f"FAILED: {len(failed)} of {len(self.points)} points, such as {failed[0].key}: {failed[0].error}; "
                f"see *.failure.json in {self.folder / 'points'}; the same command tries them again",
                markup=False,
            )
        self.out.print(f"All points: pandas.read_parquet({str(path)!r})", markup=False, soft_wrap=True)
        return len(failed)

    def _write(self) -> Path:
        return write_points(self.folder / "points.parquet", self._ordered(), self.asked)

    def _ordered(self) -> list[Found]:
        """What was found, in the order of what was asked for."""
        places = {id(point): place for place, point in enumerate(self.points)}
        return sorted(self.found, key=lambda each: places[id(each.point)])
