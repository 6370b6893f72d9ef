"""Runs side by side: all of a comparison as one CSV, and the replicas of each as a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from io import StringIO
from math import nan
from pathlib import Path

from rich.table import Table
from rich.text import Text

from experiments.console import as_text
from experiments.escaping import in_csv, literally
from experiments.files import write_text
from experiments.grid import Cell, Outcome, rate_text
from experiments.table_rows import Kind, Metric, said
from sim.result import RunResult

OF_REPLICAS = (
    Metric("requests", "requests", Kind.COUNT),
    Metric("share", "share", Kind.SHARE),
    Metric("token_throughput", "tokens/s", Kind.MORE),
    Metric("gpu_busy", "GPU busy", Kind.SHARE),
    Metric("kvc_used", "KV cache used", Kind.SHARE),
    Metric("p99_ttft", "TTFT p99, s", Kind.LESS),
    Metric("mean_jct", "JCT mean, s", Kind.LESS),
)
"""What is shown of each replica."""
MOST = 16
"""Replicas that are shown of a run; of more, those with the most and with the fewest tokens/s."""


def write_runs(path: Path, runs: Iterable[tuple[Cell, Outcome]]) -> Path:
    """Writes one row per run; a metric that does not exist is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = list(runs)
    names = list(dict.fromkeys(name for _, outcome in rows for name in outcome.summary))
    writer.writerow(["policy", "rate", "seed", *names])
    for cell, outcome in rows:
        rate = "" if cell.rate is None else rate_text(cell.rate)
        values = (_number(outcome.summary.get(name, nan)) for name in names)
        writer.writerow([in_csv(cell.title), rate, cell.seed, *values])
    return write_text(path, text.getvalue())


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def replica_table(results: Mapping[str, RunResult]) -> str:
    """Each policy's replicas, a row each, and how uneven their load is; empty if no run has several."""
    several = {title: result.by_replica() for title, result in results.items() if result.capacity.replicas > 1}
    if not several:
        return ""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(("", "replica", *(metric.label for metric in OF_REPLICAS))):
        table.add_column(name, justify="left" if not number else "right", no_wrap=True)
    for title, replicas in several.items():
        shown = _shown(replicas)
        for place, name in enumerate(shown):
            cells = (said(metric.kind, replicas[name][metric.key]) for metric in OF_REPLICAS)
            table.add_row(Text("" if place else literally(title)), name, *cells)
    lines = [f"{literally(title)}: {_imbalance(replicas)}" for title, replicas in several.items()]
    return as_text(140, table) + "\n".join(lines) + "\n"


def _shown(replicas: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The replicas that are shown, in their order."""
    if len(replicas) <= MOST:
        return list(replicas)
    ordered = sorted(replicas, key=lambda name: -replicas[name]["token_throughput"])
    chosen = {*ordered[: MOST // 2], *ordered[-MOST // 2 :]}
    return [name for name in replicas if name in chosen]


def _imbalance(replicas: Mapping[str, Mapping[str, float]]) -> str:
    """The busiest replica against the mean of all, by time in iterations and by requests."""
    hidden = f"; {len(replicas) - MOST} replicas in between are not shown" if len(replicas) > MOST else ""
    times = [
        max(values) * len(values) / sum(values) if sum(values) else 1.0
        for values in ([one[key] for one in replicas.values()] for key in ("gpu_busy", "share"))
    ]
    return f"the busiest replica computes {times[0]:.2f} times the mean, the fullest has {times[1]:.2f} times{hidden}"
