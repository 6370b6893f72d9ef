"""Detects the format of a JSON file from the paths of its keys."""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

from traces.errors import SlosimError
from traces.readers.conversations import MESSAGES

__all__ = ["json_kind", "key_paths"]

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\]:,]')
_DEEPEST = 4


class _Kind(NamedTuple):
    """A format by the paths of its keys; lists do not count in a path."""

    name: str
    paths: Set[str]


_KINDS = (
    _Kind("vllm_bench", {"input_lens"}),
    _Kind("vllm_bench", {"completed", "total_input_tokens", "duration"}),
    _Kind("aiperf", {"metadata.request_start_ns"}),
    _Kind("guidellm", {"benchmarks", "benchmarks.config"}),
    _Kind("guidellm", {"benchmarks", "benchmarks.requests"}),
    _Kind("guidellm", {"benchmarks", "benchmarks.type_"}),
    _Kind("guidellm", {"benchmarks", "metadata.guidellm_version"}),
    _Kind("llmservingsim", {"input_toks", "output_toks"}),
    _Kind("llmservingsim", {"sub_requests"}),
    _Kind("llmperf", {"number_input_tokens", "number_output_tokens"}),
    _Kind("inference_perf", {"start_time", "info.input_tokens", "info.output_tokens"}),
    _Kind("distserve", {"reqs", "dataset_name"}),
    _Kind("distserve", {"prompt_len", "output_len"}),
    _Kind("servegen", {"timestamp", "input_tokens", "output_tokens"}),
    _Kind("mooncake", {"timestamp", "input_length", "output_length"}),
    _Kind("jsonl", {"prompt_tokens", "output_tokens"}),
    *(_Kind("sharegpt", {key}) for key in MESSAGES if key != "items"),
    *(_Kind("sharegpt", {f"items.{key}"}) for key in ("from", "value", "role", "content")),
)
_SPANS = "OpenTelemetry spans, which are not read; export start time and token counts of each request as CSV"
_REFUSED = (
    _Kind("the inputs of an AIPerf run, which have no lengths; use its profile_export.jsonl", {"data.payloads"}),
    _Kind(
        "the summary of an AIPerf run, without its requests; use its profile_export.jsonl",
        {"request_throughput.unit", "request_throughput.avg"},
    ),
    _Kind("a summary of LLMPerf, without its requests; use its ..._individual_responses.json", {"results.ttft_s"}),
    _Kind("a summary of LLMPerf, without its requests; use its ..._individual_responses.json", {"results_ttft_s_mean"}),
    *(_Kind(_SPANS, {key}) for key in ("resourceSpans", "scopeSpans", "traceId")),
    _Kind(_SPANS, {"trace_id", "span_id"}),
    _Kind("a batch of OpenAI requests, which has no answers; use its output", {"custom_id", "body.messages"}),
    _Kind("a notebook, not a trace", {"nbformat"}),
)


def json_kind(path: Path, head: str) -> str | None:
    """Return the format of JSON that begins with `head`, or None; raise SlosimError for what is known and not read."""
    paths = key_paths(head)
    refused = next((kind.name for kind in _REFUSED if kind.paths <= paths), None)
    if refused is not None:
        raise SlosimError(f"{path}: {refused}")
    return next((kind.name for kind in _KINDS if kind.paths <= paths), None)


def key_paths(head: str) -> set[str]:
    """Return the paths of all keys in the beginning of a JSON text, such as "metadata.request_start_ns".

    >>> sorted(key_paths('[{"a": {"b": [{"c": "x: y"}, {"d": 1'))
    ['a', 'a.b', 'a.b.c', 'a.b.d']
    """
    found: set[str] = set()
    open_keys: list[str | None] = []
    """The key behind each open object or array; None where it is an element of a list."""
    last: str | None = None
    key: str | None = None
    for token in _TOKEN.finditer(head):
        sign = token.group()
        if sign[0] == '"':
            last = token.group(1)
        elif sign == ":" and last is not None:
            key = last
            names = [name for name in [*open_keys, key] if name is not None]
            if len(names) <= _DEEPEST:
                found.add(".".join(names))
        elif sign in "{[":
            open_keys.append(key)
            key = None
        elif sign in "}]":
            key = open_keys.pop() if open_keys else None
        else:
            key = None
    return found
