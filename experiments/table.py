"""The table of a comparison: metrics down, policies across, each with its ratio to a baseline.

Ratios say how many times better a policy is than the baseline: goodput divides by the baseline's, a latency divides the
baseline's, as the papers report them. Shares differ in percentage points. The best of a row is marked.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from experiments.console import Literal, as_text
from experiments.escaping import in_markdown, literally
from experiments.table_rows import IN_ALL_SLOS, OF_APPLICATIONS, SECTIONS, Metric, beside, best_of, said
from traces.errors import SlosimError

Summary = Mapping[str, float]


class Cell(NamedTuple):
    """A value, its relation to the baseline, and how it stands."""

    value: str
    ratio: str = ""
    better: bool | None = None
    """Than the baseline; None where that cannot be said."""
    best: bool = False
    """Of its row."""


class Row(NamedTuple):
    """One metric of all policies."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """A table ready to be shown: sections of rows, one cell per policy."""

    policies: tuple[str, ...]
    baseline: str
    sections: Mapping[str, tuple[Row, ...]]

    @classmethod
    def of(
        cls,
        summaries: Mapping[str, Summary],
        baseline: str | None = None,
        sections: Mapping[str, Sequence[Metric]] = SECTIONS,
    ) -> Comparison:
        """Of the metrics of each policy; the first is the baseline unless said. Rows that say nothing are left out."""
        policies = tuple(summaries)
        if not policies:
            raise SlosimError("there is nothing to compare: name at least one policy")
        named = policies[0] if baseline is None else baseline
        if named not in summaries:
            close = difflib.get_close_matches(named, policies, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(policies)}"
            raise SlosimError(f"baseline {named!r} is not among the compared policies; {hint}")
        rows = {title: tuple(_rows(metrics, summaries, named)) for title, metrics in sections.items()}
        return cls(policies, named, {title: found for title, found in rows.items() if found})

    @classmethod
    def of_groups(cls, groups: Mapping[str, Mapping[str, Summary]], baseline: str | None = None) -> Comparison:
        """Of each policy's metrics by application (or SLO class): a section for each, those of the first policy."""
        flat = {
            policy: {f"{group}/{key}": value for group, summary in table.items() for key, value in summary.items()}
            for policy, table in groups.items()
        }
        sections = {
            group or _nameless(groups): [metric._replace(key=f"{group}/{metric.key}") for metric in OF_APPLICATIONS]
            for group in next(iter(groups.values()), {})
        }
        return cls.of(flat, baseline, sections)

    def tables(self, width: int = 110) -> list[Table]:
        """For rich: one table, or several if the policies do not fit into so many characters beside each other."""
        number, most = len(self.policies), len(self.policies)
        while most > 1 and not all(self._fits(columns, width) for columns in _portions(number, most)):
            most -= 1
        return [self._table(columns) for columns in _portions(number, most)]

    def text(self, width: int = 110) -> str:
        """As plain text."""
        return as_text(width, *self.tables(width))

    def markdown(self) -> str:
        """As a Markdown table; the best of a row is bold."""
        lines = [f"| | {' | '.join(map(in_markdown, self.policies))} |", "|---|" + "---:|" * len(self.policies)]
        for title, rows in self.sections.items():
            lines.append(f"| **{in_markdown(title)}** |" + " |" * len(self.policies))
            lines += [f"| {row.label} | {' | '.join(_marked(cell) for cell in row.cells)} |" for row in rows]
        return "\n".join([*lines, "", self._footnote(in_markdown(self.baseline))]).rstrip("\n") + "\n"

    def _footnote(self, baseline: str) -> str:
        """What the ratios mean, if there are any, and what "in all SLOs" means, if a row is about it."""
        rows = [row for section in self.sections.values() for row in section]
        lines = [IN_ALL_SLOS] if any("in all SLOs" in row.label for row in rows) else []
        if any(cell.ratio for row in rows for cell in row.cells):
            lines.insert(0, f"x: times better than {baseline} (latencies: shorter); pp: percentage points")
        return "\n".join(lines)

    def _fits(self, columns: range, width: int) -> bool:
        return Literal(width=1000).measure(self._table(columns)).maximum <= width

    def _table(self, columns: range) -> Table:
        table = Table(
            box=None,
            pad_edge=False,
            padding=(0, 1),
            caption=self._footnote(literally(self.baseline)) or None,
            caption_justify="left",
        )
        table.add_column("", no_wrap=True)
        for column in columns:
            table.add_column(
                literally(self.policies[column]), justify="right", header_style="bold", no_wrap=True, min_width=7
            )
            table.add_column("", justify="right", no_wrap=True)
        for title, rows in self.sections.items():
            table.add_row(Text(literally(title), "bold"))
            for row in rows:
                cells = [text for column in columns for text in _shown(row.cells[column])]
                table.add_row(f"  {row.label}", *cells)
        return table


def _nameless(groups: Mapping[str, Mapping[str, Summary]]) -> str:
    """What the requests without an application are called, so that it is no application's label."""
    title = "no application"
    while any(title in table for table in groups.values()):
        title = f"({title})"
    return title


def _portions(number: int, most: int) -> Iterator[range]:
    for first in range(0, number, most):
        yield range(first, min(first + most, number))


def _rows(metrics: Sequence[Metric], summaries: Mapping[str, Summary], baseline: str) -> Iterator[Row]:
    for metric in metrics:
        values = {name: metric.scale * float(one.get(metric.key, math.nan)) for name, one in summaries.items()}
        known = [value for value in values.values() if math.isfinite(value)]
        if known or (metric.always and any(metric.key in one for one in summaries.values())):
            best, reference = best_of(metric.kind, known), values[baseline]
            others = {name: beside(metric.kind, value, reference) for name, value in values.items() if name != baseline}
            cells = (
                Cell(said(metric.kind, value), *others.get(name, ("", None)), value == best)
                for name, value in values.items()
            )
            yield Row(metric.label, tuple(cells))


def _shown(cell: Cell) -> tuple[Text, Text]:
    colour = {True: "green", False: "red", None: ""}[cell.better]
    return Text(cell.value, "bold" if cell.best else ""), Text(cell.ratio, colour)


def _marked(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.best else cell.value
    return f"{value} ({cell.ratio})" if cell.ratio else value
