"""Measured rows as a fit takes them: a point per batch, the passes averaged, and what the rows say besides."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from calibrate.grid import FITTED, HELD_OUT, UNIFORM
from costmodel.points import Array, Points
from traces.errors import SlosimError

Rows = Sequence[Mapping[str, Any]]


class Host(NamedTuple):
    """Seconds of an iteration that the device does not compute: the median, and of each way to start kernels."""

    seconds: float
    by_launch: dict[str, float]


@dataclass(frozen=True)
class Measurements:
    """The rows of a journal, and what was measured (`about`)."""

    rows: Rows
    about: Mapping[str, Any]

    @cached_property
    def batches(self) -> list[Rows]:
        """The rows of each batch, one per pass, in the order of the grid's blocks."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            if "pass" in row:
                found.setdefault(json.dumps([row["block"], row["chunks"], row["decodes"]]), []).append(row)
        blocks = (*FITTED, UNIFORM, HELD_OUT)
        return sorted(found.values(), key=lambda rows: blocks.index(rows[0]["block"]))

    def of(self, *blocks: str) -> list[Rows]:
        """The batches of some blocks."""
        return [rows for rows in self.batches if rows[0]["block"] in blocks]

    @property
    def fitted(self) -> Points:
        """What parameters are fitted to: device times."""
        return points(self.of(*FITTED))

    @property
    def held_out(self) -> Points:
        """What a fit is tested on: device times."""
        return points(self.of(HELD_OUT))

    @property
    def noise(self) -> float:
        """The noise floor: the median relative difference between the passes, nan with one pass only."""
        twice = [[row["iteration_ms"] for row in rows] for rows in self.batches if len(rows) > 1]
        return float(np.median([max(pair) / min(pair) - 1 for pair in twice])) if twice else float("nan")

    @property
    def host(self) -> Host:
        """Host time: what an iteration takes beyond its forward."""
        rows = [row for batch in self.batches for row in batch]
        paths = sorted({row["launch"] for row in rows})
        by_launch = {path: _median(row["host_ms"] for row in rows if row["launch"] == path) for path in paths}
        return Host(_median(row["host_ms"] for row in rows), by_launch)

    @property
    def clocks(self) -> list[float]:
        """Lowest, median and highest clock seen, in MHz; empty where nobody could tell."""
        seen = [row["sm_mhz"] for batch in self.batches for row in batch if row.get("sm_mhz")]
        return [float(np.percentile(seen, share)) for share in (0, 50, 100)] if seen else []

    def save(self, path: Path) -> None:
        """Writes the rows of batches as Parquet, which `slosim fit` reads, and with them what was measured."""
        import pyarrow as pa
        from pyarrow import parquet

        rows = [dict(row) for batch in self.batches for row in batch]
        if not rows:
            raise SlosimError("no batch is measured yet: go on in the same folder, with more --minutes")
        schema = pa.Table.from_pylist(rows[:1]).schema
        chunks, decodes = pa.list_(pa.list_(pa.int64())), pa.list_(pa.int64())
        for name, kind in (("chunks", chunks), ("decodes", decodes), ("sm_mhz", pa.float64())):
            schema = schema.set(schema.get_field_index(name), pa.field(name, kind))
        told = {"slosim": json.dumps(dict(self.about))}
        parquet.write_table(pa.Table.from_pylist(rows, schema.with_metadata(told)), path)


def _median(milliseconds: Any) -> float:
    return float(np.median(list(milliseconds))) / 1000


def points(batches: Sequence[Rows], time: str = "iteration_ms") -> Points:
    """A point per batch: its shape, and the geometric mean of its passes' seconds."""

    def column(name: str) -> Array:
        return np.array([rows[0][name] for rows in batches], float)

    seconds = [np.exp(np.mean([np.log(row[time] / 1000) for row in rows])) for rows in batches]
    return Points(
        column("prefill_tokens"),
        column("prefill_sequences"),
        column("attention_pairs"),
        column("decode_tokens"),
        column("context_tokens"),
        np.array(seconds, float),
    )
