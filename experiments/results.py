"""A run's files: its tables as Parquet, its metrics as JSON, each saying where it comes from.

>>> import pandas
>>> frame = pandas.read_parquet("results/vllm/requests.parquet")  # doctest: +SKIP
>>> result = read("results/vllm")  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.facts import ModelFacts
from experiments.files import replacing, without_nan, write_json
from experiments.provenance import provenance
from sim.recorder import REJECTED
from sim.result import STATUS_NAMES, Capacity, RunResult
from traces.errors import SlosimError

KEY = b"slosim"
"""Where the footer of a Parquet file holds the provenance, as JSON."""
TABLES = ("requests", "iterations", "spans")
"""What every run has."""
FURTHER = ("events", "notes")
"""What is written if the result has it."""
WORDS = ("application", "status", "rejection")
"""Columns that files hold as words."""


def save(result: RunResult, folder: str | Path, config: Mapping[str, Any] | None = None) -> list[Path]:
    """Writes the tables as .parquet and summary.json into a folder; returns their paths.

    A file appears whole or not at all. `config` is what asked for the run. Raises SlosimError if the folder cannot be
    written.
    """
    folder = Path(folder)
    origin = provenance(result, config)
    tables = result.to_tables()
    footer = json.dumps({**without_nan(origin), "result": _remains(result)})
    for name in FURTHER:
        if name not in tables:
            with suppress(OSError):
                (folder / f"{name}.parquet").unlink()  # a former run's, which `read` would take for this one's
    paths = [
        write_table(folder / f"{name}.parquet", _as_written(result, name, table), footer)
        for name, table in tables.items()
    ]
    return [*paths, write_json(folder / "summary.json", summary_of(result) | {"provenance": origin})]


def summary_of(result: RunResult) -> dict[str, Any]:
    """The metrics of a run: all, by application, by SLO class and, of several replicas, by replica."""
    replicas = {"replicas": result.by_replica()} if result.capacity.replicas > 1 else {}
    return {
        "summary": result.summary(),
        "applications": result.by_application(),
        "slo_classes": result.by_slo_class(),
        **replicas,
    }


def read(folder: str | Path) -> RunResult:
    """A saved run as it was; raises SlosimError if the folder holds none."""
    tables = {name: read_table(Path(folder) / f"{name}.parquet") for name in TABLES}
    further = (Path(folder) / f"{name}.parquet" for name in FURTHER)
    columns, footer = tables["requests"]
    remains = footer["result"]
    words = columns.pop("rejection")
    rejected = np.flatnonzero(columns["status"] == STATUS_NAMES[REJECTED])
    columns["status"] = _codes(columns["status"], STATUS_NAMES).astype(np.int8)
    columns["application"] = _codes(columns["application"], remains["applications"]).astype(np.int16)
    return RunResult(
        {name: columns[name] for name in remains["columns"]},
        tables["iterations"][0],
        tables["spans"][0],
        _capacity(**remains["capacity"]),
        tuple(remains["applications"]),
        {int(number): str(words[number]) for number in rejected},
        remains["about"],
        *(read_table(path)[0] if path.exists() else {} for path in further),
    )


def footer(path: str | Path) -> dict[str, Any]:
    """The provenance in the footer of one of our Parquet files; raises SlosimError if it is none."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_schema

    try:
        return _footer(read_schema(path).metadata, Path(path))
    except (OSError, ArrowInvalid) as error:
        raise SlosimError(f"{path}: cannot be read as Parquet ({error}); name a file of a saved run") from error


def _remains(result: RunResult) -> dict[str, Any]:
    """What of a result is no table: needed to read it back."""
    capacity = result.capacity._asdict()
    capacity["model"] = asdict(capacity["model"]) if capacity["model"] else None
    remains = {
        "capacity": capacity,
        "applications": list(result.applications),
        "about": dict(result.about),
        "columns": list(result.requests),
    }
    return dict(without_nan(remains))


def _as_written(result: RunResult, name: str, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """A table's columns for a file: codes as words, and the reasons of rejections."""
    if name != "requests":
        return dict(columns)
    reasons = np.full(len(result), "", dtype=object)
    for number, why in result.rejections.items():
        reasons[number] = why
    names = np.array([*result.applications, ""], dtype=object)
    return {
        **columns,
        "status": np.array(STATUS_NAMES, dtype=object)[columns["status"]],
        "application": names[columns["application"] if result.applications else np.full(len(result), -1)],
        "rejection": reasons,
    }


def write_table(path: Path, columns: Mapping[str, Any], footer: str) -> Path:
    """Writes columns as Parquet, with a footer (JSON) that says where they come from."""
    import pyarrow
    from pyarrow import parquet

    arrays = {
        name: pyarrow.array(column).dictionary_encode() if name in WORDS else pyarrow.array(column)
        for name, column in columns.items()
    }
    table = pyarrow.table(arrays).replace_schema_metadata({KEY: footer.encode()})
    with replacing(path) as draft:
        parquet.write_table(table, draft, compression="zstd")
    return path


def read_table(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Columns and footer of a Parquet file that we wrote; raises SlosimError if it is none."""
    from pyarrow import ArrowInvalid, parquet

    try:
        table = parquet.read_table(path)
    except (OSError, ArrowInvalid) as error:
        raise SlosimError(f"{path}: cannot be read as Parquet ({error}); name the folder of a saved run") from error
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return columns, _footer(table.schema.metadata, path)


def _footer(metadata: Mapping[bytes, bytes] | None, path: Path) -> dict[str, Any]:
    if not metadata or KEY not in metadata:
        raise SlosimError(f"{path}: it says nothing of the run that made it; name a file that slosim wrote")
    return dict(json.loads(metadata[KEY]))


def _capacity(
    kv_blocks: int,
    block_size: int,
    replicas: int,
    model: dict[str, Any] | None,
    peak_operations: float | None,
    pivot_forward_size: float | None,
) -> Capacity:
    nan = float("nan")
    facts = ModelFacts(**model) if model else None
    return Capacity(kv_blocks, block_size, replicas, facts, peak_operations or nan, pivot_forward_size or nan)


def _codes(words: NDArray[Any], names: tuple[str, ...] | list[str]) -> NDArray[np.int64]:
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(word, 0) for word in words], np.int64)
