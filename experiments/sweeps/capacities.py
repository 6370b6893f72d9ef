"""Capacities at work: all searches of a scenario side by side, and what they found with its intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.console import Steps
from experiments.escaping import literally
from experiments.files import write_json
from experiments.provenance import origin
from experiments.replications import Interval, difference_said, interval, paired, said
from experiments.sweeps.capacity import Search, Target
from experiments.sweeps.executors import opened
from experiments.sweeps.plan import Point, Varied
from experiments.sweeps.progress import Progress
from experiments.sweeps.report import WIDE, beyond
from experiments.sweeps.running import Found, Running
from experiments.sweeps.store import Record, Store
from experiments.sweeps.table import write_points


@dataclass
class Capacities:
    """Finds the capacity of every point's policy and setting, for every seed."""

    starts: Sequence[Point]
    targets: Sequence[Target]
    folder: Path
    out: Console
    asked: Mapping[str, Any] = field(default_factory=dict)
    executor: str = "local"
    jobs: int | None = None
    start: float = 1.0
    """Requests per second at which to begin where the trace has no rate."""
    tolerance: float = 0.01
    found: list[Found] = field(default_factory=list)

    def run(self) -> int:
        """The number of searches without an answer; passes an interrupt on after writing what is finished."""
        searches = [Search(point, point.rate or self.start, self.tolerance) for point in self.starts]
        try:
            with opened(self.executor, self.jobs) as cluster:
                self._search(Running(Store(self.folder / "points"), cluster), searches)
        except KeyboardInterrupt:
            done = sum(search.done for search in searches)
            self._write(searches)
            self.out.print(
                f"\nInterrupted. {done} of {len(searches)} searches are finished, {len(self.found)} runs are kept in "
                f"{self.folder}; the same command goes on from here",
                markup=False,
            )
            raise
        self._conclude(searches)
        return sum(bool(search.error) for search in searches)

    def _search(self, running: Running, searches: list[Search]) -> None:
        asking = {(search.start.varied, search.start.policy.title, search.start.seed): search for search in searches}
        queue = deque(search.point for search in searches)
        with Steps(self.out, "searching", sum(search.left for search in searches)) as steps:
            progress = Progress(steps)
            for each in running.run(queue):
                self.found.append(each)
                search = asking[each.point.varied, each.point.policy.title, each.point.seed]
                if isinstance(each.kept, Record):
                    met = all(target.met(each.kept.summary) for target in self.targets)
                    search.told(each.kept, met, shortest([target.short(each.kept.summary) for target in self.targets]))
                    if search.undefined:
                        search.error = undefined(self.targets, each.kept)
                else:
                    search.error = each.kept.error
                if not search.done:
                    queue.append(search.point)
                steps.total = steps.done + 1 + sum(other.left for other in searches)
                if each.before:
                    progress.kept()
                else:
                    progress.finished(f"{each.point.title}: {_where(search)}", urgent=bool(search.error))
        progress.mended(running)

    def _conclude(self, searches: list[Search]) -> None:
        self._write(searches)
        grouped = groups(searches)
        self.out.print(f"\nHighest rate with {' and '.join(map(str, self.targets))}, requests/s", markup=False)
        self.out.print(_table(grouped))
        self.out.print("± and *: 95 % intervals over seeds; differences are paired", markup=False)
        for warning in (*warnings(grouped), *beyond([run for search in searches for run in search.kept.values()])):
            self.out.print(f"warning: {warning}", markup=False)
        path = str(self.folder / "points.parquet")
        self.out.print(f"All {len(self.found)} runs: pandas.read_parquet({path!r})", markup=False, soft_wrap=True)

    def _write(self, searches: list[Search]) -> None:
        write_points(self.folder / "points.parquet", self.found, self.asked)
        content = {
            "targets": [str(target) for target in self.targets],
            "tolerance": self.tolerance,
            "capacities": [_as_json(*group) for group in groups(searches).items()],
            "provenance": origin({"asked": self.asked}),
        }
        write_json(self.folder / "capacity.json", content)


def shortest(short: Sequence[float]) -> float:
    """How far a run is from keeping all targets: the largest of the distances; nan if one is not defined."""
    return float("nan") if any(map(isnan, short)) else max(short)


def undefined(targets: Sequence[Target], record: Record) -> str:
    """What to say where no run has a value for a target."""
    name = next(target.metric for target in targets if isnan(target.short(record.summary)))
    return f"{name} is not defined at any rate tried: no request has such an SLO, or none finished"


