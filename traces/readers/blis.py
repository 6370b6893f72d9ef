"""TraceV2 of inference-sim (BLIS): a CSV of requests, and a YAML header with unit, warm-up and SLOs of each class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.checks import checked_times, checked_tokens
from traces.errors import SlosimError, asked_by
from traces.readers.cells import Column, Kind
from traces.readers.delimited import CsvRows
from traces.readers.files import opened_text
from traces.readers.times import UNITS, since_first
from traces.readers.times import shown as shown_time
from traces.reading import Reading, counted
from traces.trace import Trace

__all__ = ["blis", "is_header"]

_ENDINGS = (".yaml", ".yml")
_UNITS = {"microseconds": "us", "milliseconds": "ms", "seconds": "s", "nanoseconds": "ns"} | {u: u for u in UNITS}
_NEEDED: Mapping[str, Kind] = {"input_tokens": "number", "output_tokens": "number", "arrival_time_us": "time"}
_OPTIONAL: Mapping[str, Kind] = {
    "request_id": "id",
    "slo_class": "label",
    "status": "label",
    "slo_target_us": "number",
}
_GOOD = ("ok", "")
_NOT_MODELLED: Mapping[str, Kind] = dict.fromkeys(
    (
        "session_id",
        "prefix_group",
        "image_tokens",
        "audio_tokens",
        "video_tokens",
        "reason_ratio",
        "deadline_us",
        "adapter",
        "vllm_priority",
    ),
    "label",
)
_EMPTY = ("", "0", "0.0")
_MOST_HEADER = 1 << 20
_TARGETS = {"ttft_ms": "ttft", "itl_ms": "tbt", "e2e_ms": "jct"}
_PAIR = re.compile(r"([\w.-]+)\s*:\s*([^,{}]*)")


class _Header(NamedTuple):
    """What the YAML says: the unit of times, requests of the warm-up, SLOs in seconds by class and kind."""

    unit: str
    warm_up: int
    targets: Mapping[str, Mapping[str, float]]


def blis(path: Path, *, keep_start: bool = False) -> Trace:
    """Read a TraceV2 by its .csv or its .yaml; the other one is looked for beside it, under the same name.

    SLO classes become applications; SLOs are those of the header (ttft, itl as tbt, e2e as jct) and each request's
    slo_target_us (ttft). Requests with a status other than ok are left out.
    """
    table, yaml = _pair(path)
    header = _Header("us", 0, {}) if yaml is None else _header(yaml)
    rows = CsvRows(table)
    missing = next((name for name in _NEEDED if name not in rows.names), None)
    if missing is not None:
        raise SlosimError(f"{table}: no column {missing} among {', '.join(rows.names)[:200]}")
    wanted = {**_NEEDED, **_OPTIONAL, **_NOT_MODELLED}
    columns = rows.read({name: kind for name, kind in wanted.items() if name in rows.names})
    return _trace(table, rows, columns, header, yaml, keep_start)


def is_header(path: Path) -> bool:
    """Return whether a text is the YAML header of a TraceV2."""
    if path.suffix not in _ENDINGS:
        return False
    with opened_text(path, errors="replace") as text:
        return re.search(r"^trace_version\s*:", text.read(4096), re.MULTILINE) is not None


def _pair(path: Path) -> tuple[Path, Path | None]:
    """Return the CSV, and the YAML if there is one."""
    if path.is_dir():
        found = sorted(path.glob("*.csv"))
        if len(found) != 1:
            raise SlosimError(f"{path}: {len(found)} CSV files, where a TraceV2 has one; give its .yaml or .csv")
        path = found[0]
    if path.suffix in _ENDINGS:
        table = path.with_suffix(".csv")
        if not table.is_file():
            raise SlosimError(f"{path}: the header of a TraceV2, without {table.name} beside it; give the .csv")
        return table, path
    return path, next((each for ending in _ENDINGS if (each := path.with_suffix(ending)).is_file()), None)


def _header(path: Path) -> _Header:
    with opened_text(path) as text:
        lines = text.read(_MOST_HEADER).splitlines()
    told = {found[1]: found[2] for line in lines if (found := _PAIR.match(line))}
    unit = told.get("time_unit", "us").strip().strip("\"'")
    if unit not in _UNITS:
        raise SlosimError(f"{path}, field time_unit: {unit!r} is none of {', '.join(_UNITS)}")
    warm_up = told.get("warm_up_requests", "0").strip()
    return _Header(_UNITS[unit], int(warm_up) if warm_up.isdigit() and len(warm_up) < 10 else 0, _targets(path, lines))


def _targets(path: Path, lines: list[str]) -> dict[str, dict[str, float]]:
    """Return the block goodput_slo_targets: class: {ttft_ms: 500, ...}, nested by indentation or in braces."""
    found: dict[str, dict[str, float]] = {}
    inside, label = False, ""
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            inside = line.startswith("goodput_slo_targets")
            continue
        for key, value in _PAIR.findall(line) if inside else ():
            if key in _TARGETS:
                if label not in found:
                    raise SlosimError(f"{path}, line {number}, field {key}: outside of any class")
                found[label][_TARGETS[key]] = _milliseconds(value, f"{path}, line {number}, field {key}")
            elif not value.strip():
                label = key
                found[label] = {}
    return found


def _milliseconds(value: str, where: str) -> float:
    try:
        number = float(value.split("#")[0])
    except ValueError:
        number = np.nan
    if not 0 <= number < np.inf:
        raise SlosimError(f"{where}: {value.strip()!r} is not a number of milliseconds")
    return number / 1000 if number else np.inf


def _trace(
    path: Path, rows: CsvRows, columns: Mapping[str, Column], header: _Header, yaml: Path | None, keep_start: bool
) -> Trace:
    good, left_out = _succeeded(columns)
    total = len(columns["input_tokens"].values)
    if not good.any():
        raise SlosimError(f"{path}: no request is left of {total:,}" + _why(left_out))
    which = np.flatnonzero(good)

    def locate(index: int) -> str:
        return rows.place(int(which[index]), "input_tokens").where

    if columns["arrival_time_us"].dates:
        raise SlosimError(f"{path}, field arrival_time_us: dates, where a TraceV2 has whole {header.unit}")
    stamps = columns["arrival_time_us"].values[good]
    checked_times(stamps, "arrival_time_us", locate)
    labels = columns.get("slo_class")
    codes = None if labels is None else labels.values[good]
    names = () if labels is None else labels.labels or ()
    slos = _objectives(columns, good, header, codes, names)
    reading = Reading(
        rows=total,
        time_unit=header.unit,
        time_evidence="the columns say so" if yaml is None else f"{yaml.name} says so",
        first_arrival=shown_time(stamps.min(), header.unit),
        left_out=left_out,
        ignored=tuple(name for name in _NOT_MODELLED if _says_something(columns.get(name), good)),
        facts=(f"header {yaml.name}" if yaml else "no .yaml header beside it",),
        notes=(f"warm-up in the file: its first {counted(header.warm_up, 'request')}",) if header.warm_up else (),
        start_kept=keep_start,
    )
    return Trace.from_columns(
        since_first(stamps, header.unit, keep_start),
        checked_tokens(columns["input_tokens"].values[good], "input_tokens", locate),
        checked_tokens(columns["output_tokens"].values[good], "output_tokens", locate),
        ttft=slos["ttft"],
        tbt=slos["tbt"],
        jct=slos["jct"],
        application=None if codes is None else np.array(names or ("",), dtype=object)[codes],
        ids=[str(name) for name in columns["request_id"].values[good]] if "request_id" in columns else None,
        name=path.name.split(".")[0],
        sort=True,
        reading=reading,
    )


def _succeeded(columns: Mapping[str, Column]) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which requests succeeded, and how many did not, by reason."""
    good = np.ones(len(columns["input_tokens"].values), dtype=np.bool_)
    left_out: dict[str, int] = {}
    status = columns.get("status")
    for code, word in enumerate(status.labels or ()) if status is not None else ():
        failed = status.values == code if status is not None else good
        if word.lower() not in _GOOD and failed.any():
            left_out[f"failed ({word[:40]})"] = int(failed.sum())
            good &= ~failed
    empty = good & (columns["output_tokens"].values == 0)
    if empty.any():
        left_out["no output tokens"] = int(empty.sum())
    return good & ~empty, left_out


