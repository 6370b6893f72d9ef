"""Recorded traffic: files that tell when requests came and how long they were, without their text."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError
from traces.readers.delimited import read_csv
from traces.readers.json_lines import read_json_lines
from traces.readers.table import BadCell, Table, number, word
from traces.trace import Trace

__all__ = ["azure", "burstgpt", "mooncake", "timed_trace", "vidur"]

_NANOSECOND = 1e-9


def azure(path: Path, *, skip_empty: bool = False) -> Trace:
    """Read the Azure LLM inference traces of 2023 (times with 7 decimals, no zone) and 2024 (with +00:00).

    Columns TIMESTAMP, ContextTokens, GeneratedTokens. The first request comes at 0. `skip_empty` leaves out requests
    without tokens, which are an error otherwise.
    """
    lengths = ("ContextTokens", "GeneratedTokens")
    table = read_csv(path, {"TIMESTAMP": stamp, "ContextTokens": number, "GeneratedTokens": number})
    table = _some(table.answered(*lengths, skip_empty=skip_empty))
    stamps = table.columns["TIMESTAMP"]
    seconds = (stamps - stamps.min()) * _NANOSECOND
    return _trace(table, seconds, *lengths)


def burstgpt(path: Path, *, model: str | None = None, skip_empty: bool = True) -> Trace:
    """Read BurstGPT of any version; the model that answered ("ChatGPT", "GPT-4") becomes the application.

    Columns by name: Timestamp (s), Model, Request tokens, Response tokens. `model` keeps one of them ("GPT-4" is what
    vLLM's benchmark keeps); failed requests, with no response token, are left out unless `skip_empty` is off.
    """
    lengths = ("Request tokens", "Response tokens")
    table = read_csv(path, {"Timestamp": number, "Model": word, "Request tokens": number, "Response tokens": number})
    if model is not None:
        table = _some(table.where(table.columns["Model"] == model), f"no request of model {model!r}")
    table = _some(table.answered(*lengths, skip_empty=skip_empty))
    return _trace(table, table.seconds("Timestamp"), *lengths, application=table.columns["Model"])


def mooncake(path: Path, *, skip_empty: bool = False) -> Trace:
    """Read Mooncake JSON Lines: timestamp (ms), input_length, output_length; hash_ids are ignored."""
    return _timed(path, 1e-3, skip_empty)


def timed_trace(path: Path, *, seconds: float = 1.0, skip_empty: bool = False) -> Trace:
    """Read vLLM's timed_trace JSON Lines: Mooncake's keys, with timestamps in units of so many `seconds`."""
    return _timed(path, seconds, skip_empty)


def vidur(path: Path, *, skip_empty: bool = False) -> Trace:
    """Read Vidur CSV: num_prefill_tokens, num_decode_tokens and, if it is there, arrived_at (s)."""
    lengths = ("num_prefill_tokens", "num_decode_tokens")
    table = read_csv(path, dict.fromkeys(lengths, number), {"arrived_at": number})
    table = _some(table.answered(*lengths, skip_empty=skip_empty))
    return _trace(table, table.seconds("arrived_at") if "arrived_at" in table else None, *lengths)


def stamp(cells: Sequence[str]) -> NDArray[np.int64]:
    """Read dates with times, without zone or in UTC, as nanoseconds since 1970."""
    bare = [cell.strip().removesuffix("Z").removesuffix("+00:00") for cell in cells]
    try:
        stamps = _stamps(bare)
    except (ValueError, UserWarning):
        wrong = next(index for index, cell in enumerate(bare) if not _is_stamp(cell))
        raise BadCell(wrong, "a time such as 2023-11-16 18:15:46.6805900") from None
    return stamps.astype(np.int64)


def _stamps(cells: list[str]) -> NDArray[np.datetime64]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stamps = np.array(cells, dtype="datetime64[ns]")
    if np.isnat(stamps).any():
        raise ValueError("an empty time")
    return stamps


def _is_stamp(cell: str) -> bool:
    try:
        _stamps([cell])
    except (ValueError, UserWarning):
        return False
    return True


def _timed(path: Path, unit: float, skip_empty: bool) -> Trace:
    lengths = ("input_length", "output_length")
    table = read_json_lines(path, {"timestamp": number, "input_length": number, "output_length": number})
    table = _some(table.answered(*lengths, skip_empty=skip_empty))
    return _trace(table, table.seconds("timestamp", unit), *lengths)


def _some(table: Table, what: str = "no request") -> Table:
    if not len(table):
        raise SlosimError(f"{table.path}: the file has {what}")
    return table


def _trace(
    table: Table,
    seconds: NDArray[np.float64] | None,
    prompt: str,
    output: str,
    application: NDArray[np.object_] | None = None,
) -> Trace:
    prompts, outputs = table.tokens(prompt), table.tokens(output)
    return Trace.from_columns(seconds, prompts, outputs, application=application, sort=True, locate=table.locate)
