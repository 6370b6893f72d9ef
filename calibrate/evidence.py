"""What published whole-engine figures tell: the engines themselves, and the host time that kernel times lack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from calibrate.points import read_columns
from costmodel.fields import Fields
from costmodel.fitting import Errors, errors_by_kind
from costmodel.model import Calibrated
from costmodel.points import Array, Points
from costmodel.shape import BatchShape
from costmodel.whole_engine import DecodeLine, PromptLine, PromptTable, WholeEngine

LARGE = 95
"""Sequences from which the published decode figures of OPT-13B use their second line."""


def published_engine(path: Path, name: str) -> WholeEngine:
    """One engine of a JSON file of coefficients in milliseconds: prompts, decodes below and from 95 sequences."""
    told = Fields.of_file(path).section(name)
    fixed, per_token, per_squared = _milliseconds(told, "prefill")
    small, large = _milliseconds(told, "decode_small"), _milliseconds(told, "decode_large")
    return WholeEngine(PromptLine(fixed, per_token), (DecodeLine(1, *small), DecodeLine(LARGE, *large)), per_squared)


def _milliseconds(told: Fields, name: str) -> tuple[float, float, float]:
    values = told.values.get(name)
    if not isinstance(values, list) or len(values) != 3 or not all(type(value) in (int, float) for value in values):
        raise told.error(name, "must be a list of three numbers, in milliseconds")
    first, second, third = (value / 1000 for value in values)
    return first, second, third


class Measured(NamedTuple):
    """Prompt and token times of a whole engine, in seconds, by prompt length and batch size."""

    prompt_tokens: Array
    batch_size: Array
    prompt: Array
    token: Array

    @classmethod
    def of_file(cls, path: Path) -> Measured:
        """Reads the columns prompt_tokens, batch_size, prompt_ms and token_ms of a CSV file."""
        lengths, sizes, prompts, tokens = read_columns(path, ("prompt_tokens", "batch_size", "prompt_ms", "token_ms"))
        return cls(lengths, sizes, prompts / 1000, tokens / 1000)


def measured_engine(measured: Measured, largest: int = 32) -> WholeEngine:
    """An engine from measured medians: single prompts interpolated, decodes fitted up to `largest` sequences.

    A one-token prompt takes what a token takes (inferred). Beyond `largest`, a second decode line goes on without a
    jump and meets the largest batch measured (inferred: two batch sizes tell no more).
    """
    single = measured.batch_size == 1
    lengths, seconds = measured.prompt_tokens[single], measured.prompt[single]
    table = PromptTable(
        (1, *map(int, lengths)), (float(measured.token[single][0]), *(round(float(second), 9) for second in seconds))
    )
    context, sizes = measured.prompt_tokens * measured.batch_size, measured.batch_size
    few = sizes <= largest
    first = DecodeLine(1, *_relative((context[few], sizes[few]), measured.token[few]))
    last = int(np.argmax(sizes))
    excess = (
        measured.token[last] - first.fixed - first.per_context_token * context[last] - first.per_sequence * sizes[last]
    )
    more = float(excess) / float(sizes[last] - largest)
    second = replace(
        first,
        from_sequences=largest + 1,
        fixed=first.fixed - more * largest,
        per_sequence=first.per_sequence + more,
    )
    return WholeEngine(table, (first, second))


def _relative(columns: Sequence[Array], seconds: Array) -> tuple[float, ...]:
    """A constant and one coefficient per column with the smallest relative errors, none negative."""
    from scipy.optimize import nnls

    matrix = np.stack([np.ones(seconds.size), *columns], axis=1)
    scale = matrix.mean(axis=0)
    values = nnls(matrix / scale / seconds[:, None], np.ones(seconds.size))[0] / scale
    return tuple(values.tolist())


def host_time(engine: WholeEngine, kernels: Points) -> float:
    """Seconds by which an engine's decode-only iterations exceed the kernels' own, the median below 95 sequences."""
    decodes = kernels.take((kernels.prefill_tokens == 0) & (kernels.decode_tokens < LARGE))
    whole = [engine.iteration_time(shape) for shape in decodes.shapes()]
    return float(np.median(np.array(whole) - decodes.seconds))


def host_time_of_tokens(measured: Measured, kernels: Calibrated) -> float:
    """Seconds by which measured token times of single requests exceed the kernels' fitted ones, the median."""
    rows = [index for index, size in enumerate(measured.batch_size) if size == 1]
    shapes = [BatchShape(0, 1, int(measured.prompt_tokens[index]), 0.0, 1) for index in rows]
    fitted = np.array([kernels.iteration_time(shape) for shape in shapes])
    return float(np.median(measured.token[rows] - fitted))


def straight_lines(kernels: Points) -> WholeEngine:
    """What `published_engine` would be of an engine that took just these kernel times: one line each, no more known."""
    prompts = kernels.take((kernels.prefill_tokens > 0) & (kernels.decode_tokens == 0))
    decodes = kernels.take(kernels.prefill_tokens == 0)
    fixed, per_token, per_pair = _relative((prompts.prefill_tokens, prompts.attention_pairs), prompts.seconds)
    line = DecodeLine(1, *_relative((decodes.context_tokens, decodes.decode_tokens), decodes.seconds))
    return WholeEngine(PromptLine(fixed, per_token), (line,), per_pair / 2)


def composition_errors(kernels: Points) -> Errors:
    """How far `WholeEngine`'s rule for mixed iterations misses mixed kernel times, knowing only the unmixed ones."""
    engine = straight_lines(kernels)
    mixed = kernels.take((kernels.prefill_tokens > 0) & (kernels.decode_tokens > 0))
    composed = np.array([engine.iteration_time(shape) for shape in mixed.shapes()])
    return errors_by_kind(composed / mixed.seconds - 1, mixed)["mixed"]
