"""Reads measured iterations from CSV or Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.points import KINDS, Array, Points
from traces.errors import SlosimError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("prefill_tokens", "prefill_sequences", "attention_pairs", "decode_tokens", "context_tokens", "iteration_ms")
"""What every row must give; `kind` may stand beside them and is then checked. Files say milliseconds, code seconds."""
COUNTS = ("prefill_tokens", "prefill_sequences", "decode_tokens", "context_tokens")
"""Those that are whole numbers."""


def read_points(path: str | Path) -> Points:
    """The iterations of a CSV or Parquet file; raises SlosimError naming the file, the row and the column at fault.

    Columns: prefill_tokens, prefill_sequences (chunks), attention_pairs (sum of q (c + q/2) over the chunks),
    decode_tokens (sequences decoding), context_tokens (key-value tokens they read), iteration_ms; kind is optional.
    """
    table = _table(Path(path))
    columns = _columns(table, COLUMNS, path)
    columns[-1] = columns[-1] / 1000
    points = Points(*columns)
    _check(points, table, path)
    return points


def read_columns(path: str | Path, names: Sequence[str]) -> list[Array]:
    """The named columns of a CSV or Parquet file of numbers, none negative, the last one positive."""
    return _columns(_table(Path(path)), names, path)


def _columns(table: pd.DataFrame, names: Sequence[str], path: str | Path) -> list[Array]:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise SlosimError(f"{path}: column {', '.join(missing)} is missing; expected are {', '.join(names)}")
    if table.empty:
        raise SlosimError(f"{path}: has no rows; measure some iterations")
    return [_numbers(table, name, path, positive=name == names[-1]) for name in names]


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        table = pd.read_csv(path, skip_blank_lines=False)
    except OSError as error:
        raise SlosimError(f"{path}: cannot be read ({error.strerror or error}); give a CSV or Parquet file") from error
    except ValueError as error:
        problem = str(error).splitlines()[0]
        raise SlosimError(f"{path}: is not a table ({problem}); give a CSV or Parquet file of iterations") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise SlosimError(f"{path}: line 2 has more fields than line 1 names: give every column its name")
    return table.dropna(how="all")  # blank lines, without which the index still tells the lines of the others


def _numbers(table: pd.DataFrame, name: str, path: str | Path, positive: bool) -> Array:
    import pandas as pd

    values: Array = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    holds = np.isfinite(values) & (values > 0 if positive else values >= 0)
    problem = "must be a positive number" if positive else "must be a number that is not negative"
    _all(holds, table, path, name, table[name].tolist(), problem)
    return values


def _check(points: Points, table: pd.DataFrame, path: str | Path) -> None:
    """What must hold between the columns of a row."""
    prefill, chunks, decodes = points.prefill_tokens, points.prefill_sequences, points.decode_tokens
    pairs, context = points.attention_pairs, points.context_tokens
    own = prefill**2 / (2 * np.maximum(chunks, 1))
    for holds, name, problem in (
        *((getattr(points, name) % 1 == 0, name, "must be a whole number") for name in COUNTS),
        ((chunks > 0) == (prefill > 0), "prefill_sequences", "does not go with prefill_tokens"),
        (chunks <= prefill, "prefill_sequences", "is more than prefill_tokens"),
        (prefill + decodes > 0, "decode_tokens", "computes nothing without prefill_tokens"),
        (pairs >= own * (1 - 1e-9), "attention_pairs", "is less than the chunks' own sum of q^2 / 2"),
        ((pairs == 0) | (prefill > 0), "attention_pairs", "is of no chunk: there are no prefill_tokens"),
        (context >= decodes, "context_tokens", "is less than one for each of decode_tokens"),
        ((context == 0) | (decodes > 0), "context_tokens", "is read by nobody: there are no decode_tokens"),
    ):
        _all(holds, table, path, name, getattr(points, name), problem)
    if "kind" in table.columns:
        kinds = table["kind"].tolist()
        same = np.array([KINDS[index] == kind for index, kind in zip(points.kinds, kinds, strict=True)])
        _all(same, table, path, "kind", kinds, "does not go with prefill_tokens and decode_tokens")


def _all(
    holds: NDArray[np.bool_],
    table: pd.DataFrame,
    path: str | Path,
    name: str,
    values: list[Any] | Array,
    problem: str,
) -> None:
    if not holds.all():
        row = int(np.argmin(holds))
        value = values[row] if isinstance(values, list) else f"{values[row]:g}"
        line = "" if Path(path).suffix == ".parquet" else f" (line {table.index[row] + 2})"
        raise SlosimError(f"{path}: row {row + 1}{line}: {name} {value} {problem}")
