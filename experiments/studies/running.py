"""A study at work: its runs are points of a sweep, those that were run before taken from their files."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.console import Steps
from experiments.files import write_text
from experiments.grid import Summary
from experiments.studies.findings import Findings, Place
from experiments.studies.report import csv_text, markdown, text
from experiments.studies.study import Study
from experiments.sweeps.executors import opened
from experiments.sweeps.plan import Point
from experiments.sweeps.progress import Progress
from experiments.sweeps.running import Found, Running
from experiments.sweeps.store import Failed, Record, Store
from traces.errors import SlosimError


@dataclass
class Studying:
    """Runs studies one after the other; runs that they share are made once."""

    folder: Path
    out: Console
    executor: str = "local"
    jobs: int | None = None

    def run(self, study: Study) -> Findings:
        """Runs what is missing, writes the tables, prints them; an interrupt leaves what is finished.

        Raises SlosimError, after everything else was run, if runs failed.
        """
        points = list(study.points())
        self.out.print(f"{study.name}: {study.question}", markup=False)
        findings = Findings(study, by_place(points, self.run_all(points)))
        self._write(findings)
        return findings

    def run_all(self, points: list[Point]) -> list[Found]:
        """What is known of all points; those that are kept are not run again. An interrupt is told, and goes on up."""
        found: list[Found] = []
        try:
            with opened(self.executor, self.jobs) as cluster, Steps(self.out, "starting", len(points)) as steps:
                progress, running = Progress(steps), Running(Store(self.folder / "points"), cluster)
                for each in running.run(deque(points)):
                    found.append(each)
                    progress.told(each)
                progress.mended(running)
        except KeyboardInterrupt:
            self.out.print("\nInterrupted. The same command goes on from here.")
            raise
        self.out.print(f"{len(points)} runs, {progress.before} of them finished before", markup=False)
        return found

    def _write(self, findings: Findings) -> None:
        place = self.folder / findings.study.name
        told = text(findings)
        write_text(place / "table.txt", told)
        write_text(place / "table.md", markdown(findings))
        write_text(place / "table.csv", csv_text(findings))
        self.out.print(told, markup=False)
        self.out.print(f"Files are in {place}", markup=False)


def by_place(points: list[Point], found: list[Found]) -> dict[Place, list[Summary]]:
    """The metrics of each place, by seed; raises SlosimError if a run failed."""
    failed = [each for each in found if isinstance(each.kept, Failed)]
    if failed:
        point, kept, _ = failed[0]
        assert isinstance(kept, Failed)
        raise SlosimError(f"{len(failed)} of {len(found)} runs failed, such as {point.title}: {kept.error}")
    known = {id(each.point): each.kept for each in found}
    runs: dict[Place, list[Summary]] = {}
    for point in points:
        kept = known[id(point)]
        assert isinstance(kept, Record)
        runs.setdefault(Place.of(point), []).append(kept.summary)
    return runs
