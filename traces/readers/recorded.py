"""Recorded traffic: files that say when requests came and how long they were, without their text."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from traces.readers.json_lines import JsonRows
from traces.readers.table import Asked, Layout, opened_rows, trace_of
from traces.trace import Trace

__all__ = ["LAYOUTS", "azure", "burstgpt", "mooncake", "servegen", "splitwise", "timed_trace", "vidur"]

Columns = str | Mapping[str, str] | None

_TIMED = {"arrived_at": "timestamp", "prompt_tokens": "input_length", "output_tokens": "output_length"}
LAYOUTS: Mapping[str, Layout] = {
    "azure": Layout(
        {"arrived_at": "TIMESTAMP", "prompt_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}, unit=None
    ),
    "burstgpt": Layout(
        {
            "arrived_at": "Timestamp",
            "prompt_tokens": "Request tokens",
            "output_tokens": "Response tokens",
            "application": "Model",
        },
        redundant=("Total tokens",),
        failed="failed (no response tokens)",
    ),
    "mooncake": Layout(_TIMED, unit="ms"),
    "timed_trace": Layout(_TIMED, unit="s"),
    "vidur": Layout(
        {"prompt_tokens": "num_prefill_tokens", "output_tokens": "num_decode_tokens"},
        {"arrived_at": ("arrived_at",)},
        redundant=("num_total_tokens", "pd_ratio"),
    ),
    "servegen": Layout(
        {"arrived_at": "timestamp", "prompt_tokens": "input_tokens", "output_tokens": "output_tokens"},
        {"id": ("request_id",)},
    ),
    "splitwise": Layout(
        {"arrived_at": "arrival_timestamp", "prompt_tokens": "prompt_size", "output_tokens": "token_size"},
        {"id": ("request_id",), "application": ("application_id",)},
        redundant=("request_type",),
    ),
}
"""The formats whose columns say everything."""


def azure(
    path: Path,
    *,
    skip_empty: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
) -> Trace:
    """Read the Azure LLM inference traces of 2023 to 2025: TIMESTAMP (dates, any zone), ContextTokens, GeneratedTokens.

    `skip_empty` leaves out requests without tokens, which are an error otherwise; NumImages are not modelled.
    """
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests)
    return trace_of(opened_rows(path, requests), LAYOUTS["azure"], asked)


def burstgpt(
    path: Path,
    *,
    model: str | None = None,
    skip_empty: bool = True,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
) -> Trace:
    """Read BurstGPT of any version; the model that answered ("ChatGPT", "GPT-4") becomes the application.

    Columns by name: Timestamp (s), Model, Request tokens, Response tokens. `model` keeps one of them ("GPT-4" is what
    vLLM's benchmark keeps); failed requests, with no response token, are left out unless `skip_empty` is off.
    """
    layout = LAYOUTS["burstgpt"]
    layout = layout if model is None else replace(layout, chosen=("application", model))
    return trace_of(opened_rows(path, requests), layout, Asked(skip_empty, columns, time_unit, keep_start, requests))


def mooncake(
    path: Path,
    *,
    skip_empty: bool = False,
    skip_turns: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
    found_out: bool = False,
) -> Trace:
    """Read Mooncake rows: timestamp (ms by the format's definition), input_length, output_length; hash_ids are ignored.

    `skip_turns` leaves out the later turns of sessions, which have a delay in place of a timestamp: closed loops are
    not modelled. `found_out` takes milliseconds or seconds by the evidence of the file.
    """
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests)
    layout = replace(LAYOUTS["mooncake"], unit=None) if found_out else LAYOUTS["mooncake"]
    return _timed(path, layout, asked, skip_turns, "timed_trace" if found_out else "")


def timed_trace(
    path: Path,
    *,
    seconds: float | None = None,
    skip_empty: bool = False,
    skip_turns: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
) -> Trace:
    """Read vLLM's timed_trace JSON Lines: Mooncake's keys, with timestamps in s, or in units of so many `seconds`."""
    asked = Asked(skip_empty, columns, "s" if seconds else time_unit, keep_start, requests)
    trace = _timed(path, LAYOUTS["timed_trace"], asked, skip_turns)
    return trace if seconds is None else trace.with_arrivals(trace.arrived_at * seconds)


def vidur(
    path: Path,
    *,
    skip_empty: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
) -> Trace:
    """Read Vidur CSV: num_prefill_tokens, num_decode_tokens and, if it is there, arrived_at (s)."""
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests)
    return trace_of(opened_rows(path, requests), LAYOUTS["vidur"], asked)


def servegen(
    path: Path,
    *,
    skip_empty: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
    found_out: bool = False,
) -> Trace:
    """Read requests as ServeGen generates them: timestamp (s), input_tokens, output_tokens.

    `found_out` takes the unit by the evidence of the file, since other tools use these names, too.
    """
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests)
    layout = replace(LAYOUTS["servegen"], unit=None) if found_out else LAYOUTS["servegen"]
    return trace_of(opened_rows(path, requests), layout, asked)


def splitwise(
    path: Path,
    *,
    skip_empty: bool = False,
    columns: Columns = None,
    time_unit: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
) -> Trace:
    """Read splitwise-sim CSV: arrival_timestamp (s), prompt_size, token_size (output); application_id labels."""
    asked = Asked(skip_empty, columns, time_unit, keep_start, requests)
    trace = trace_of(opened_rows(path, requests), LAYOUTS["splitwise"], asked)
    one = len(trace.applications) < 2
    return replace(trace, application_codes=None, applications=()) if one else trace


def _timed(path: Path, layout: Layout, asked: Asked, skip_turns: bool, in_seconds: str = "") -> Trace:
    """Read rows of Mooncake's keys; `in_seconds` is what their format is called if they turn out to be in seconds."""
    rows = opened_rows(path, None if skip_turns else asked.requests)
    if skip_turns and isinstance(rows, JsonRows):
        rows.demand("timestamp")
    trace = trace_of(rows, layout, asked)
    reading = trace.reading
    if reading is None:
        return trace
    if skipped := getattr(rows, "skipped", 0):
        left_out = {**reading.left_out, "later turns of sessions (a delay, no timestamp)": skipped}
        reading = replace(reading, rows=reading.rows + skipped, left_out=left_out)
    return replace(trace, reading=replace(reading, format=in_seconds if reading.time_unit == "s" else ""))
