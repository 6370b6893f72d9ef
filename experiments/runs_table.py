"""All runs of a comparison as one CSV: policy, load and seed, then every metric."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from experiments.escaping import in_csv
from experiments.files import write_text
from experiments.grid import Cell, Outcome, rate_text


def write_runs(path: Path, runs: Iterable[tuple[Cell, Outcome]]) -> Path:
    """Writes one row per run; a metric that does not exist is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, (cell, outcome) in enumerate(runs):
        if not number:
            writer.writerow(["policy", "rate", "seed", *outcome.summary])
        rate = "" if cell.rate is None else rate_text(cell.rate)
        writer.writerow([in_csv(cell.title), rate, cell.seed, *map(_number, outcome.summary.values())])
    return write_text(path, text.getvalue())


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""
