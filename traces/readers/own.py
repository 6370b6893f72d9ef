"""The project's own files, and any rows with the same column names or with a mapping to them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from traces.distributions import Distribution
from traces.errors import SlosimError, asked_by
from traces.readers.parquet import ParquetRows, parquet_columns, parquet_names
from traces.readers.rows import Rows
from traces.readers.table import Asked, Layout, opened_rows, trace_of
from traces.storage import OBJECTIVES
from traces.trace import Trace

__all__ = ["LAYOUT", "parquet_columns", "parquet_names", "rows_file"]

LAYOUT = Layout(
    {"prompt_tokens": "prompt_tokens", "output_tokens": "output_tokens"},
    {
        "arrived_at": ("arrived_at",),
        "application": ("application",),
        "id": ("id", "request_id"),
        **{column: (column,) for column in OBJECTIVES.values()},
    },
    sort=False,
)
"""Our own columns."""


def rows_file(
    path: Path,
    *,
    sort: bool = False,
    skip_empty: bool = False,
    outputs: int | Distribution | None = None,
    seed: int = 0,
    columns: str | Mapping[str, str] | None = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
    check_digest: bool = True,
) -> Trace:
    """Read prompt_tokens, output_tokens and, if they are there, arrived_at (s), slo_*, application, id.

    `columns` says what these are called in the file, such as {"arrived_at": "start", "prompt_tokens": "in"}, and
    `time_unit` (s, ms, us, ns) what the times count; dates are understood. `id` may be called request_id; an empty
    objective means none. `outputs` stands in for a missing output_tokens: a length, or a distribution drawn with
    `seed`. `sort` orders the requests by arrival. A file that `Trace.save` wrote keeps its name and is checked
    against the digest that it carries, unless `check_digest` is off.
    """
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests, sort, outputs, seed)
    rows = opened_rows(path, requests)
    about = rows.about if isinstance(rows, ParquetRows) else {}
    name = str(about.get("name") or path.name.split(".")[0])
    if not check_digest or "digest" not in about:
        return replace(trace_of(rows, LAYOUT, asked), name=name)
    saved = _checked(rows, about["digest"])
    plain = asked._replace(keep_start=False, requests=None, sort=False) == Asked()
    return replace(saved if plain else trace_of(rows, LAYOUT, asked), name=name)


def _checked(rows: Rows, digest: str) -> Trace:
    """Return the trace with the clock that it was saved with; raise SlosimError unless it is the one that was saved."""
    saved = trace_of(rows, LAYOUT, Asked(keep_start=True, sort=True, time_unit="s"))
    if saved.digest != digest:
        told = "the file is damaged or was changed: its requests do not have the digest that it carries"
        way = f"save the trace again, or take it as it is with {asked_by(check_digest=False)}"
        raise SlosimError(f"{rows.path}: {told}; {way}")
    assert saved.reading is not None
    return replace(saved, reading=replace(saved.reading, time_evidence="the format says so"))
