"""Texts with their answers: ShareGPT, Alpaca and vLLM's custom data, counted as OPT tokens."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from traces.checks import LENGTH, MOST_TOKENS
from traces.distributions import Distribution
from traces.errors import SlosimError
from traces.readers.files import is_parquet
from traces.readers.json_lines import objects
from traces.readers.json_stream import records
from traces.readers.outputs import drawn
from traces.readers.own import parquet_columns
from traces.tokens import OPT, Tokenizer
from traces.trace import Trace

__all__ = ["alpaca", "custom", "sharegpt"]

_HUMAN = ("human", "user")
_ALPACA = ("instruction", "input", "output")


def sharegpt(
    path: Path,
    *,
    tokenizer: Tokenizer = OPT,
    min_len: int = 4,
    max_prompt_len: int | None = 1024,
    max_total_len: int | None = 2048,
    human_first: bool = False,
    shuffle_seed: int | None = None,
) -> Trace:
    """Read ShareGPT JSON: [{"id", "conversations": [{"from": "human" | "gpt", "value"}, ...]}, ...].

    As vLLM's benchmark does, each conversation of two messages or more gives one request: its first message is the
    prompt, the second one the output, whoever wrote them. `human_first` takes the first human message that is answered
    instead, and leaves out conversations without one. The limits are that benchmark's filters and defaults, in
    tokens: `min_len` for prompt and output, `max_prompt_len`, and `max_total_len` for both together (None: no limit).
    `shuffle_seed` puts the requests in the order that the benchmark has for this seed.

    A file that is cut off gives its whole conversations and a TraceWarning that says how many. All requests come at 0.
    """
    ids: list[str] = []
    lengths = tokenizer.lengths(_first_turns(path, human_first, ids))
    order = list(range(len(lengths)))
    if shuffle_seed is not None:
        Random(shuffle_seed).shuffle(order)
    prompts, outputs = lengths[order].T
    valid = (prompts >= min_len) & (outputs >= min_len)
    valid &= (prompts <= (max_prompt_len or np.inf)) & (prompts + outputs <= (max_total_len or np.inf))
    if not valid.any():
        raise SlosimError(f"{path}: none of {len(lengths)} conversations is within the limits on its lengths")
    kept = [ids[order[index]] for index in np.flatnonzero(valid).tolist()]
    return Trace.from_columns(None, prompts[valid], outputs[valid], ids=kept, name="sharegpt")


def alpaca(path: Path, *, tokenizer: Tokenizer = OPT) -> Trace:
    """Read Alpaca as JSON, JSON Lines or Parquet: instruction, input (may be empty), output.

    The prompt is the instruction and, on a line of its own, the input (chosen: the set's real prompt template is a
    matter of training, not of traffic). All requests come at 0.
    """
    lengths = tokenizer.lengths(_alpaca_pairs(path))
    if not len(lengths):
        raise SlosimError(f"{path}: the file has no instruction")
    return Trace.from_columns(None, lengths[:, 0], lengths[:, 1], name="alpaca")


def custom(
    path: Path, *, tokenizer: Tokenizer = OPT, outputs: int | Distribution | None = None, seed: int = 0
) -> Trace:
    """Read vLLM's custom JSON Lines: prompt (text) and output_tokens (a number, unless `outputs` is given).

    `outputs` is a length for every request, or a distribution drawn with `seed`. All requests come at 0.
    """
    wanted: list[int] = []
    prompts = tokenizer.prompt_lengths(_custom_prompts(path, None if outputs is not None else wanted))
    if not len(prompts):
        raise SlosimError(f"{path}: the file has no prompt")
    lengths = wanted if outputs is None else drawn(outputs, len(prompts), seed)
    return Trace.from_columns(None, prompts, lengths, name=path.name.split(".")[0])


def _first_turns(path: Path, human_first: bool, ids: list[str]) -> Iterator[tuple[str, str]]:
    """Give the first turn of each conversation that has one, and note what the conversation is called."""
    for record in records(path, "conversation"):
        where = f"{path}, conversation {record.number}, line {record.line}"
        messages = record.content.get("conversations")
        if not isinstance(messages, list):
            raise SlosimError(f"{where}, field conversations: expected a list of messages, got {messages!r}")
        start = _human_turn(messages) if human_first else 0
        if start is not None and start + 1 < len(messages):
            ids.append(str(record.content.get("id", record.number)))
            yield _said(messages[start], where), _said(messages[start + 1], where)


def _human_turn(messages: list[Any]) -> int | None:
    speakers = [message.get("from") if isinstance(message, dict) else None for message in messages]
    turns = enumerate(pairwise(speakers))
    return next((place for place, (asks, answers) in turns if asks in _HUMAN and answers not in _HUMAN), None)


def _said(message: Any, where: str) -> str:
    value = message.get("value") if isinstance(message, dict) else None
    if not isinstance(value, str):
        raise SlosimError(f"{where}, field value: expected a message with a text, got {str(message)[:60]}")
    return value


def _alpaca_pairs(path: Path) -> Iterator[tuple[str, str]]:
    for where, fields in _alpaca_rows(path):
        for field in _ALPACA:
            if not isinstance(fields.get(field), str):
                raise SlosimError(f"{where}, field {field}: expected a text, got {fields.get(field)!r}")
        prompt = f"{fields['instruction']}\n{fields['input']}" if fields["input"] else fields["instruction"]
        yield prompt, fields["output"]


def _alpaca_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if is_parquet(path):
        columns, _ = parquet_columns(path, _ALPACA)
        rows = zip(*(columns[field].to_pylist() for field in _ALPACA), strict=True)
        for row, values in enumerate(rows, start=1):
            yield f"{path}, row {row}", dict(zip(_ALPACA, values, strict=True))
    else:
        for record in records(path, "request"):
            yield f"{path}, request {record.number}, line {record.line}", record.content


def _custom_prompts(path: Path, outputs: list[int] | None) -> Iterator[str]:
    """Give the prompts; note the number of output tokens of each where a list for them is given."""
    for line, fields in objects(path):
        where = f"{path}, line {line}"
        if not isinstance(fields.get("prompt"), str):
            raise SlosimError(f"{where}, field prompt: expected a text, got {fields.get('prompt')!r}")
        if outputs is not None:
            outputs.append(_output_tokens(fields.get("output_tokens"), where))
        yield fields["prompt"]


def _output_tokens(value: Any, where: str) -> int:
    if value is None:
        raise SlosimError(f"{where}, field output_tokens: missing; or give all outputs a length, such as outputs=200")
    if type(value) is not int or not 1 <= value <= MOST_TOKENS:
        raise SlosimError(f"{where}, field output_tokens: {value!r} is not {LENGTH}")
    return value
