"""Prompts counted as OPT tokens: Alpaca, vLLM's custom data, and plain texts such as BookCorpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.checks import LENGTH, MOST_TOKENS
from traces.distributions import Distribution
from traces.errors import SlosimError, asked_by
from traces.fits import BOOKCORPUS_OUTPUTS
from traces.pairs import drawn
from traces.readers.files import files_below, is_parquet, opened_text
from traces.readers.headers import NOTHING, checked_columns, looks_like_time
from traces.readers.json_stream import Record, records, shown
from traces.readers.parquet import parquet_columns
from traces.reading import Reading, counted
from traces.tokens import OPT, Tokenizer
from traces.trace import Trace

__all__ = ["alpaca", "custom", "text"]

_ALPACA = ("instruction", "input", "output")
_ENDINGS = (".txt", ".txt.gz")
_CHARACTERS_AT_ONCE, _LONGEST_LINE = 1 << 20, 1 << 16
_FIRST = 1000
_REPLACED = "\ufffd"


def alpaca(path: Path, *, tokenizer: Tokenizer = OPT, requests: int | None = None) -> Trace:
    """Read Alpaca as JSON, JSON Lines or Parquet: instruction, input (may be empty), output.

    The prompt is the instruction and, on a line of its own, the input (chosen: the set's real prompt template is a
    matter of training, not of traffic). `requests` ends the reading after so many. All requests come at 0.
    """
    lengths = tokenizer.lengths(islice(_alpaca_pairs(path), requests))
    if not len(lengths):
        raise SlosimError(f"{path}: the file has no instruction")
    reading = Reading(rows=len(lengths))
    return Trace.from_columns(None, lengths[:, 0], lengths[:, 1], name="alpaca", reading=reading)


def custom(
    path: Path,
    *,
    tokenizer: Tokenizer = OPT,
    outputs: int | Distribution | None = None,
    seed: int = 0,
    columns: str | Mapping[str, str] | None = None,
    requests: int | None = None,
) -> Trace:
    """Read vLLM's custom JSON Lines: prompt (a text or a list of token ids) and output_tokens.

    `outputs` replaces output_tokens: a length for all, or a distribution drawn with `seed`. `requests` ends the
    reading after so many. All requests come at 0: a key that looks like arrival times is an error, unless `columns`
    says {"arrived_at": "none"}.
    """
    found = [_custom(record, path, outputs is None) for record in islice(_custom_rows(path, columns), requests)]
    if not found:
        raise SlosimError(f"{path}: the file has no prompt")
    texts = iter(tokenizer.prompt_lengths(each.text for each in found if each.text is not None).tolist())
    prompts = [next(texts) if each.text is not None else each.tokens for each in found]
    lengths = [each.output for each in found] if outputs is None else drawn(outputs, len(prompts), seed)
    ids = sum(each.text is None for each in found)
    facts = (f"{counted(ids, 'prompt')} given as token ids, which are not tokenized again",) if ids else ()
    reading = Reading(rows=len(found), facts=facts)
    return Trace.from_columns(None, prompts, lengths, name=path.name.split(".")[0], reading=reading)


def text(
    path: Path,
    *,
    tokenizer: Tokenizer = OPT,
    chunk_tokens: int | None = None,
    chunks_per_file: int | None = None,
    outputs: int | Distribution = BOOKCORPUS_OUTPUTS,
    seed: int = 0,
) -> Trace:
    """Read a text file, or every .txt and .txt.gz below a folder in order of their paths: one file is one prompt.

    With `chunk_tokens` a file is cut into consecutive prompts of so many tokens, the leading token included, the last
    one shorter; `chunks_per_file` keeps only the first few of each. Texts have no answers: `outputs` is a length for
    all, or a distribution drawn with `seed`, by default the one fitted to the paper's table for BookCorpus (mean 681).
    Files without any token are left out. All requests come at 0; ids are the paths.
    """
    lengths: list[NDArray[np.int64]] = []
    ids: list[str] = []
    files = _files(path)
    damaged = 0
    for file in files:
        tokens, replaced = _tokens(file, tokenizer)
        damaged += replaced
        lengths.append(_pieces(tokens, tokenizer.leading, chunk_tokens, chunks_per_file))
        ids += [str(file.relative_to(path)) if path.is_dir() else file.name] * len(lengths[-1])
    prompts = np.concatenate(lengths)
    if not len(prompts):
        raise SlosimError(f"{path}: the texts are empty")
    reading = _texts_read(len(files), sum(not len(pieces) for pieces in lengths), damaged, len(prompts))
    name = path.name.split(".")[0]
    return Trace.from_columns(None, prompts, drawn(outputs, len(prompts), seed), ids=ids, name=name, reading=reading)


def _texts_read(files: int, empty: int, damaged: int, prompts: int) -> Reading:
    notes = (
        (f"{counted(damaged, 'text')} with bytes that are not UTF-8, counted as one character each",) if damaged else ()
    )
    left_out = {"texts without any token": empty} if empty else {}
    facts = (f"{counted(files, 'text')}, {counted(prompts, 'prompt')}",)
    return Reading(rows=prompts + empty, left_out=left_out, facts=facts, notes=notes)


def _alpaca_pairs(path: Path) -> Iterator[tuple[str, str]]:
    for where, fields in _alpaca_rows(path):
        for field in _ALPACA:
            if not isinstance(fields.get(field), str):
                raise SlosimError(f"{where}, field {field}: expected a text, got {shown(fields.get(field))}")
            _demand_unicode(fields[field], f"{where}, field {field}")
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


class _Prompt(NamedTuple):
    """A row of custom data: the prompt as a text, or only how many tokens it has."""

    text: str | None
    tokens: int
    output: int


def _custom_rows(path: Path, columns: str | Mapping[str, str] | None) -> Iterator[Record]:
    """Give the rows; SlosimError if the first ones have arrival times, unless `columns` leaves them out."""
    mapped = checked_columns(columns)
    if set(mapped) - {"arrived_at"} or mapped.get("arrived_at", NOTHING).lower() != NOTHING:
        raise SlosimError(f"{path}: of columns, prompts as text understand only {asked_by(columns=_NO_TIMES)}")
    rows = records(path, "request")
    first = list(islice(rows, _FIRST))
    time = next((key for record in first for key in record.content if looks_like_time(key)), None)
    if time is not None and not mapped:
        told = f"the key {time} looks like arrival times, which prompts as text do not use"
        raise SlosimError(f"{path}: {told}; leave it out with {asked_by(columns=_NO_TIMES, format='custom')}")
    return chain(first, rows)


_NO_TIMES = {"arrived_at": NOTHING}


def _custom(record: Record, path: Path, wants_output: bool) -> _Prompt:
    where, fields = f"{path}, line {record.line}", record.content
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and prompt and all(type(each) is int for each in prompt):
        words, tokens = None, len(prompt)
    elif isinstance(prompt, str):
        _demand_unicode(prompt, f"{where}, field prompt")
        words, tokens = prompt, 0
    else:
        raise SlosimError(
            f"{where}, field prompt: expected a text, got {shown(prompt)}; a list of token ids will do, too"
        )
    return _Prompt(words, tokens, _output_tokens(fields.get("output_tokens"), where) if wants_output else 0)


def _output_tokens(value: Any, where: str) -> int:
    if value is None:
        hint = f"or give all outputs a length, such as {asked_by(outputs=200)}"
        raise SlosimError(f"{where}, field output_tokens: missing; {hint}")
    if type(value) is not int or not 1 <= value <= MOST_TOKENS:
        raise SlosimError(f"{where}, field output_tokens: {shown(value)} is not {LENGTH}")
    return value


def _demand_unicode(words: str, where: str) -> None:
    try:
        words.encode()
    except UnicodeEncodeError as error:
        raise SlosimError(f"{where}: a text with lone surrogates or bytes that are not UTF-8") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [file for file in files_below(path) if file.name.endswith(_ENDINGS)]
    if not found:
        raise SlosimError(f"{path}: the folder has no file ending in {' or '.join(_ENDINGS)}")
    return found


def _tokens(file: Path, tokenizer: Tokenizer) -> tuple[int, bool]:
    """Count a text a million characters at a time, up to a line end: exact but for a token or so per million.

    The second value says whether bytes that are not UTF-8 were replaced.
    """
    count, replaced = 0, False
    with opened_text(file, errors="replace") as stream:
        while part := stream.read(_CHARACTERS_AT_ONCE) + stream.readline(_LONGEST_LINE):
            count += int(tokenizer.count([part])[0])
            replaced = replaced or _REPLACED in part
    return count, replaced


def _pieces(tokens: int, leading: int, chunk: int | None, most: int | None) -> NDArray[np.int64]:
    if chunk is None or not tokens:
        return np.full(min(tokens, 1), tokens + leading)
    room = chunk - leading
    if room < 1:
        raise SlosimError(f"chunk_tokens: {chunk} leaves no room beside {leading} leading token")
    whole, rest = divmod(tokens, room)
    return np.array(([chunk] * whole + [rest + leading] * (rest > 0))[:most])
