"""Files of recorded runs: JSON lines as a recorder writes them, and Parquet as they ship in tests/recordings.

A recorder writes ``NAME.meta.json``, ``NAME.steps.jsonl.gz``, ``NAME.requests.csv`` and the trace, side by side. The
compact form of the same content is ``steps/NAME.parquet`` (a row per step, the meta data in its footer),
``requests/NAME.parquet`` and ``traces/TRACE.csv``; ``python -m experiments.recorded_files`` writes it.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from experiments.files import replacing
from traces.errors import SlosimError

META, DIGEST = b"slosim.recording", b"slosim.digest"
"""Keys of a Parquet footer: the meta data as JSON, and the SHA-256 of the steps as JSON lines."""
WHERE = Path("tests") / "recordings" / "steps"
"""Where a clone of the repository has the recordings."""

Row = dict[str, Any]


class Recorded(NamedTuple):
    """The content of a recording's files."""

    meta: dict[str, Any]
    steps: list[Row]
    requests: list[dict[str, str]]
    trace: list[dict[str, str]]


def name_of(path: Path) -> str:
    """A recording's name; raises ``SlosimError`` if ``path`` is neither of its two files."""
    for ending in (".meta.json", ".parquet"):
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    raise SlosimError(f"{path}: give a recording by its NAME.meta.json or steps/NAME.parquet")


def read_files(path: Path) -> Recorded:
    """Reads a recording in either form. Raises ``SlosimError`` if a file is missing or damaged."""
    name_of(path)
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        recorded = _read_compact(path) if path.suffix == ".parquet" else _read_lines(path)
        if not recorded.steps:
            raise ValueError("no steps")
        return recorded
    except (OSError, EOFError, KeyError, TypeError, AttributeError, ValueError, zlib.error) as error:
        why = " ".join(str(error).split())
        raise SlosimError(f"{path}: not a complete recording ({type(error).__name__}: {why})") from error


def shipped() -> list[Path]:
    """The recordings of the clone that this code, or the current folder, belongs to, by name."""
    for root in (Path(__file__).resolve().parent.parent, Path.cwd()):
        if found := sorted((root / WHERE).glob("*.parquet")):
            return found
    raise SlosimError(
        f"no recordings in {WHERE}: they ship with the repository, not with the installed package; "
        "run slosim check-steps in a clone of it, or give META.json"
    )


def json_lines(steps: Iterable[Row]) -> Iterator[str]:
    """The steps as a recorder writes them."""
    return (json.dumps(step) + "\n" for step in steps)


def digest(steps: Iterable[Row]) -> str:
    """SHA-256 of the steps as JSON lines."""
    found = sha256()
    for line in json_lines(steps):
        found.update(line.encode())
    return found.hexdigest()


# -- JSON lines ---------------------------------------------------------------------------------------------------


def _read_lines(path: Path) -> Recorded:
    name, meta = name_of(path), json.loads(path.read_text("utf-8"))
    with gzip.open(path.with_name(f"{name}.steps.jsonl.gz"), "rt", encoding="utf-8") as lines:
        steps = list(map(json.loads, lines))
    requests = path.with_name(f"{name}.requests.csv")
    trace = _read_csv(path.with_name(meta["settings"]["trace"]))
    return Recorded(meta, steps, _read_csv(requests) if requests.exists() else [], trace)


def _read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- Parquet ------------------------------------------------------------------------------------------------------


def _read_compact(path: Path) -> Recorded:
    from pyarrow import parquet

    table, root = parquet.read_table(path), path.parent.parent
    footer = table.schema.metadata or {}
    meta = json.loads(footer[META])
    requests, rows = root / "requests" / path.name, []
    if requests.exists():
        rows = [{name: _text(value) for name, value in row.items()} for row in parquet.read_table(requests).to_pylist()]
    trace = _read_csv(root / "traces" / meta["settings"]["trace"])
    return Recorded(meta, _rows(table), rows, trace)


def _rows(table: Any) -> list[Row]:
    """The steps, keys in their order. A step's batch is in two columns, requests and tokens."""
    columns: dict[str, list[Any]] = {"step": list(range(table.num_rows))}
    for name in table.column_names:
        values = _values(table[name])
        if name == "batch.requests":
            columns["batch"] = values
        elif name == "batch.tokens":
            pairs = zip(columns["batch"], values, strict=True)
            columns["batch"] = [list(map(list, zip(*pair, strict=True))) for pair in pairs]
        else:
            columns[name] = values
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    sparse = [name for name in table.column_names if table[name].null_count]
    for row in rows if sparse else []:
        for name in sparse:
            if row[name] is None:
                del row[name]
    return rows


