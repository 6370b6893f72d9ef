"""The main job: policies side by side on one workload, at the loads that matter, as tables, pictures and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.bound.standing import standing
from experiments.causes.files import read_causes
from experiments.causes.table import causes_table
from experiments.console import Steps
from experiments.escaping import in_path
from experiments.files import write_json, write_text
from experiments.grid import Cell, Outcome, Summary, cells, folder_names, load_name, run_cell
from experiments.header import print_header
from experiments.inputs import build, load_in_words, quiet_reading
from experiments.pool import remove_drafts, run_all
from experiments.replications import paired_table
from experiments.results import read
from experiments.runs_table import replica_table, write_runs
from experiments.scenario import Scenario
from experiments.table import Comparison
from sim.attribution import roll_up

DEFAULTS = {
    "trace": {"source": "paper_mix", "requests": 3000, "rate": 8.0},
    "rates": [0.6, 8.0],
    "sweep": [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1.0, 2.0],
}
"""What is compared unless told otherwise: the paper's mix, with a tenth of its requests so that it takes a minute.

In detail at the paper's rate (8 requests/s, far above what one such GPU serves) and just below what it can serve; and
in a sweep from idle to there."""


@dataclass
class Comparing:
    """A comparison at work."""

    scenario: Scenario
    folder: Path
    out: Console
    jobs: int = 1
    baseline: str | None = None
    timeline: bool = False
    finished: dict[Cell, Outcome] = field(default_factory=dict)

    def run(self) -> None:
        """Runs everything, shows it and says where it is; raises KeyboardInterrupt after saying what is left."""
        Comparison.of(
            {policy.title: {} for policy in self.scenario.policies}, self.baseline
        )  # a wrong name fails early
        tasks = list(cells(self.scenario, self.folder, self.timeline))
        asked = self.scenario.model_dump(mode="json") | {"digest": self.scenario.digest}
        write_json(self.folder / "scenario.json", asked | self._folders())
        rates = sorted({cell.rate for cell in tasks if cell.rate is not None})
        with quiet_reading():
            print_header(self.out, self.scenario, build(tasks[0].scenario), rates, len(tasks), self.jobs)
        try:
            self._run_all(tasks)
            self._bound()
        except KeyboardInterrupt:
            remove_drafts(self.folder)
            self.out.print(
                f"\nInterrupted. {len(self.finished)} of {len(tasks)} runs are finished and whole, in {self.folder}"
            )
            raise
        for rate in self.scenario.rates or (self.scenario.trace.rate,):
            self._show(rate)
        self._sweep()
        self._conclude()

    def _folders(self) -> dict[str, dict[str, str]]:
        """Which folder is whose, where that cannot be seen from a title."""
        names = folder_names(tuple(policy.title for policy in self.scenario.policies))
        return {"folders": dict(names)} if any(name != in_path(title) for title, name in names.items()) else {}

    def _run_all(self, tasks: list[Cell]) -> None:
        with Steps(self.out, "starting", len(tasks)) as steps:
            for cell, outcome in run_all(run_cell, tasks, self.jobs):
                self.finished[cell] = outcome
                load = load_in_words(self.scenario.trace, cell.rate)
                seed = f", seed {cell.seed}" if self.scenario.seeds > 1 else ""
                steps.finished(f"{cell.title}, {load}{seed}: {outcome.requests:,} requests in {outcome.seconds:.1f} s")

    def _bound(self) -> None:
        """Puts every run beside what no scheduler can exceed, and beside Oracle."""
        loads = len({(cell.rate, cell.seed) for cell in self.finished})
        with Steps(self.out, "bounds", loads) as steps:
            for beside in standing(self.finished, self.jobs):
                self.finished |= beside
                cell = next(iter(beside))
                load = load_in_words(self.scenario.trace, cell.rate)
                steps.finished(f"bounds, {load}")

    def at(self, rate: float | None) -> Mapping[str, list[Summary]]:
        """The metrics of each policy at a load, by seed."""
        chosen = sorted(
            (cell for cell in self.finished if cell.rate == rate), key=lambda cell: (cell.policy, cell.seed)
        )
        titles = dict.fromkeys(cell.title for cell in chosen)
        return {title: [self.finished[cell].summary for cell in chosen if cell.title == title] for title in titles}

    def _show(self, rate: float | None) -> None:
        """The tables and pictures of one load."""
        from experiments.causes.picture import draw_causes
        from experiments.causes.words import why_late
        from experiments.pictures import draw

        summaries = self.at(rate)
        folder = self.folder / load_name(rate)
        results = {cell.title: read(cell.place) for cell in self._detailed(rate)}
        causes = {cell.title: roll_up(results[cell.title], read_causes(cell.place)) for cell in self._detailed(rate)}
        table = Comparison.of({title: _mean(each) for title, each in summaries.items()}, self.baseline)
        groups = Comparison.of_groups(
            {title: result.by_application() for title, result in results.items()}, self.baseline
        )
        self.out.rule(f"{load_in_words(self.scenario.trace, rate)}{self._averaged()}", align="left")
        for shown in table.tables(self.out.width):
            self.out.print(shown)
        self.out.print()
        for name, one in causes.items():
            self.out.print(why_late(name, one), markup=False, highlight=False)
        self.out.print()
        parts = (table, groups, causes_table(causes, self.baseline))
        text, markdown = (
            "\n".join(part) for part in zip(*((one.text(), one.markdown()) for one in parts), strict=True)
        )
        if self.scenario.seeds > 1:
            differences = paired_table(summaries, table.baseline)
            self.out.print(differences, markup=False)
            text, markdown = text + "\n" + differences, f"{markdown}\n```\n{differences}```\n"
        if replicas := replica_table(results):
            self.out.print(replicas, markup=False, highlight=False)
            text, markdown = text + "\n" + replicas, f"{markdown}\n```\n{replicas}```\n"
        write_text(folder / "table.txt", text)
        write_text(folder / "table.md", markdown)
        draw(results, folder)
        draw_causes(causes, folder / "causes.png")

    def _detailed(self, rate: float | None) -> Iterator[Cell]:
        chosen = (cell for cell in self.finished if cell.rate == rate and cell.detailed)
        yield from sorted(chosen, key=lambda cell: cell.policy)

    def _averaged(self) -> str:
        return f", mean of {self.scenario.seeds} seeds" if self.scenario.seeds > 1 else ""

    def _sweep(self) -> None:
        """The picture of metrics against load, and all runs as one table."""
        from experiments.sweep_picture import SweepPoint, draw_sweep

        ordered = sorted(self.finished.items(), key=lambda each: (each[0].policy, each[0].rate or 0.0, each[0].seed))
        write_runs(self.folder / "runs.csv", ordered)
        points = [SweepPoint(cell.title, cell.rate, cell.seed, done.summary) for cell, done in ordered if cell.rate]
        if len({point.rate for point in points}) > 1:
            draw_sweep(points, self.folder / "sweep.png")

    def _conclude(self) -> None:
        """Where everything is."""
        self.out.print(f"Files are in {self.folder}", markup=False, style="bold")
        shown = [load_name(rate) for rate in self.scenario.rates or (self.scenario.trace.rate,)]
        places = {
            f"{' and '.join(shown)}/": "table.txt, table.md; causes, goodput, latency, utilization and attainment.png",
            "  POLICY/": "requests, iterations, spans, events and causes.parquet; summary.json; bench.json (as vLLM's)"
            + ("; timeline.json.gz (open in ui.perfetto.dev)" if self.timeline else ""),
            "sweep.png": "metrics against the arrival rate" if (self.folder / "sweep.png").exists() else "",
            "runs.csv": "the metrics of all runs",
            "scenario.json": "what was asked for",
        }
        for name, what in places.items():
            if what:
                self.out.print(f"  {name:22} {what}", markup=False)


def _mean(summaries: list[Summary]) -> Summary:
    """The mean of each metric over seeds."""
    return {key: sum(each[key] for each in summaries) / len(summaries) for key in summaries[0]}
