"""All points of a sweep as one Parquet table that says where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.files import without_nan
from experiments.provenance import origin
from experiments.results import write_table
from experiments.sweeps.plan import Point
from experiments.sweeps.running import Found
from experiments.sweeps.store import Kept, Record


def write_points(path: Path, found: Iterable[Found], asked: Mapping[str, Any]) -> Path:
    """Writes one row per point: what it is, every metric (empty where there is none), and why it failed if it did.

    `asked` goes into the footer with our version and source (`experiments.results.footer` reads it).
    """
    rows = [_row(point, kept) for point, kept, _ in found]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in [*names[:-1], "error"] if rows}
    return write_table(path, columns, json.dumps(without_nan(origin({"asked": asked})), default=str))


def _row(point: Point, kept: Kept) -> dict[str, Any]:
    row = {"key": kept.key, "policy": point.policy.title, "rate": point.rate, "seed": point.seed, **dict(point.varied)}
    if isinstance(kept, Record):
        return {**row, **kept.summary, "overloaded": kept.overloaded, "seconds": kept.seconds, "error": ""}
    return {**row, "error": kept.error}


def _column(values: list[Any]) -> list[Any]:
    """Values of one kind: numbers, truth values, or else texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {str}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) if float in kinds else value for value in values]
    return [None if value is None else str(value) for value in values]
