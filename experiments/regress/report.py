"""What a gate found: for people (Markdown), and for machines (JUnit's XML)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from xml.etree import ElementTree

from experiments.escaping import as_code, literally
from experiments.regress.gate import verdict
from experiments.regress.margins import Judgement

MARKS = {"pass": "✅ pass", "fail": "❌ fail", "inconclusive": "❓ inconclusive"}


def markdown(found: Sequence[Judgement], ours: str, baseline: str) -> str:
    """A table with one line per load and margin, the verdict above."""
    lines = [
        f"### {MARKS[verdict(found)]}: {as_code(ours)} against {as_code(baseline)}",
        "",
        "| load | margin | change | bounds | verdict | found with 80 % | seeds |",
        "|---|---|---:|---:|---|---:|---:|",
        *(_row(each) for each in found),
        "",
        sentence(found),
    ]
    return "\n".join(lines) + "\n"


def sentence(found: Sequence[Judgement]) -> str:
    """The verdict in words."""
    counts = {kind: sum(each.verdict == kind for each in found) for kind in MARKS}
    told = f"{counts['pass']} within their margins, {counts['fail']} beyond, {counts['inconclusive']} undecided."
    if counts["inconclusive"]:
        told += (
            " Undecided: the bounds lie on both sides of the margin; more seeds, more requests or a wider margin help."
        )
    return told


def junit(found: Sequence[Judgement], ours: str, baseline: str) -> str:
    """One test case per load and margin; what is undecided counts as an error."""
    suite = ElementTree.Element(
        "testsuite",
        name=literally(f"slosim regress {ours} against {baseline}"),
        tests=str(len(found)),
        failures=str(sum(each.verdict == "fail" for each in found)),
        errors=str(sum(each.verdict == "inconclusive" for each in found)),
    )
    for each in found:
        case = ElementTree.SubElement(suite, "testcase", classname=f"slosim.{each.load}", name=str(each.margin))
        if each.verdict != "pass":
            kind = "failure" if each.verdict == "fail" else "error"
            ElementTree.SubElement(case, kind, message=f"{each.verdict}: {_change(each)}").text = _row(each)
    return ElementTree.tostring(suite, "unicode", xml_declaration=True) + "\n"


def _row(each: Judgement) -> str:
    bounds = f"{_number(each, each.low)} to {_number(each, each.high)}"
    parts = (each.load, str(each.margin), _change(each), bounds, MARKS[each.verdict], _number(each, each.detectable))
    return f"| {' | '.join(parts)} | {each.seeds} |"


def _change(each: Judgement) -> str:
    return _number(each, each.change)


def _number(each: Judgement, value: float) -> str:
    if not isfinite(value):
        return "?"
    return f"{100 * value:+.2f} %" if each.margin.relative else f"{value:+.4g}"
