"""The causes of every request's delay beside the other files of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.files import without_nan
from experiments.provenance import provenance
from experiments.results import read_table, write_table
from sim.attribution import Attribution
from sim.result import RunResult

NAME = "causes.parquet"


def write_causes(result: RunResult, causes: Attribution, folder: Path, config: Mapping[str, Any] | None = None) -> Path:
    """Writes one row per request: `ttft_alone`, `ttft_queueing`, ..., `later_...`, `late_...` (`sim.attribution`)."""
    footer = json.dumps(without_nan(provenance(result, config)))
    return write_table(folder / NAME, {"request": np.arange(len(result)), **causes.columns()}, footer)


def read_causes(folder: Path) -> Attribution:
    """What was written; raises SlosimError if the folder has none."""
    return Attribution.of_columns(read_table(folder / NAME)[0])
