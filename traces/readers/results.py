"""Results of benchmarks as workloads: when requests were sent, how long they were, and which of them failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.checks import LENGTH, MOST_TOKENS
from traces.errors import SlosimError, asked_by
from traces.readers.json_stream import records, shown
from traces.readers.times import shown as shown_time
from traces.readers.times import since_first
from traces.reading import Reading, counted
from traces.trace import Trace

__all__ = ["Collected", "aiperf", "guidellm", "inference_perf", "llmperf", "llmservingsim", "vllm_bench"]

_LATEST = 1 << 62
"""Above every time in nanoseconds that is a date."""
_SHOWN = 5
_NO_OUTPUT = "no output tokens"
_LATER_TURNS = "later calls of sessions, sent after the answer before them"


class Collected:
    """Requests gathered one by one, and a count of those that are left out, by reason."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.left_out: Counter[str] = Counter()
        self.facts: list[str] = []
        self.notes: list[str] = []
        self._arrivals: list[Any] = []
        self._prompts: list[int] = []
        self._outputs: list[int] = []
        self._ids: list[str] = []

    def add(self, where: str, arrival: Any, prompt: Any, output: Any, name: Any) -> None:
        """Take a request that succeeded; raise SlosimError at an impossible length or time. No output: left out."""
        if output is None or (output == 0 and not isinstance(output, bool)):
            self.left_out[_NO_OUTPUT] += 1
            return
        self._prompts.append(_length(prompt, where, "prompt tokens"))
        self._outputs.append(_length(output, where, "output tokens"))
        self._arrivals.append(None if arrival is None else _time(arrival, where))
        self._ids.append(shown(name))

    def trace(self, unit: str | None, evidence: str, keep_start: bool) -> Trace:
        """Return the requests in order of arrival; `unit` None: the file does not record arrivals."""
        rows = len(self._prompts) + self.left_out.total()
        if not self._prompts:
            why = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.most_common(_SHOWN))
            raise SlosimError(f"{self.path}: no request is left of {rows:,}" + (f": {why}" if why else ""))
        reading = Reading(
            rows=rows,
            left_out=dict(self.left_out),
            facts=tuple(self.facts),
            notes=tuple(self.notes),
            start_kept=keep_start,
        )
        seconds = None
        if unit is not None:
            stamps = self._stamps()
            seconds = since_first(stamps, unit, keep_start)
            first = shown_time(stamps.min(), unit)
            reading = replace(reading, time_unit=unit, time_evidence=evidence, first_arrival=first)
        return Trace.from_columns(
            seconds, self._prompts, self._outputs, ids=self._ids, name=self.name, sort=True, reading=reading
        )

    def timed(self) -> bool:
        """Return whether any request has a time of arrival."""
        return any(arrival is not None for arrival in self._arrivals)

    def _stamps(self) -> NDArray[Any]:
        missing = sum(arrival is None for arrival in self._arrivals)
        if missing:
            raise SlosimError(f"{self.path}: no time of arrival for {missing:,} of {len(self._arrivals):,} requests")
        whole = all(type(arrival) is int for arrival in self._arrivals)
        return np.array(self._arrivals, dtype=np.int64 if whole else np.float64)


def vllm_bench(path: Path, *, run: int | None = None, keep_start: bool = False) -> Trace:
    """Read a result of `vllm bench serve --save-detailed`, of SGLang's bench_serving, or slosim's own bench.json.

    Lists per request: input_lens, output_lens, start_times (s; SGLang has none, so that all requests come at 0), and
    errors. Requests that failed are left out. `run` (from 1) chooses one of several results in a file.
    """
    where, result = _chosen([(record.number, record.content) for record in records(path, "result")], run, path)
    prompts, outputs = (_list(result, key, where) for key in ("input_lens", "output_lens"))
    if prompts is None or outputs is None:
        missing = "input_lens" if prompts is None else "output_lens"
        raise SlosimError(f"{where}: no {missing}, the lengths of each request; save the result with --save-detailed")
    requests = len(prompts)
    starts = _list(result, "start_times", where) or [None] * requests
    errors = _list(result, "errors", where) or [""] * requests
    _same_length(where, input_lens=prompts, output_lens=outputs, start_times=starts, errors=errors)
    found = Collected(path, _stem(path))
    for at, (start, prompt, output, error) in enumerate(zip(starts, prompts, outputs, errors, strict=True)):
        if error:
            found.left_out["failed"] += 1
        else:
            found.add(f"{where}, request {at + 1}", start, prompt, output, at)
    if not found.timed() and result.get("request_rate") not in (None, "inf"):
        found.facts.append(f"its request_rate was {shown(result['request_rate'])}")
    return found.trace("s" if found.timed() else None, "the format says so", keep_start)