Groups = dict[tuple[Varied, str], list[Search]]
"""The searches of each setting and policy, by seed."""


def groups(searches: Sequence[Search]) -> Groups:
    """Searches that differ in their seed only."""
    found: Groups = {}
    for search in sorted(searches, key=lambda search: search.start.seed):
        found.setdefault((search.start.varied, search.start.policy.title), []).append(search)
    return found


def capacity(searches: Sequence[Search]) -> Interval:
    """The mean over the seeds with Student's interval; nan unless each of them has a rate, all on the same side."""
    if not all(search.answered for search in searches) or len({search.rising for search in searches}) > 1:
        return Interval(float("nan"), float("inf"))
    return interval([search.low for search in searches])


def warnings(grouped: Groups) -> Iterator[str]:
    """What not to trust, and what to do."""
    for (varied, policy), searches in grouped.items():
        title, found = _title(varied, policy), capacity(searches)
        seeds = [search for search in searches if search.answered]
        of_all = f"of {len(searches)} seeds"
        if failed := [search for search in searches if search.error]:
            yield f"{title}: {len(failed)} {of_all} FAILED, such as: {failed[0].error}"
        if never := [search for search in searches if search.hopeless]:
            yield f"{title}: {len(never)} {of_all} keep the target at no rate that was tried, {_ends(never[0])}"
        if always := [search for search in searches if search.unbounded]:
            yield f"{title}: {len(always)} {of_all} keep the target at any rate that was tried, {_ends(always[0])}"
        if rising := [search for search in seeds if search.rising]:
            yield (
                f"{title}: {len(rising)} {of_all} keep the target from the rate shown on, up to the highest tried "
                f"({rising[0].ends[1]:g}): it rises with the rate, so that there is no highest"
            )
        if len(searches) < 2:
            yield f"{title}: one seed says nothing about chance: --seeds 10 gives an interval"
        elif found.half > WIDE * found.mean > 0:
            yield f"{title}: the capacity is not known to {WIDE:.0%}: use more seeds, or more requests"
        falling = [search for search in seeds if not search.rising]
        growing = sum(search.at_low is not None and search.at_low.overloaded for search in falling)
        if 2 * growing > len(seeds):
            yield (
                f"{title}: at its capacity the queue still grew when the last request came ({growing} {of_all}); "
                "a longer trace has a lower one: use more requests"
            )


def _table(grouped: Groups) -> object:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", "capacity", "difference", "lowest seed", "highest seed", "seeds", "runs"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for (varied, policy), searches in grouped.items():
        first = next(each for (place, _), each in grouped.items() if place == varied)
        lows = [search.low for search in searches if search.answered]
        ends = [f"{end(lows):g}" if lows else "-" for end in (min, max)]
        runs = str(sum(search.runs for search in searches))
        shown = [said(capacity(searches)), _difference(searches, first), *ends, str(len(lows)), runs]
        table.add_row(_title(varied, policy), *shown)
    return table


def _difference(searches: list[Search], first: list[Search]) -> str:
    """From the setting's first policy, seed by seed."""
    if searches is first:
        return ""
    if not all(search.answered for search in (*searches, *first)):
        return "-"
    return difference_said(paired([search.low for search in searches], [search.low for search in first]))


def _as_json(place: tuple[Varied, str], searches: list[Search]) -> dict[str, Any]:
    found = capacity(searches)
    each = [
        {
            "seed": one.start.seed,
            "kept_at": one.low or None,
            "lost_at": one.high,
            "rising": one.rising,
            "tried": one.ends,
            "runs": one.runs,
            "error": one.error,
        }
        for one in searches
    ]
    return {"policy": place[1], "settings": dict(place[0]), "mean": found.mean, "half": found.half, "seeds": each}


def _where(search: Search) -> str:
    if search.error:
        return f"FAILED: {search.error}"
    if not search.kept:
        return f"not kept so far, {_ends(search)}"
    low, high = sorted((search.low, search.high))
    return f"between {low:g} and {high:g}"


def _ends(search: Search) -> str:
    low, high = search.ends
    return f"from {low:g} to {high:g} requests/s"


def _title(varied: Varied, policy: str) -> str:
    return literally(", ".join([*(f"{name}={value}" for name, value in varied), policy]))
