"""The main job: policies side by side on one workload, at the loads that matter, as tables, pictures and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.bound.standing import standing
from experiments.causes.files import read_causes
from experiments.causes.table import causes_table
from experiments.console import Steps
from experiments.escaping import in_path
from experiments.files import write_json, write_text
from experiments.grid import Cell, Failure, Outcome, Summary, cells, folder_names, load_name, try_cell
from experiments.header import cautions, print_header
from experiments.inputs import build, load_in_words, quiet_reading
from experiments.pool import DIED, WorkersLost, remove_drafts, run_all
from experiments.replications import paired_table
from experiments.results import read
from experiments.runs_table import replica_table, write_runs
from experiments.scenario import Scenario
from experiments.table import Comparison
from experiments.used_folder import make_ready
from sim.attribution import RollUp, roll_up
from sim.result import RunResult
from traces.reading import counted

DEFAULTS = {
    "trace": {"source": "paper_mix", "requests": 3000, "rate": 8.0},
    "rates": [0.6, 8.0],
    "sweep": [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1.0, 2.0],
}
"""What is compared unless told otherwise: the paper's mix, with a tenth of its requests so that it takes a minute.

In detail at the paper's rate (8 requests/s, far above what one such GPU serves) and just below what it can serve; and
in a sweep from idle to there."""

MOST_FAILURES = 10
"""Failures that are printed; a file has all."""


@dataclass
class Comparing:
    """A comparison at work."""

    scenario: Scenario
    folder: Path
    out: Console
    jobs: int = 1
    baseline: str | None = None
    timeline: bool = False
    overwrite: bool = False
    """Whether it may write into a folder with files of others."""
    finished: dict[Cell, Outcome] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)

    def run(self) -> int:
        """Runs everything, shows it and says where it is; returns how many runs and pictures failed.

        All runs, and tables of all of them, are written before anything is drawn. Raises KeyboardInterrupt after saying
        what is left.
        """
        Comparison.of(
            {policy.title: {} for policy in self.scenario.policies}, self.baseline
        )  # a wrong name fails early
        tasks = list(cells(self.scenario, self.folder, self.timeline))
        asked = self.scenario.model_dump(mode="json") | {"digest": self.scenario.digest}
        with quiet_reading():
            inputs = build(tasks[0].scenario)
        if removed := make_ready(self.folder, self.overwrite):
            self.out.print(f"Removed a former comparison ({counted(removed, 'file')}) from {self.folder}", markup=False)
        write_json(self.folder / "scenario.json", asked | self._folders())
        rates = sorted({cell.rate for cell in tasks if cell.rate is not None})
        print_header(self.out, self.scenario, inputs, rates, len(tasks), self.jobs)
        try:
            self._run_all(tasks)
            self._bound()
        except KeyboardInterrupt:
            remove_drafts(self.folder)
            self.out.print(
                f"\nInterrupted. {len(self.finished)} of {len(tasks)} runs are finished and whole, in {self.folder}"
            )
            raise
        shown = [rate for rate in self.scenario.rates or (self.scenario.trace.rate,) if self.at(rate)]
        self._write_runs()
        for rate in shown:
            self._show(rate)
        for rate in shown:
            self._draw(rate)
        self._draw_sweep()
        self._conclude()
        self._say_failures(len(tasks))
        return len(self.failed)

    def _folders(self) -> dict[str, dict[str, str]]:
        """The folder of each policy, if a folder's name differs from the plain form of its title."""
        names = folder_names(tuple(policy.title for policy in self.scenario.policies))
        return {"folders": dict(names)} if any(name != in_path(title) for title, name in names.items()) else {}

    def _run_all(self, tasks: list[Cell]) -> None:
        with Steps(self.out, "starting", len(tasks)) as steps:
            try:
                for cell, outcome in run_all(try_cell, tasks, self.jobs):
                    steps.finished(f"{self._named(cell)}: {self._done(cell, outcome)}")
            except WorkersLost as error:
                for cell in error.tasks:
                    steps.finished(f"{self._named(cell)}: {self._done(cell, Failure(self._named(cell), DIED))}")

    def _named(self, cell: Cell) -> str:
        seed = f", seed {cell.seed}" if self.scenario.seeds > 1 else ""
        return f"{cell.title}, {load_in_words(self.scenario.trace, cell.rate)}{seed}"

    def _done(self, cell: Cell, outcome: Outcome | Failure) -> str:
        """Records the outcome of a run; returns its line of progress."""
        if isinstance(outcome, Failure):
            self.failed.append(outcome._replace(what=self._named(cell)))
            return f"FAILED: {outcome.why}"
        self.finished[cell] = outcome
        return f"{counted(outcome.requests, 'request')} in {outcome.seconds:.1f} s"

    def _bound(self) -> None:
        """Puts every run beside what no scheduler can exceed, and beside Oracle."""
        loads = len({(cell.rate, cell.seed) for cell in self.finished})
        with Steps(self.out, "bounds", loads) as steps:
            try:
                for beside in standing(self.finished, self.jobs):
                    self.finished |= beside
                    cell = next(iter(beside))
                    load = load_in_words(self.scenario.trace, cell.rate)
                    steps.finished(f"bounds, {load}")
            except Exception as error:  # the runs are worth their tables without
                self.failed.append(Failure.of("bounds", error))

    def at(self, rate: float | None) -> Mapping[str, list[Summary]]:
        """The metrics of each policy at a load, by seed; of those that have all their seeds."""
        chosen = sorted(
            (cell for cell in self.finished if cell.rate == rate), key=lambda cell: (cell.policy, cell.seed)
        )
        titles = dict.fromkeys(cell.title for cell in chosen)
        runs = {title: [self.finished[cell].summary for cell in chosen if cell.title == title] for title in titles}
        return {title: each for title, each in runs.items() if len(each) == self.scenario.seeds}

    def _show(self, rate: float | None) -> None:
        """The tables of one load."""
        from experiments.causes.words import why_late

        summaries = self.at(rate)
        folder = self.folder / load_name(rate)
        results, causes = self._read(rate)
        baseline = self.baseline if self.baseline in summaries else None
        table = Comparison.of({title: _mean(each) for title, each in summaries.items()}, baseline)
        groups = Comparison.of_groups({title: result.by_application() for title, result in results.items()}, baseline)
        self.out.rule(f"{load_in_words(self.scenario.trace, rate)}{self._averaged()}", align="left")
        for shown in table.tables(self.out.width):
            self.out.print(shown)
        self.out.print()
        for name, one in causes.items():
            self.out.print(why_late(name, one), markup=False, highlight=False)
        self.out.print()
        parts = (table, groups, causes_table(causes, baseline))
        text, markdown = (
            "\n".join(part) for part in zip(*((one.text(), one.markdown()) for one in parts), strict=True)
        )
        if self.scenario.seeds > 1:
            differences = paired_table(summaries, table.baseline)
            self.out.print(differences, markup=False)
            text, markdown = text + "\n" + differences, f"{markdown}\n```\n{differences}```\n"
        for line in (warned := cautions(results)):
            self.out.print(line, markup=False, highlight=False)
        text = "\n".join([text, *warned, ""]) if warned else text
        if replicas := replica_table(results):
            self.out.print(replicas, markup=False, highlight=False)
            text, markdown = text + "\n" + replicas, f"{markdown}\n```\n{replicas}```\n"
        write_text(folder / "table.txt", text)
        write_text(folder / "table.md", markdown)

    def _read(self, rate: float | None) -> tuple[dict[str, RunResult], dict[str, RollUp]]:
        """The detailed runs of a load and their causes of delay, from their files, by policy."""
        titles = self.at(rate)
        chosen = (cell for cell in self.finished if cell.rate == rate and cell.detailed and cell.title in titles)
        places = {cell.title: cell.place for cell in sorted(chosen, key=lambda cell: cell.policy)}
        results = {title: read(place) for title, place in places.items()}
        return results, {title: roll_up(results[title], read_causes(place)) for title, place in places.items()}

    def _draw(self, rate: float | None) -> None:
        """Draws the pictures of one load; records one that fails, and draws the others."""
        from experiments.causes.picture import draw_causes
        from experiments.pictures import PICTURES

        folder = self.folder / load_name(rate)
        results, causes = self._read(rate)
        for name, picture in PICTURES.items():
            self._drawn(folder / f"{name}.png", partial(picture, results))
        self._drawn(folder / "causes.png", partial(draw_causes, causes))

    def _drawn(self, path: Path, draw: Callable[[Path], object]) -> None:
        try:
            draw(path)
        except Exception as error:
            self.failed.append(Failure.of(str(path), error))

    def _averaged(self) -> str:
        return f", mean of {self.scenario.seeds} seeds" if self.scenario.seeds > 1 else ""

    def _ordered(self) -> list[tuple[Cell, Outcome]]:
        return sorted(self.finished.items(), key=lambda each: (each[0].policy, each[0].rate or 0.0, each[0].seed))

    def _write_runs(self) -> None:
        """All runs as one table."""
        if self.finished:
            write_runs(self.folder / "runs.csv", self._ordered())

    def _draw_sweep(self) -> None:
        """The picture of metrics against load."""
        from experiments.sweep_picture import SweepPoint, draw_sweep

        whole = {(rate, title) for rate in {cell.rate for cell in self.finished} for title in self.at(rate)}
        points = [
            SweepPoint(cell.title, cell.rate, cell.seed, done.summary)
            for cell, done in self._ordered()
            if cell.rate and (cell.rate, cell.title) in whole
        ]
        if len({point.rate for point in points}) > 1:
            self._drawn(self.folder / "sweep.png", partial(draw_sweep, points))

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

    def _say_failures(self, runs: int) -> None:
        """Prints the failures, and writes them with their tracebacks to failures.txt."""
        if not self.failed:
            return
        told = "\n\n".join(f"{each.what}: {each.why}\n{each.trace}".rstrip() for each in self.failed)
        write_text(self.folder / "failures.txt", told + "\n")
        if self.baseline and not all(self.baseline in self.at(cell.rate) for cell in self.finished):
            self.out.print(f"{self.baseline} failed at some loads: their tables have another baseline", markup=False)
        for each in self.failed[:MOST_FAILURES]:
            self.out.print(f"FAILED: {each.what}: {each.why}", markup=False, soft_wrap=True)
        more = len(self.failed) - MOST_FAILURES
        place = self.folder / "failures.txt"
        self.out.print(
            f"{f'and {more} more; ' if more > 0 else ''}{len(self.finished)} of {runs} runs are finished; {place} has "
            "the tracebacks",
            markup=False,
            soft_wrap=True,
        )


def _mean(summaries: list[Summary]) -> Summary:
    """The mean of each metric over seeds."""
    common = [key for key in summaries[0] if all(key in each for each in summaries)]
    return {key: sum(each[key] for each in summaries) / len(summaries) for key in common}
