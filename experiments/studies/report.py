"""A study's answer as tables: text, Markdown and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from math import isfinite

from experiments.escaping import as_code, in_csv, in_markdown
from experiments.studies.findings import Findings, is_share, labelled, said
from experiments.studies.study import Setting
from experiments.studies.verdicts import SMALL, lowest_and_highest

Table = list[list[str]]
"""The heading and the rows."""


def tables(findings: Findings) -> Iterator[tuple[str, Table]]:
    """One table for each setting and metric: the baseline's level, then how far the others are from it, by load."""
    for setting in findings.study.settings:
        for metric in findings.study.metrics:
            heading = ["requests/s", *(f"{rate:g}" for rate in setting.rates)]
            yield f"{setting.name}: {caption(metric)}", [heading, *rows(findings, (setting,), metric)]


def wide_tables(findings: Findings) -> Iterator[tuple[str, Table]]:
    """One table for each metric, with all settings beside each other."""
    settings = findings.study.settings
    for metric in findings.study.metrics:
        places = [f"{setting.name}, {rate:g}/s" for setting in settings for rate in setting.rates]
        yield caption(metric), [["", *places], *rows(findings, settings, metric)]


def summary(findings: Findings) -> tuple[str, Table]:
    """The most that each variant differs from the baseline, either way."""
    study = findings.study
    told = (
        "The most that each differs either way, where it is not chance and more than "
        f"{SMALL[False]:g} % or {SMALL[True]:g} points; \N{EN DASH}: nowhere"
    )
    body = [
        [each.title, *(lowest_and_highest(findings, each, metric) for metric in study.metrics)]
        for each in study.variants
    ]
    return told, [["", *map(caption, study.metrics)], *body[1:]]


def caption(metric: str) -> str:
    """What a table shows."""
    return f"{labelled(metric)}; differences in {'points' if is_share(metric) else '%'}"


def rows(findings: Findings, settings: Sequence[Setting], metric: str) -> Iterator[list[str]]:
    """The baseline's level, and each variant's difference from it, at every load of some settings."""
    study = findings.study
    scale = 100 if is_share(metric) else 1
    places = [(setting, rate) for setting in settings for rate in setting.rates]
    levels = (findings.level(*place, study.baseline, metric).mean for place in places)
    yield [f"{study.baseline.title} (level)", *(f"{scale * level:.4g}" for level in levels)]
    for variant in study.variants[1:]:
        yield [variant.title, *(said(findings.change(*place, variant, metric)) for place in places)]


def footnote(findings: Findings) -> str:
    """What the tables show."""
    study = findings.study
    seeds = f"seeds {study.first_seed} to {study.first_seed + study.seeds - 1}"
    return (
        f"{study.requests:,} requests, {seeds}; differences from {study.baseline.title}, paired by seed, with 95 % "
        "intervals; *: not chance"
    )


def markdown(findings: Findings) -> str:
    """Everything, as Markdown."""
    study = findings.study
    machines = "\n".join(f"- {setting.name}: {setting.what}" for setting in study.settings)
    stand_for = "\n".join(f"- {as_code(variant.title)}: {variant.what}" for variant in study.variants if variant.what)
    parts = [f"# {study.question}", study.verdict(findings), machines, stand_for]
    for title, table in [summary(findings), *wide_tables(findings)]:
        parts += [f"**{title}**", markdown_table(table)]
    made = f"Made by `slosim study {study.name}`: {footnote(findings)}."
    return "\n\n".join(part for part in [*parts, made] if part) + "\n"


def markdown_table(table: Table) -> str:
    """One table; the first column is code."""
    heading, *rows = table
    lines = ["| " + " | ".join(map(in_markdown, heading)) + " |", "|---|" + "---:|" * (len(heading) - 1)]
    return "\n".join([*lines, *(f"| {as_code(row[0])} | " + " | ".join(row[1:]) + " |" for row in rows)])


def text(findings: Findings) -> str:
    """Everything, as plain text."""
    parts = []
    for title, table in tables(findings):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
            for row in table
        ]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join([*parts, footnote(findings), findings.study.verdict(findings)]) + "\n"


def csv_text(findings: Findings) -> str:
    """Every run with all of its metrics."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for number, (place, summaries) in enumerate(findings.runs.items()):
        for seed, summary in enumerate(summaries, findings.study.first_seed):
            if not number and seed == findings.study.first_seed:
                writer.writerow(["setting", "rate", "variant", "seed", *summary])
            values = (repr(value) if isfinite(value) else "" for value in summary.values())
            writer.writerow([in_csv(place.setting), f"{place.rate:g}", in_csv(place.variant), seed, *values])
    return out.getvalue()
