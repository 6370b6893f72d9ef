"""What came of it: tables as text and Markdown, and everything as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.escaping import in_markdown, literally
from experiments.fidelity.judging import Beside, Case, pairs
from experiments.fidelity.running import Fidelity
from experiments.files import write_json, write_text
from experiments.provenance import made
from experiments.table_rows import Kind, said

Rows = list[list[str]]
HEADING = ["", "predicted", "real", "error", "real runs differ by", ""]
NOTE = (
    "predicted, real: medians over the rounds; error: the median of predicted / real - 1, of shares the difference; "
    "=: the prediction lies among the real runs, so that it cannot be told from one of them"
)


def tables(fidelity: Fidelity, cases: Sequence[Case]) -> Iterator[tuple[str, Rows]]:
    """A table for each scheduler at each load, one of iterations, one of the schedulers' order."""
    for case in cases:
        runs = f"{len(case.real)} real run{'s' if len(case.real) > 1 else ''}"
        title = f"load {case.load:g} ({case.rate:g} requests/s), {case.policy}, {runs}"
        yield title, [HEADING, *(_row(beside) for beside in case.lines()), *_requests(case)]
    if fidelity.open_loop:
        yield "open loop: the simulator's batches, computed by the device", list(_open_loop(fidelity.open_loop))
    if len(fidelity.scenario.policies) > 1:
        yield "the schedulers' order", list(_order(cases))


def text(fidelity: Fidelity, cases: Sequence[Case]) -> str:
    """All tables as text."""
    parts = []
    for title, told in tables(fidelity, cases):
        rows = [list(map(literally, row)) for row in told]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [_aligned(row, widths) for row in rows]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join([*parts, NOTE, verdict(cases)]) + "\n"


def markdown(fidelity: Fidelity, cases: Sequence[Case]) -> str:
    """All tables as Markdown."""
    parts = []
    for title, rows in tables(fidelity, cases):
        heading, *body = ("| " + " | ".join(map(in_markdown, row)) + " |" for row in rows)
        parts.append("\n".join([f"### {title}", "", heading, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *body]))
    return "\n\n".join([*parts, NOTE, verdict(cases)]) + "\n"


def as_json(fidelity: Fidelity, cases: Sequence[Case]) -> dict[str, Any]:
    """Everything as numbers."""
    return {
        "device": repr(fidelity.rig),
        "scenario": fidelity.scenario.model_dump(mode="json"),
        "loads": list(fidelity.loads),
        "seconds": fidelity.seconds,
        "recalibrated": fidelity.recalibrate,
        "calibrations": [each.profile.as_json() for each in fidelity.calibrations],
        "open_loop": fidelity.open_loop,
        "cases": [_case(case) for case in cases],
        "order": [{**pair._asdict(), "metric": pair.metric.key, "verdict": pair.verdict} for pair in pairs(cases)],
    }


def verdict(cases: Sequence[Case]) -> str:
    """The ranking in a sentence."""
    found = [pair.verdict for pair in pairs(cases)]
    if not found:
        return "one scheduler: there is no order to predict"
    same, different, open_ = (found.count(word) for word in ("same", "different", "not settled"))
    told = (
        f"order of two schedulers by a metric: predicted as the real runs have it {same} times, otherwise {different}"
    )
    return f"{told}; {open_} times the real runs do not settle it"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([row[0].ljust(len(first)), *others]).rstrip()


def _row(beside: Beside) -> list[str]:
    kind = beside.metric.kind
    mark = "=" if beside.within else ""
    values = [said(kind, value) for value in (beside.predicted, beside.middle)]
    return [beside.metric.label, *values, _difference(kind, beside.error, True), _difference(kind, beside.spread), mark]


def _difference(kind: Kind, value: float, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f} {'pp' if kind is Kind.SHARE else '%'}"


def _requests(case: Case) -> Iterator[list[str]]:
    for name, errors in case.request_errors.items():
        label = f"{name.upper()} of single requests, size of error"
        yield [label, "", "", f"{errors['median']:.1%}", "", f"p95 {errors['p95']:.1%}"]


def _open_loop(found: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    yield ["", "iterations", "median error", "p95", "bias of the sum"]
    for policy, errors in found.items():
        shares = [f"{errors['median']:.1%}", f"{errors['p95']:.1%}", f"{errors['bias']:+.1%}"]
        yield [policy, f"{errors['iterations']:.0f}", *shares]


def _order(cases: Sequence[Case]) -> Iterator[list[str]]:
    yield ["", "of", "ahead, predicted", "ahead in all real runs", ""]
    for pair in pairs(cases):
        names = " and ".join(pair.policies)
        where = f"load {pair.load:g}, {pair.metric.label}"
        yield [where, names, pair.predicted or "level", pair.real or "nobody", pair.verdict]


def _case(case: Case) -> dict[str, Any]:
    return {
        "load": case.load,
        "rate": case.rate,
        "policy": case.policy,
        "request_errors": case.request_errors,
        "metrics": {
            beside.metric.key: {
                "predicted": list(beside.predictions),
                "real": list(beside.real),
                "error": beside.error,
                "spread": beside.spread,
                "within": beside.within,
            }
            for beside in case.lines()
        },
    }


def write_report(fidelity: Fidelity, cases: Sequence[Case]) -> str:
    """Writes tables, numbers and picture into the experiment's folder; returns the tables."""
    from experiments.fidelity.picture import draw_fidelity

    told = text(fidelity, cases)
    write_text(fidelity.folder / "table.txt", told)
    write_text(fidelity.folder / "table.md", markdown(fidelity, cases))
    write_json(fidelity.folder / "fidelity.json", as_json(fidelity, cases) | {"made": made()})
    draw_fidelity(cases, fidelity.folder / "fidelity.png")
    return told
