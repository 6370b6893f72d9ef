"""Figures at work: their runs are points of a sweep, made once for all of them; then each is judged and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.figures.derived import derived
from experiments.figures.figure import Figure
from experiments.figures.judging import judge
from experiments.figures.picture import draw
from experiments.figures.report import Drawn, page, reproduction, verdict_said, warning
from experiments.figures.words import paper_said
from experiments.files import write_text
from experiments.pool import reason
from experiments.studies.findings import Findings
from experiments.studies.report import csv_text
from experiments.studies.running import Studying, by_place
from experiments.sweeps.running import Found
from traces.errors import SlosimError


@dataclass
class Figuring:
    """Makes figures from runs, those that were run before taken from their files."""

    studying: Studying
    """What runs the points, and keeps them."""

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.studying.folder

    def run(self, figures: Sequence[Figure], command: str) -> list[Drawn]:
        """Runs what is missing for all of them, then draws; the account goes into reproduction.md.

        Raises SlosimError for runs that failed, after the figures that need none of them are drawn.
        """
        points = {each.name: list(each.study.points()) for each in figures}
        found = self.studying.run_all([point for each in points.values() for point in each])
        by_point = {id(each.point): each for each in found}
        drawn, trouble = [], []
        for asked in figures:
            try:
                drawn.append(self.draw(asked, [by_point[id(point)] for point in points[asked.name]]))
            except Exception as error:  # the other figures are drawn all the same
                trouble.append(f"{asked.name}: {reason(error)}")
        if trouble:
            raise SlosimError("; ".join(trouble))
        write_text(self.folder / "reproduction.md", reproduction(drawn, command, ""))
        if told := warning(drawn):
            self._say(told.replace("**", ""))
        self._say(f"Files are in {self.folder}")
        return drawn

    def draw(self, asked: Figure, found: Sequence[Found]) -> Drawn:
        """Judges and draws one figure whose runs are there: picture, table and verdict."""
        runs = by_place([each.point for each in found], list(found))
        findings = Findings(asked.study, {place: [derived(each) for each in many] for place, many in runs.items()})
        judgements = tuple(judge(claim, findings) for claim in asked.claims)
        drawn = Drawn(asked, findings, judgements, tuple(draw(asked, findings, self.folder)))
        write_text(self.folder / f"{asked.name}.md", page(drawn))
        write_text(self.folder / f"{asked.name}.csv", csv_text(findings))
        self._say(f"\n{asked.name}: {asked.study.question}")
        for each in judgements:
            self._say(f"{verdict_said(each):15} {each.claim.says}; the paper: {paper_said(each.claim)}")
        return drawn

    def _say(self, text: str) -> None:
        self.studying.out.print(text, markup=False)


def publish(drawn: Sequence[Drawn], docs: Path, command: str) -> None:
    """Writes reproduction.md into a folder of documentation, pages and pictures into `figures` below it."""
    for each in drawn:
        write_text(docs / "figures" / f"{each.figure.name}.md", page(each))
        draw(each.figure, each.findings, docs / "figures")
    write_text(docs / "reproduction.md", reproduction(drawn, command, "figures/"))
