"""Readers of what others recorded: one function per format, and `load`, which finds out which one a file needs."""

from __future__ import annotations

import difflib
import inspect
import os.path
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from traces.errors import SlosimError, TraceWarning
from traces.readers.blis import blis
from traces.readers.conversations import sharegpt
from traces.readers.detect import container, detect
from traces.readers.distserve import distserve
from traces.readers.files import regular
from traces.readers.own import rows_file
from traces.readers.parts import joined, windowed
from traces.readers.prompts import alpaca, custom, text
from traces.readers.recorded import azure, burstgpt, mooncake, servegen, splitwise, timed_trace, vidur
from traces.readers.results import aiperf, guidellm, inference_perf, llmperf, llmservingsim, vllm_bench
from traces.readers.rows import shards
from traces.reading import Reading, counted
from traces.trace import Trace

__all__ = ["FORMATS", "Format", "load"]


class Format(NamedTuple):
    """A kind of file that can be loaded."""

    read: Callable[..., Trace]
    """Takes a path and the options that `help` shows."""
    description: str


FORMATS: Mapping[str, Format] = {
    "sharegpt": Format(
        sharegpt, "chats (ShareGPT, LMSYS-Chat-1M, WildChat, OpenAI), JSON or Parquet, with vLLM's filters"
    ),
    "alpaca": Format(alpaca, "Alpaca JSON, JSON Lines or Parquet: instruction, input, output"),
    "text": Format(text, "a text file or a folder of them (BookCorpus), only on request: one file is one prompt"),
    "azure": Format(azure, "Azure LLM inference traces of 2023 to 2025: TIMESTAMP, ContextTokens, GeneratedTokens"),
    "burstgpt": Format(burstgpt, "BurstGPT, any version: Timestamp (s), Model, Request tokens, Response tokens"),
    "mooncake": Format(mooncake, "Mooncake: timestamp (ms; unnamed: s or ms by evidence), input_length, output_length"),
    "timed_trace": Format(timed_trace, "vLLM's timed_trace: timestamp (s), input_length, output_length"),
    "vidur": Format(vidur, "Vidur: num_prefill_tokens, num_decode_tokens, and arrived_at (s) if known"),
    "custom": Format(custom, "vLLM's custom JSON Lines: prompt (text or token ids), output_tokens"),
    "servegen": Format(servegen, "requests as ServeGen generates them: timestamp (s), input_tokens, output_tokens"),
    "splitwise": Format(splitwise, "splitwise-sim CSV: arrival_timestamp (s), prompt_size, token_size"),
    "blis": Format(blis, "inference-sim (BLIS) TraceV2: a .csv with its .yaml; SLO classes become applications"),
    "llmservingsim": Format(llmservingsim, "LLMServingSim JSON Lines: input_toks, output_toks, arrival_time_ns"),
    "distserve": Format(distserve, "DistServe .ds (marshal, or a pickle of plain data), or its results in JSON"),
    "vllm_bench": Format(vllm_bench, "results of vllm bench serve --save-detailed, SGLang's bench, or our bench.json"),
    "aiperf": Format(aiperf, "AIPerf's profile_export.jsonl"),
    "guidellm": Format(guidellm, "GuideLLM's benchmarks.json"),
    "llmperf": Format(llmperf, "LLMPerf's individual_responses.json"),
    "inference_perf": Format(inference_perf, "inference-perf's per-request report"),
    "parquet": Format(rows_file, "Parquet: prompt_tokens, output_tokens, and arrived_at (s) if known, or --columns"),
    "csv": Format(rows_file, "CSV (, ; tab or |, decimal comma) with these columns, or any with --columns"),
    "jsonl": Format(rows_file, "JSON Lines or a JSON array with these keys, or any with --columns"),
}
"""Everything that `load` reads, by name. A folder of such files is read as one trace in order of name."""


