"""The project's own files: a trace as Parquet (with metadata in its footer) or as CSV."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from traces.errors import SlosimError

if TYPE_CHECKING:
    import pandas

    from traces.trace import Trace

__all__ = ["FOOTER_KEY", "OBJECTIVES", "arrow", "save", "to_pandas"]

FOOTER_KEY = b"slosim"
"""Key of the JSON object in a Parquet footer: name, digest, and what the writer added."""
OBJECTIVES = {"ttft": "slo_ttft", "tbt": "slo_tbt", "jct": "slo_jct"}
"""A trace's objectives and what they are called in files: plain ttft would read as a measurement."""
_ROWS_AT_ONCE = 65_536


def save(trace: Trace, path: Path, metadata: Mapping[str, str]) -> Path:
    """Write the trace; the ending chooses the form. Raises SlosimError for another ending or an unwritable place."""
    writers = {".parquet": _save_parquet, ".csv": _save_csv, ".csv.gz": _save_csv}
    ending = next((ending for ending in writers if path.name.endswith(ending)), None)
    if ending is None:
        raise SlosimError(f"{path}: cannot save a trace under this ending; known are {', '.join(writers)}")
    try:
        writers[ending](trace, path, metadata)
    except OSError as error:
        raise SlosimError(f"{path}: cannot write: {error.strerror or error}") from error
    return path


def to_pandas(trace: Trace) -> pandas.DataFrame:
    """Return one row per request; the columns that `save` writes."""
    import pandas

    columns = dict(_columns(trace))
    if trace.application_codes is not None:
        labels = pandas.Index(trace.applications)
        columns["application"] = pandas.Categorical.from_codes(trace.application_codes, labels)
    return pandas.DataFrame(columns)


def arrow() -> Any:
    """Return pyarrow with its Parquet part; raise SlosimError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SlosimError("Parquet files need pyarrow: pip install pyarrow, or use .csv") from error
    return pyarrow


def _columns(trace: Trace) -> Iterator[tuple[str, Any]]:
    """Give the columns that are there, labels as codes."""
    if trace.ids is not None:
        yield "id", trace.ids
    yield from ((field, getattr(trace, field)) for field in ("arrived_at", "prompt_tokens", "output_tokens"))
    held = ((column, getattr(trace, kind)) for kind, column in OBJECTIVES.items())
    yield from ((column, values) for column, values in held if values is not None)
    if trace.application_codes is not None:
        yield "application", trace.application_codes


def _save_parquet(trace: Trace, path: Path, metadata: Mapping[str, str]) -> None:
    pyarrow = arrow()
    columns = {name: pyarrow.array(values) for name, values in _columns(trace)}
    if "application" in columns:
        codes = pyarrow.array(np.asarray(trace.application_codes))
        columns["application"] = pyarrow.DictionaryArray.from_arrays(codes, list(trace.applications))
    about = json.dumps({**metadata, "name": trace.name, "digest": trace.digest})
    table = pyarrow.table(columns).replace_schema_metadata({FOOTER_KEY: about.encode()})
    pyarrow.parquet.write_table(table, path, compression="zstd")


def _save_csv(trace: Trace, path: Path, metadata: Mapping[str, str]) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(name for name, _ in _columns(trace))
        for start in range(0, len(trace), _ROWS_AT_ONCE):
            piece = trace[start : start + _ROWS_AT_ONCE]
            writer.writerows(zip(*_cells(piece), strict=True))


def _cells(trace: Trace) -> Iterator[Any]:
    """Give the columns of a CSV file as plain Python values: floats as their shortest exact form, labels as words."""
    for name, values in _columns(trace):
        if name == "application":
            yield trace.application_labels()
        else:
            yield values.tolist() if isinstance(values, np.ndarray) else values