def aiperf(path: Path, *, keep_start: bool = False) -> Trace:
    """Read AIPerf's profile_export.jsonl: request_start_ns, input_sequence_length, output_sequence_length.

    Requests with an error, cancelled ones and those of the warm-up are left out.
    """
    found, later = Collected(path, _stem(path)), 0
    for record in records(path, "request"):
        where = f"{path}, line {record.line}"
        metadata, metrics = (_object(record.content, key, where) for key in ("metadata", "metrics"))
        if failure := _aiperf_failure(metadata, record.content.get("error")):
            found.left_out[failure] += 1
            continue
        prompt = _metric(metrics, "input_sequence_length")
        outputs = (_metric(metrics, key) for key in ("output_sequence_length", "output_token_count"))
        output = next((value for value in outputs if value is not None), None)
        name = metadata.get("x_request_id") or metadata.get("session_num", record.number)
        found.add(where, metadata.get("request_start_ns"), prompt, output, name)
        later += metadata.get("turn_index") not in (0, None)
    if later:
        found.notes.append(
            f"{counted(later, 'request')} replayed at recorded times, not as a closed loop: {_LATER_TURNS}"
        )
    return found.trace("ns", "the format says so", keep_start)


def guidellm(path: Path, *, run: int | None = None, keep_start: bool = False) -> Trace:
    """Read GuideLLM's benchmarks.json: the requests that succeeded, at request_start_time (s since 1970).

    Errored and incomplete requests are left out. `run` (from 1) chooses one of several benchmarks, as of a sweep.
    """
    runs = [each for record in records(path, "report") for each in _list(record.content, "benchmarks", path) or []]
    where, result = _chosen(list(enumerate(runs, start=1)), run, path)
    groups = _object(result, "requests", where)
    if not any(isinstance(groups.get(group), list) for group in ("successful", "errored", "incomplete")):
        raise SlosimError(f"{where}: no requests; save the report with all of them")
    found = Collected(path, _stem(path))
    for group, reason in (("errored", "failed"), ("incomplete", "incomplete at the end of the run")):
        if kept := len(_list(groups, group, where) or []):
            found.left_out[reason] += kept
    for at, request in enumerate(_list(groups, "successful", where) or [], start=1):
        here = f"{where}, successful request {at}"
        fields = _checked_object(request, here)
        found.add(here, _guidellm_start(fields), *_guidellm_lengths(fields), fields.get("request_id", at))
    return found.trace("s", "the format says so", keep_start)


def llmperf(path: Path, *, keep_start: bool = False) -> Trace:
    """Read LLMPerf's individual_responses.json: number_input_tokens, number_output_tokens, error_code.

    Failed requests are left out. Without start_time (s), which newer versions write, all requests come at 0.
    """
    found = Collected(path, _stem(path))
    for record in records(path, "request"):
        fields = record.content
        if fields.get("error_code") is not None:
            found.left_out[f"failed ({shown(fields['error_code'])})"] += 1
            continue
        lengths = (fields.get("number_input_tokens"), fields.get("number_output_tokens"))
        found.add(f"{path}, line {record.line}", fields.get("start_time"), *lengths, record.number)
    return found.trace("s" if found.timed() else None, "the format says so", keep_start)


def inference_perf(path: Path, *, keep_start: bool = False) -> Trace:
    """Read inference-perf's per-request report: start_time (s), info.input_tokens, info.output_tokens, error."""
    found = Collected(path, _stem(path))
    for record in records(path, "request"):
        where, fields = f"{path}, request {record.number}, line {record.line}", record.content
        if fields.get("error") is not None:
            error = fields["error"]
            kind = error.get("error_type", "error") if isinstance(error, dict) else error
            found.left_out[f"failed ({shown(kind)})"] += 1
            continue
        info = _object(fields, "info", where)
        found.add(where, fields.get("start_time"), info.get("input_tokens"), info.get("output_tokens"), record.number)
    return found.trace("s", "the format says so", keep_start)


def llmservingsim(path: Path, *, skip_turns: bool = False, keep_start: bool = False) -> Trace:
    """Read LLMServingSim's workloads and bench results: input_toks, output_toks, arrival_time_ns or arrival_time (s).

    Sessions of several calls (sub_requests) wait for their answers, which is not modelled: an error, unless
    `skip_turns` keeps the first call of each.
    """
    found, units = Collected(path, _stem(path)), Counter[str]()
    for record in records(path, "request"):
        where, fields = f"{path}, line {record.line}", record.content
        unit = "ns" if "arrival_time_ns" in fields else "s"
        units[unit] += 1
        arrival = fields.get("arrival_time_ns" if unit == "ns" else "arrival_time")
        call = fields
        if "sub_requests" in fields:
            calls = _list(fields, "sub_requests", where) or []
            call = _first_call(calls, where, skip_turns, found)
        name = fields.get("request_id", fields.get("session_id", record.number))
        found.add(where, arrival, call.get("input_toks"), call.get("output_toks"), name)
    if len(units) > 1:
        raise SlosimError(f"{path}: some arrivals are arrival_time_ns, others arrival_time; use one of them")
    return found.trace(next(iter(units), "s"), "the format says so", keep_start)