def load(
    path: str | Path,
    format: str | None = None,
    *,
    application: str | None = None,
    name: str | None = None,
    keep_start: bool = False,
    requests: int | None = None,
    start: float | str | None = None,
    end: float | str | None = None,
    **options: Any,
) -> Trace:
    """Read a trace from a file or folder, whatever its format; `format` is a name in FORMATS where guessing fails.

    `application` labels all requests, `name` names the trace; `requests` keeps the first ones, `start` and `end` those
    that arrive in this window: seconds from the first arrival, or dates where the file has them. Time starts at the
    first arrival; `keep_start` keeps the file's own zero. Further options are those of the format's reader, such as
    load("ShareGPT_V3.json", max_prompt_len=2048), load("mooncake.jsonl", time_unit="s") or
    load("mine.csv", columns={"arrived_at": "at", "prompt_tokens": "in", "output_tokens": "out"}, time_unit="ms").
    Sources without arrival times put all requests at 0: `trace.with_arrivals(Poisson(8.0))` spreads them.

    `trace.reading` says what was read. One TraceWarning says what was left out or ignored, if anything was. Raises
    SlosimError naming file, line, field and value of what is wrong.
    """
    source = Path(path)
    if not os.path.isdir(source):
        regular(source)
    chosen = _chosen(source, format, options)
    accepted = _accepted(chosen, options)
    first = requests if start is None and end is None else None
    general = {"keep_start": keep_start, "requests": first, "found_out": format is None}
    accepted |= {option: value for option, value in general.items() if option in _parameters(chosen)}
    trace = _from_the_first_arrival(_read(chosen, source, accepted), keep_start)
    trace = windowed(trace, start, end, keep_start)
    trace = trace if requests is None else trace.head(requests)
    reading = trace.reading or Reading(rows=len(trace))
    reading = replace(reading, path=str(source), format=reading.format or chosen)
    trace = replace(trace, reading=reading, name=name or trace.name or source.name.split(".")[0])
    if told := reading.warnings():
        warnings.warn(f"{source}: {'; '.join(told)}", TraceWarning, stacklevel=2)
    return trace if application is None else trace.labelled(application)


def _chosen(source: Path, format: str | None, options: Mapping[str, Any]) -> str:
    chosen = format or (container(source) if options.get("columns") else detect(source))
    if format is None and chosen == "mooncake" and "seconds" in options:
        chosen = "timed_trace"
    if chosen not in FORMATS:
        raise SlosimError(f"no format is called {chosen!r}; {_near(chosen, FORMATS)}known are {', '.join(FORMATS)}")
    return chosen


def _read(chosen: str, source: Path, options: dict[str, Any]) -> Trace:
    """Read a file, or a folder: of rows as one table, of others file by file."""
    read = FORMATS[chosen].read
    if not source.is_dir() or chosen == "text":
        return read(source, **options)
    files, others = shards(source)
    of_rows = "time_unit" in _parameters(chosen)
    trace = read(source, **options) if of_rows else joined([read(file, **options) for file in files])
    reading = trace.reading or Reading(rows=len(trace))
    told = f"{counted(len(files), 'file')} read as one trace: {_listed([path.name for path in files])}"
    skipped = (f"skipped: {_listed(others)}",) if others else ()
    reading = replace(reading, facts=(*reading.facts, told), notes=(*reading.notes, *skipped))
    return replace(trace, reading=reading)


def _listed(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 3 else [*names[:2], "...", names[-1]])


def _from_the_first_arrival(trace: Trace, keep_start: bool) -> Trace:
    """Return the trace with its first request at 0, unless asked otherwise; readers of large stamps did it exactly."""
    reading = trace.reading or Reading(rows=len(trace))
    first = float(trace.arrived_at[0]) if len(trace) else 0.0
    if keep_start or first == 0:
        return replace(trace, reading=replace(reading, start_kept=keep_start))
    told = first if reading.first_arrival is None else reading.first_arrival
    reading = replace(reading, first_arrival=told, time_unit=reading.time_unit or "s", start_kept=False)
    return replace(trace.with_arrivals(trace.arrived_at - first), reading=reading)


def _parameters(chosen: str) -> list[str]:
    return list(inspect.signature(FORMATS[chosen].read).parameters)[1:]


def _accepted(chosen: str, options: dict[str, Any]) -> dict[str, Any]:
    known = [option for option in _parameters(chosen) if option not in ("found_out",)]
    unknown = next((option for option in options if option not in known), None)
    if unknown is not None:
        raise SlosimError(
            f"format {chosen} has no option {unknown!r}; {_near(unknown, known)}it has {', '.join(known)}"
        )
    return dict(options)


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
