"""What a sweep found, in words: levels with intervals, paired differences, and what not to trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import NamedTuple

from rich.console import RenderableType
from rich.text import Text

from experiments.console import as_text
from experiments.escaping import literally
from experiments.inputs import load_in_words
from experiments.replications import Interval, difference_said, interval, paired, said
from experiments.sweeps.plan import Varied
from experiments.sweeps.quantiles import jackknifed
from experiments.sweeps.running import Found
from experiments.sweeps.store import Record

ENOUGH = 100
"""Values beyond the 99th percentile of a run below which it rests on too few."""
WIDE = 0.1
"""Share of its value that an interval may be wide to either side."""
UNITS = {"ttft": "requests", "tbt": "tokens"}
"""The latencies that are shown, and what has them."""


class Place(NamedTuple):
    """What all policies of a sweep see alike."""

    varied: Varied
    rate: float | None
    load: str
    """The rate in words."""

    @property
    def title(self) -> str:
        """In words."""
        return ", ".join([*(f"{name}={value}" for name, value in self.varied), self.load])


@dataclass(frozen=True)
class Group:
    """The replications of one policy at one place, by seed."""

    place: Place
    policy: str
    runs: dict[int, Record]

    @property
    def title(self) -> str:
        """In words."""
        return literally(f"{self.policy} ({self.place.title})")

    def of(self, metric: str) -> list[float]:
        """A metric, seed by seed."""
        return [self.runs[seed].summary[metric] for seed in sorted(self.runs)]

    @cached_property
    def p99(self) -> dict[str, Interval]:
        """The 99th percentiles of latencies, of all runs pooled."""
        return {
            latency: jackknifed([self.runs[seed].tails[latency] for seed in sorted(self.runs)], 0.99)
            for latency in UNITS
        }

    def beside(self, other: Group, metric: str) -> Interval:
        """The difference, paired by the seeds that both have."""
        seeds = sorted(self.runs.keys() & other.runs.keys())
        return paired(*([each.runs[seed].summary[metric] for seed in seeds] for each in (self, other)))


def groups(found: Iterable[Found]) -> list[Group]:
    """What was found, without what failed, in its order."""
    grouped: dict[tuple[Place, str], dict[int, Record]] = {}
    for point, kept, _ in found:
        place = Place(point.varied, point.rate, load_in_words(point.scenario.trace, point.rate))
        runs = grouped.setdefault((place, point.policy.title), {})
        if isinstance(kept, Record):
            runs[point.seed] = kept
    return [Group(place, policy, runs) for (place, policy), runs in grouped.items()]


def told(found: Sequence[Group]) -> str:
    """A table for each place: levels with 95 % intervals, and differences from the place's first policy."""
    shown: list[RenderableType] = []
    for place in dict.fromkeys(group.place for group in found):
        shown += [Text(f"\n{literally(place.title)}"), _table([group for group in found if group.place == place])]
    return as_text(140, *shown)


COLUMNS: dict[str, Callable[[Group, Group], str]] = {
    "runs": lambda group, _: str(len(group.runs)),
    "goodput, tokens/s": lambda group, _: said(interval(group.of("goodput"))),
    "difference": lambda group, first: _difference(group, first, "goodput", 1.0),
    "in all SLOs, %": lambda group, _: said(interval(group.of("slo_attainment_requests")), 100.0),
    "points": lambda group, first: _difference(group, first, "slo_attainment_requests", 100.0),
    "TTFT p99, s": lambda group, _: said(group.p99["ttft"]),
    "TBT p99, s": lambda group, _: said(group.p99["tbt"]),
    "": lambda group, _: "overloaded" if _overloaded(group) else "",
}
"""What is said of a group beside the first one of its place."""


def _table(found: Sequence[Group]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("", *COLUMNS):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for group in found:
        table.add_row(
            literally(group.policy), *(column(group, found[0]) if group.runs else "-" for column in COLUMNS.values())
        )
    return table


def _difference(group: Group, first: Group, metric: str, scale: float) -> str:
    if group is first:
        return ""
    return difference_said(group.beside(first, metric), scale)


def warnings(found: Sequence[Group]) -> Iterator[str]:
    """What not to trust, and what to do."""
    known = [group for group in found if group.runs]
    if any(len(group.runs) < 2 for group in known):
        yield "one seed says nothing about chance: --seeds 10 gives intervals"
    for latency in UNITS:
        yield from _about_p99(known, latency)
    if over := [group for group in known if _overloaded(group)]:
        yield (
            f"overloaded: {_some(over)}. Its queue grew for as long as requests came, so latencies and goodput "
            "depend on how long that was"
        )


def beyond(runs: Sequence[Record]) -> Iterator[str]:
    """Where runs went beyond model, GPU or profile: of each kind one of them in full, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for run in runs:
        for text in run.cautions:
            kinds.setdefault(_kind(text), []).append(text)
    for texts in kinds.values():
        worst = max(texts, key=lambda text: (texts.count(text), text))
        yield (
            f"{len(texts)} of {len(runs)} runs, such as: {worst}"
            if set(texts) != {worst}
            else (f"{len(texts)} of {len(runs)} runs: {worst}")
        )


def _kind(text: str) -> str:
    """What a caution is about: its words without its numbers."""
    return " ".join(word for word in text.split() if not any(sign.isdigit() for sign in word))


def _about_p99(found: Sequence[Group], latency: str) -> Iterator[str]:
    name, unit = f"the p99 of {latency.upper()}", UNITS[latency]
    fewest = {group.title: min(run.tails[latency].size for run in group.runs.values()) / 100 for group in found}
    if few := [group for group in found if fewest[group.title] < ENOUGH]:
        least = min(fewest.values())
        yield f"beyond {name} lie fewer than {ENOUGH} {unit} of a run ({least:.0f}), {_some(few)}: use more requests"
    wide = [group for group in found if isfinite((each := group.p99[latency]).half) and each.half > WIDE * each.mean]
    if wide:
        yield f"{name} is not known to {WIDE:.0%}, {_some(wide)}: use more seeds"


def _some(found: Sequence[Group]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0].title}{more}"


def _overloaded(group: Group) -> bool:
    """Whether most of its runs were."""
    return 2 * sum(run.overloaded for run in group.runs.values()) > len(group.runs)
