"""The project's own files, and any Parquet or CSV with the same column names."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.checks import checked_objectives
from traces.distributions import Distribution
from traces.errors import SlosimError
from traces.readers.delimited import read_csv
from traces.readers.outputs import drawn
from traces.readers.table import Parser, Table, number, word
from traces.storage import FOOTER_KEY, OBJECTIVES, arrow
from traces.trace import Trace

__all__ = ["csv_file", "parquet_columns", "parquet_file", "parquet_names"]

_Columns = dict[str, Any]
_Footer = Mapping[bytes, bytes]


def csv_file(path: Path, *, sort: bool = False, outputs: int | Distribution | None = None, seed: int = 0) -> Trace:
    """Read CSV with prompt_tokens, output_tokens and, if they are there, arrived_at, slo_*, application, id.

    `id` may be called request_id; other columns do not matter, an empty objective means none. `outputs` stands in for a
    missing output_tokens: a length, or a distribution drawn with `seed`. `sort` orders the requests by arrival.
    """
    table = read_csv(path, {"prompt_tokens": number}, _OPTIONAL)
    return _trace(table, table.path.name.split(".")[0], sort, outputs, seed)


def parquet_file(path: Path, *, sort: bool = False, outputs: int | Distribution | None = None, seed: int = 0) -> Trace:
    """Read Parquet with the columns of `csv_file`; a file that `Trace.save` wrote keeps its name."""
    columns, footer = parquet_columns(path, ["prompt_tokens"], _OPTIONAL)
    table = Table(path, {field: _plain(path, field, column) for field, column in columns.items()})
    name = json.loads(footer.get(FOOTER_KEY, b"{}")).get("name", path.stem)
    return _trace(table, name, sort, outputs, seed)


def parquet_columns(path: Path, required: Sequence[str], optional: Iterable[str] = ()) -> tuple[_Columns, _Footer]:
    """Return Arrow columns by name and the footer's metadata; SlosimError when a required one is missing."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        missing = [name for name in required if name not in names]
        if missing:
            raise SlosimError(f"{path}: no column {', '.join(missing)} among {', '.join(names)}")
        table = file.read([name for name in names if name in {*required, *optional}])
        return {name: table.column(name) for name in table.column_names}, file.schema_arrow.metadata or {}


def parquet_names(path: Path) -> list[str]:
    """Return the column names of a Parquet file."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    pyarrow = arrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise SlosimError(f"{path}: cannot read as Parquet: {str(error).splitlines()[0]}") from error


def _objective(cells: Any) -> NDArray[np.float64]:
    return number([cell or "inf" for cell in cells])


_OPTIONAL: dict[str, Parser] = {
    "output_tokens": number,
    "arrived_at": number,
    **dict.fromkeys(OBJECTIVES.values(), _objective),
    "application": word,
    "id": word,
    "request_id": word,
}


def _plain(path: Path, field: str, column: Any) -> NDArray[Any]:
    """Return an Arrow column as numpy; a missing objective means none, a missing length or time is an error."""
    if column.null_count and field not in OBJECTIVES.values():
        missing = column.is_null().to_numpy().argmax() + 1
        raise SlosimError(f"{path}, row {missing}, field {field}: a value is missing")
    try:
        if field in OBJECTIVES.values():
            column = column.cast("float64").fill_null(np.inf)
        return _words(column) if field == "application" else np.asarray(column.to_numpy())
    except arrow().ArrowException as error:
        raise SlosimError(f"{path}, field {field}: cannot be read ({str(error).splitlines()[0]})") from error


def _words(column: Any) -> NDArray[np.object_]:
    """Return an Arrow column of words as numpy, equal words as one object."""
    encoded = column.dictionary_encode().combine_chunks()
    words = np.array([str(label) for label in encoded.dictionary.to_pylist()], dtype=object)
    return np.asarray(words[encoded.indices.to_numpy()])


def _trace(table: Table, name: str, sort: bool, outputs: int | Distribution | None, seed: int) -> Trace:
    path = table.path
    if not len(table):
        raise SlosimError(f"{path}: the file has no request")
    if "output_tokens" not in table and outputs is None:
        told = "give the outputs a length or a distribution, such as outputs=200"
        raise SlosimError(f"{path}: no column output_tokens; {told}")
    ids = next((table.columns[field] for field in ("id", "request_id") if field in table), None)
    return Trace.from_columns(
        table.seconds("arrived_at") if "arrived_at" in table else None,
        table.tokens("prompt_tokens"),
        table.tokens("output_tokens") if outputs is None else drawn(outputs, len(table), seed),
        ttft=_objectives(table, "slo_ttft"),
        tbt=_objectives(table, "slo_tbt"),
        jct=_objectives(table, "slo_jct"),
        application=table.columns.get("application"),
        ids=None if ids is None else [str(name) for name in ids],
        name=name,
        sort=sort,
        locate=table.locate,
    )


def _objectives(table: Table, field: str) -> NDArray[np.float64] | None:
    return checked_objectives(table.columns[field], field, table.locate) if field in table else None
