"""A study at work: its cells in worker processes, what is finished already taken from its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.console import Steps
from experiments.files import write_text
from experiments.grid import Cell, Summary, run_cell
from experiments.pool import remove_drafts, run_all
from experiments.provenance import source_digest
from experiments.studies.findings import Findings, Place
from experiments.studies.report import csv_text, markdown, text
from experiments.studies.study import Study


@dataclass
class Running:
    """Runs studies one after the other; cells that they share are run once."""

    folder: Path
    out: Console
    jobs: int = 1

    def run(self, study: Study) -> Findings:
        """Runs what is missing, writes the tables, prints them; an interrupt leaves what is finished."""
        cells = list(study.cells(self.folder / "cells"))
        known = {cell.place: summary for _, _, cell in cells if (summary := finished(cell))}
        missing = [cell for _, _, cell in cells if cell.place not in known]
        self.out.print(f"{study.name}: {study.question}", markup=False)
        self.out.print(f"{len(cells)} runs, {len(cells) - len(missing)} of them finished before", markup=False)
        try:
            known |= self._run_all(study, missing)
        except KeyboardInterrupt:
            remove_drafts(self.folder)
            self.out.print("\nInterrupted. The same command goes on from here.")
            raise
        runs: dict[Place, list[Summary]] = {}
        for setting, variant, cell in cells:
            place = Place(setting.name, cell.rate or 0.0, variant.title)
            runs.setdefault(place, []).append(known[cell.place])
        findings = Findings(study, runs)
        self._write(findings)
        return findings

    def _run_all(self, study: Study, missing: list[Cell]) -> dict[Path, Summary]:
        done: dict[Path, Summary] = {}
        with Steps(self.out, study.name, len(missing)) as steps:
            for cell, outcome in run_all(run_cell, missing, self.jobs):
                done[cell.place] = outcome.summary
                load = f"{cell.rate:g} requests/s, seed {cell.seed}"
                steps.finished(f"{cell.folder.name}, {cell.title}, {load}: {outcome.seconds:.1f} s")
        return done

    def _write(self, findings: Findings) -> None:
        place = self.folder / findings.study.name
        told = text(findings)
        write_text(place / "table.txt", told)
        write_text(place / "table.md", markdown(findings))
        write_text(place / "table.csv", csv_text(findings))
        self.out.print(told, markup=False)
        self.out.print(f"Files are in {place}", markup=False)


def finished(cell: Cell) -> Summary | None:
    """The metrics of a cell that was run before, with the same scenario and the same source; None otherwise."""
    try:
        written: Mapping[str, Any] = json.loads(cell.place.read_text("utf-8"))
        made = written["provenance"]["run"]
        same = (made["config"]["digest"], made["source_digest"]) == (cell.scenario.digest, source_digest())
    except (OSError, ValueError, KeyError):
        return None
    missing = float("nan")
    return {name: missing if value is None else value for name, value in written["summary"].items()} if same else None
