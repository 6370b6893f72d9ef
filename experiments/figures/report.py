"""What figures write: a page for each, and docs/reproduction.md with every claim and its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from experiments.figures.figure import EVERY, REQUESTS, SEEDS, Claim, Figure
from experiments.figures.judging import NEAR, PART, Judgement, values
from experiments.figures.words import NONE, ours_said, paper_said, where_said
from experiments.replications import interval
from experiments.studies.findings import Findings, labelled
from experiments.studies.report import Table, footnote, markdown_table, tables
from experiments.studies.study import Study

HEADING = "| claim | the paper | ours at the paper's load | where it holds | verdict |\n|---|---|---|---|---|"


class Drawn(NamedTuple):
    """A figure that is done."""

    figure: Figure
    findings: Findings
    judgements: tuple[Judgement, ...]
    pictures: tuple[Path, ...]


def claims_table(judgements: Sequence[Judgement], study: Study) -> str:
    """A row for each claim."""
    return "\n".join([HEADING, *(_row(each, study) for each in judgements)])


def _row(judgement: Judgement, study: Study) -> str:
    claim = judgement.claim
    said = (f"{claim.says} ({claim.source})", paper_said(claim), ours_said(judgement, study))
    return "| " + " | ".join((*said, where_said(judgement, study), f"**{verdict_said(judgement)}**")) + " |"


def verdict_said(judgement: Judgement) -> str:
    """The verdict in a word or two."""
    return "not reproduced" if judgement.verdict == "not" else judgement.verdict


def whys(judgements: Sequence[Judgement]) -> str:
    """Why claims do not reproduce, as far as it is known."""
    told = (each.claim for each in judgements if each.verdict in ("in part", "not") and each.claim.why)
    return "\n".join(f"- *{claim.says}*: {claim.why}" for claim in told)


def page(drawn: Drawn) -> str:
    """Everything about one figure, as Markdown, for a folder that holds its pictures."""
    asked, findings = drawn.figure, drawn.findings
    parts = [f"# {asked.study.question}", *section(drawn, "")]
    stand_for = "\n".join(f"- `{each.title}`: {each.what}" for each in asked.study.variants if each.what)
    borne = [borne_table(each, findings) for each in asked.claims if each.share is not None]
    told = [*borne, *tables(findings)]
    parts += [stand_for, *(f"**{title}**\n\n{markdown_table(table)}" for title, table in told)]
    return "\n\n".join(part for part in [*parts, _made(f"slosim figure {asked.name}", asked, findings)] if part) + "\n"


def borne_table(claim: Claim, findings: Findings) -> tuple[str, Table]:
    """The rate that each variant bears, for a claim of such rates: the mean over the seeds, by setting."""
    study = findings.study
    body = [
        [each.title, *(_level(values(claim, findings, setting, EVERY, each.title)) for setting in study.settings)]
        for each in study.variants
    ]
    told = f"Requests/s up to which {claim.share:.0%} are reached: {labelled(claim.metric).removesuffix(', %')}"
    return told.replace("%", " %"), [["", *(setting.name for setting in study.settings)], *body]


def _level(levels: Sequence[float]) -> str:
    mean, half = interval(levels)
    return f"{mean:.3g}" + (f" ± {half:.2g}" if isfinite(half) else "") if isfinite(mean) else NONE


def section(drawn: Drawn, folder: str) -> list[str]:
    """What the paper has, the machines, the claims and the pictures."""
    asked, _, judgements, pictures = drawn
    machines = "\n".join(f"- {each.name}: {each.what}" for each in asked.study.settings)
    shown = "\n".join(f"![{asked.name}]({folder}{path.name})" for path in pictures)
    told = [claims_table(judgements, asked.study), whys(judgements)] if judgements else [_by_itself(drawn)]
    return [asked.paper, machines, *told, shown]


def _by_itself(drawn: Drawn) -> str:
    """What our numbers say where the paper's are not known."""
    return f"No number of the paper's is known for this one. {drawn.figure.study.verdict(drawn.findings)}"


def _made(command: str, asked: Figure, findings: Findings) -> str:
    return f"Made by `{command}`: {footnote(findings)}."


def reproduction(drawn: Sequence[Drawn], command: str, folder: str) -> str:
    """The whole account: what reproduces, what does so in part, what does not and why."""
    parts = [
        "# What of the papers' results reproduces",
        INTRODUCTION.format(command=command, near=f"{NEAR:.0%}".replace("%", " %"), part=_share(PART)),
        warning(drawn),
        _counted(drawn),
        "\n".join(
            f"- {verdict_said(one)}: {one.claim.says} ({each.figure.name})" for each in drawn for one in each.judgements
        ),
    ]
    for each in drawn:
        title = f"## {each.figure.study.question}"
        more = f"All tables: [{folder}{each.figure.name}.md]({folder}{each.figure.name}.md); {footnote(each.findings)}."
        parts += [title, *section(each, folder), more]
    return "\n\n".join(part for part in parts if part) + "\n"


def warning(drawn: Sequence[Drawn]) -> str:
    """What tells an account of fewer runs from the full one."""
    requests, seeds = (min(getattr(each.figure.study, name) for each in drawn) for name in ("requests", "seeds"))
    if requests >= REQUESTS and seeds >= SEEDS:
        return ""
    full = f"{requests:,} requests, {seeds} seeds where the full set has {REQUESTS:,} and {SEEDS}"
    return f"**Not the full set** ({full}): it shows that the figures run, and its verdicts say nothing."


def _counted(drawn: Sequence[Drawn]) -> str:
    """How many claims have which verdict; the expectations of reviews apart."""
    every = [judgement for each in drawn for judgement in each.judgements]
    claims, expected = ([each for each in every if each.claim.expected == which] for which in (False, True))
    told = f"{_many(len(claims), 'claim')}: {_tally(claims)}." if claims else ""
    return told + (f" Of {_many(len(expected), 'expectation')} of reviews: {_tally(expected)}." if expected else "")


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _tally(judgements: Sequence[Judgement]) -> str:
    counts = Counter(map(verdict_said, judgements)).most_common()
    return ", ".join(f"{number} {word}" for word, number in counts)


def _share(value: float) -> str:
    return "a quarter" if value == 0.25 else f"{value:g}"


INTRODUCTION = """\
Generated by `{command}`; do not edit it by hand. Each claim of AccelGen (arXiv 2503.13737) and CacheOPT (arXiv
2503.13773) stands beside our number with its 95 % interval over seeds; all policies see the same requests under one
seed, and differences are taken seed by seed. Where a claim is about several, the least and the most are shown.

- **reproduced**: at the paper's load every comparison goes the paper's way by more than chance, and its interval meets
  the paper's numbers, give or take {near} of them.
- **in part**: some comparison, at some load, goes the paper's way by more than chance, all comparisons counted, and by
  {part} of the paper's least number or more. *Where it holds* says at which loads all comparisons meet the paper's
  numbers; if there are none, at which all have its direction; if none either, beside whom at least.
- **not reproduced**: neither.

The papers' bodies could not be read in full: the source of each number says how surely it is known. Runs end when their
last request has finished, so that in overload times depend on how many requests there are: compare them at one load
only."""