def _values(column: Any) -> list[Any]:
    """A column as Python values; lists are cut out of their flat values, many times faster than ``to_pylist``."""
    from pyarrow import types

    whole = column.combine_chunks()
    if types.is_map(whole.type):
        return [None if pairs is None else dict(pairs) for pairs in whole.to_pylist()]
    if not types.is_list(whole.type):
        return list(whole.to_pylist())
    flat = whole.values.to_pylist()
    cut = [flat[first:last] for first, last in pairwise(whole.offsets.to_pylist())]
    if not whole.null_count:
        return cut
    return [part if valid else None for part, valid in zip(cut, whole.is_valid().to_pylist(), strict=True)]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def write_compact(path: Path, folder: Path) -> None:
    """Writes a recording in the compact form below ``folder``; raises ``SlosimError`` if that would lose anything."""
    name, recorded = name_of(path), read_files(path)
    steps = folder / "steps" / f"{name}.parquet"
    footer = {META: json.dumps(recorded.meta).encode(), DIGEST: digest(recorded.steps).encode()}
    _write(_table(recorded.steps).replace_schema_metadata(footer), steps)
    if recorded.requests:
        _write(_requests(recorded.requests), folder / "requests" / steps.name)
    trace = recorded.meta["settings"]["trace"]
    with replacing(folder / "traces" / trace) as part:
        part.write_bytes(path.with_name(trace).read_bytes())
    if read_files(steps) != recorded or digest(read_files(steps).steps) != digest(recorded.steps):
        raise SlosimError(f"{path}: its steps do not fit into columns: steps must have their fields in one order")


def _table(steps: Sequence[Row]) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in list(max(steps, key=len, default=()))[1:]:
        values = [step.get(name) for step in steps]
        if name == "batch":
            batches = [step["batch"] for step in steps]
            columns["batch.requests"] = pa.array([[request for request, _ in batch] for batch in batches])
            columns["batch.tokens"] = pa.array([[tokens for _, tokens in batch] for batch in batches])
        elif any(isinstance(value, dict) for value in values):
            maps = [None if value is None else list(value.items()) for value in values]
            columns[name] = pa.array(maps, pa.map_(pa.string(), pa.int64()))
        else:
            columns[name] = pa.array(values)
    return pa.table(columns)


def _requests(rows: Sequence[dict[str, str]]) -> Any:
    """Whole numbers and times as such where that gives back the same text."""
    import pyarrow as pa

    columns = {}
    for name in rows[0]:
        texts: list[Any] = [row[name] for row in rows]
        for kind in (int, float, str):
            values = _converted(texts, kind)
            if values is not None and [_text(value) for value in values] == texts:
                columns[name] = pa.array(values)
                break
    return pa.table(columns)


def _converted(texts: Sequence[str], kind: type) -> list[Any] | None:
    try:
        return [kind(text) if text else None for text in texts]
    except ValueError:
        return None


def _write(table: Any, path: Path) -> None:
    """Small: floats split by bytes, whole numbers as differences, the rest by dictionary."""
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    types = {field.name: field.type for field in table.schema}
    encodings = {name: "BYTE_STREAM_SPLIT" for name, kind in types.items() if pa.types.is_floating(kind)}
    encodings |= {name: "DELTA_BINARY_PACKED" for name, kind in types.items() if pa.types.is_integer(kind)}
    with replacing(path) as part:
        parquet.write_table(
            table,
            part,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in types if name not in encodings],
            column_encoding=encodings,
            write_statistics=False,
        )


def main(words: Sequence[str] | None = None) -> int:
    """Writes recordings in the compact form."""
    parser = ArgumentParser("python -m experiments.recorded_files", description=main.__doc__)
    parser.add_argument("recordings", nargs="+", type=Path, metavar="META.json")
    parser.add_argument("--into", type=Path, default=WHERE.parent, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args(words)
    try:
        for path in options.recordings:
            write_compact(path, options.into)
    except SlosimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