def _objectives(
    columns: Mapping[str, Column],
    good: NDArray[np.bool_],
    header: _Header,
    codes: NDArray[Any] | None,
    names: tuple[str, ...],
) -> dict[str, NDArray[np.float64] | None]:
    """Return the SLOs of each request in seconds: those of its class, and its own first-token target."""
    found: dict[str, NDArray[np.float64] | None] = {}
    for kind in _TARGETS.values():
        of_class = np.array([header.targets.get(name, {}).get(kind, np.inf) for name in names] or [np.inf])
        values = np.full(int(good.sum()), np.inf) if codes is None else of_class[codes]
        own = columns.get("slo_target_us")
        if kind == "ttft" and own is not None:
            targets = own.values[good].astype(np.float64)
            values = np.where(targets > 0, targets / UNITS["us"], values)
        found[kind] = None if np.isinf(values).all() else values
    return found


def _says_something(column: Column | None, good: NDArray[np.bool_]) -> bool:
    if column is None or column.labels is None:
        return False
    used = set(np.unique(column.values[good]).tolist())
    return any(column.labels[code] not in _EMPTY for code in used)


def _why(left_out: Mapping[str, int]) -> str:
    why = ", ".join(f"{count:,} {reason}" for reason, count in list(left_out.items())[:5])
    return f": {why}" if why else f"; the file is empty, or all of it was left out ({asked_by(format='blis')})"
