"""Readers of what others recorded: one function per format, and `load`, which finds out which one a file needs."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from traces.errors import SlosimError, TraceWarning
from traces.readers.conversations import alpaca, custom, sharegpt
from traces.readers.detect import detect
from traces.readers.folders import text
from traces.readers.own import csv_file, parquet_file
from traces.readers.recorded import azure, burstgpt, mooncake, timed_trace, vidur
from traces.reading import Reading
from traces.trace import Trace

__all__ = ["FORMATS", "Format", "load"]


class Format(NamedTuple):
    """A kind of file that can be loaded."""

    read: Callable[..., Trace]
    """Takes a path and the options that `help` shows."""
    description: str


FORMATS: Mapping[str, Format] = {
    "sharegpt": Format(sharegpt, "ShareGPT JSON with vLLM's filters; a cut-off file is read as far as it goes"),
    "alpaca": Format(alpaca, "Alpaca JSON, JSON Lines or Parquet: instruction, input, output"),
    "text": Format(text, "a text file or a folder of them (BookCorpus): one file is one prompt, or cut into pieces"),
    "azure": Format(azure, "Azure LLM inference CSV of 2023 or 2024: TIMESTAMP, ContextTokens, GeneratedTokens"),
    "burstgpt": Format(burstgpt, "BurstGPT CSV, any version: Timestamp, Model, Request tokens, Response tokens"),
    "mooncake": Format(mooncake, "Mooncake JSON Lines: timestamp (ms), input_length, output_length"),
    "timed_trace": Format(timed_trace, "vLLM's timed_trace JSON Lines: timestamp (s), input_length, output_length"),
    "vidur": Format(vidur, "Vidur CSV: num_prefill_tokens, num_decode_tokens, and arrived_at if known"),
    "custom": Format(custom, "vLLM's custom JSON Lines: prompt (text), output_tokens"),
    "parquet": Format(parquet_file, "this project's Parquet: prompt_tokens, output_tokens, and arrived_at if known"),
    "csv": Format(csv_file, "this project's CSV: prompt_tokens, output_tokens, and arrived_at if known"),
}
"""Everything that `load` reads, by name; files may be gzipped (but Parquet)."""


def load(
    path: str | Path,
    format: str | None = None,
    *,
    application: str | None = None,
    name: str | None = None,
    keep_start: bool = False,
    **options: Any,
) -> Trace:
    """Read a trace from a file or folder, whatever its format; `format` is a name in FORMATS where guessing fails.

    `application` labels all requests, `name` names the trace; further options are those of the format's reader, such as
    load("ShareGPT_V3.json", max_prompt_len=2048) or load("books", chunk_tokens=2048). Time starts at the first arrival;
    `keep_start` keeps the file's own zero. Sources that do not tell when requests came put all of them at 0:
    `trace.with_arrivals(Poisson(8.0))` spreads them.

    `trace.reading` says what was read. One TraceWarning says what was left out or ignored, if anything was. Raises
    SlosimError naming file, line, field and value of what is wrong.
    """
    source = Path(path)
    if not source.exists():
        raise SlosimError(f"{source}: no such file or folder")
    chosen = detect(source) if format is None else format
    if chosen not in FORMATS:
        raise SlosimError(f"no format is called {chosen!r}; {_near(chosen, FORMATS)}known are {', '.join(FORMATS)}")
    accepted = _accepted(chosen, options)
    if "keep_start" in _parameters(chosen):
        accepted["keep_start"] = keep_start
    trace = _from_the_first_arrival(FORMATS[chosen].read(source, **accepted), keep_start)
    reading = replace(trace.reading or Reading(rows=len(trace)), path=str(source), format=chosen)
    trace = replace(trace, reading=reading, name=name or trace.name or source.name.split(".")[0])
    if told := reading.warnings():
        warnings.warn(f"{source}: {'; '.join(told)}", TraceWarning, stacklevel=2)
    return trace if application is None else trace.labelled(application)


def _from_the_first_arrival(trace: Trace, keep_start: bool) -> Trace:
    """Return the trace with its first request at 0, unless asked otherwise; readers of large stamps did it exactly."""
    reading = trace.reading or Reading(rows=len(trace))
    first = float(trace.arrived_at[0]) if len(trace) else 0.0
    if keep_start or first == 0:
        return replace(trace, reading=replace(reading, start_kept=keep_start))
    told = first if reading.first_arrival is None else reading.first_arrival
    reading = replace(reading, first_arrival=told, time_unit=reading.time_unit or "s")
    return replace(trace.with_arrivals(trace.arrived_at - first), reading=reading)


def _parameters(chosen: str) -> list[str]:
    return list(inspect.signature(FORMATS[chosen].read).parameters)[1:]


def _accepted(chosen: str, options: dict[str, Any]) -> dict[str, Any]:
    known = _parameters(chosen)
    unknown = next((option for option in options if option not in known), None)
    if unknown is not None:
        raise SlosimError(
            f"format {chosen} has no option {unknown!r}; {_near(unknown, known)}it has {', '.join(known)}"
        )
    return dict(options)


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