def _first_call(calls: Sequence[Any], where: str, skip_turns: bool, found: Collected) -> dict[str, Any]:
    if not calls:
        raise SlosimError(f"{where}, field sub_requests: no call")
    if len(calls) > 1 and not skip_turns:
        told = f"a session of {len(calls)} calls, each sent after the answer before it; such closed loops"
        raise SlosimError(f"{where}: {told} are not modelled: keep the first calls with {asked_by(skip_turns=True)}")
    if len(calls) > 1:
        found.left_out[_LATER_TURNS] += len(calls) - 1
    return _checked_object(calls[0], f"{where}, field sub_requests")


def _aiperf_failure(metadata: Mapping[str, Any], error: Any) -> str | None:
    if error is not None:
        kind = error.get("type") or error.get("code") if isinstance(error, dict) else error
        return f"failed ({shown(kind)})"
    if metadata.get("was_cancelled"):
        return "failed (cancelled)"
    return "warm-up" if metadata.get("benchmark_phase") == "warmup" else None


def _metric(metrics: Mapping[str, Any], key: str) -> Any:
    value = metrics.get(key)
    return value.get("value") if isinstance(value, dict) else value


def _guidellm_start(fields: Mapping[str, Any]) -> Any:
    info = fields.get("info") or fields.get("scheduler_info")
    info = info if isinstance(info, dict) else {}
    timings = info.get("timings") or info.get("request_timings")
    timings = timings if isinstance(timings, dict) else {}
    starts = (fields.get("request_start_time"), fields.get("start_time"))
    return next(
        (start for start in (*starts, timings.get("request_start"), timings.get("resolve_start")) if start), None
    )


def _guidellm_lengths(fields: Mapping[str, Any]) -> tuple[Any, Any]:
    prompt, output = fields.get("prompt_tokens"), fields.get("output_tokens")
    for side, key in (("prompt", "input_metrics"), ("output", "output_metrics")):
        usage = fields.get(key)
        usage = usage if isinstance(usage, dict) else {}
        total = usage.get("total_tokens", usage.get("text_tokens"))
        if side == "prompt":
            prompt = total if prompt is None else prompt
        else:
            output = total if output is None else output
    return prompt, output


def _chosen(runs: Sequence[tuple[int, Any]], run: int | None, path: Path) -> tuple[str, dict[str, Any]]:
    """Return the only result of a file, or the one that was asked for."""
    if not runs:
        raise SlosimError(f"{path}: the file has no result")
    if run is None and len(runs) > 1:
        rates = ", ".join(shown(_rate(result)) for _, result in runs[:_SHOWN])
        told = f"{len(runs):,} results (of {rates}{', ...' if len(runs) > _SHOWN else ''})"
        raise SlosimError(f"{path}: {told}; choose one, such as {asked_by(run=1)}")
    if run is not None and (type(run) is not int or not 1 <= run <= len(runs)):
        raise SlosimError(f"{path}: {asked_by(run=run)}: the file has {counted(len(runs), 'result')}, from 1 on")
    number, result = runs[0 if run is None else run - 1]
    where = str(path) if len(runs) == 1 else f"{path}, result {number}"
    return where, _checked_object(result, where)


def _rate(result: Any) -> str:
    """Return what distinguishes a result from the others of its file."""
    if not isinstance(result, dict):
        return "?"
    rate = result.get("request_rate")
    if rate is not None:
        return f"rate {rate}"
    config = result.get("config")
    strategy = config.get("strategy") if isinstance(config, dict) else None
    return str(strategy.get("type_", "?")) if isinstance(strategy, dict) else "?"


def _list(fields: Mapping[str, Any], key: str, where: object) -> list[Any] | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, list):
        raise SlosimError(f"{where}, field {key}: expected a list, got {shown(value)}")
    return value


def _object(fields: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Return an object that may be missing or null."""
    value = fields.get(key)
    return {} if value is None else _checked_object(value, f"{where}, field {key}")


def _checked_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SlosimError(f"{where}: expected a JSON object, got {shown(value)}")
    return value


def _same_length(where: str, **lists: Sequence[Any]) -> None:
    if len({len(each) for each in lists.values()}) > 1:
        told = ", ".join(f"{key} {len(each):,}" for key, each in lists.items())
        raise SlosimError(f"{where}: its lists have different lengths ({told}), so that requests cannot be matched")


def _length(value: Any, where: str, what: str) -> int:
    good = type(value) in (int, float) and 1 <= value <= MOST_TOKENS and value == int(value)
    if not good:
        raise SlosimError(f"{where}, {what}: {shown('null' if value is None else value)} is not {LENGTH}")
    return int(value)


def _time(value: Any, where: str) -> Any:
    if type(value) not in (int, float) or not 0 <= value <= _LATEST:
        raise SlosimError(f"{where}, time of arrival: {shown(value)} is not a time since a start, 0 or more")
    return value


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
