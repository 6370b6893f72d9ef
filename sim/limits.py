"""Where a run went beyond what its model, its GPU or its profile covers: reported once per run, never enforced.

Three limits are known before a run or after it: the positions that the model was made for, the memory that weights
leave for the cache, and the largest batch that the profile was measured on. A cost model goes on beyond it, but what it
says there is extrapolated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from sim.iterations import Entries
from sim.machine import Machine
from traces import Trace

UNITS = {
    "prefill_tokens": "prompt tokens",
    "decode_tokens": "decodes",
    "context_tokens": "context tokens",
    "attention_pairs": "attention pairs of prompts",
    "sequences": "sequences",
}
"""The aggregates of a batch that a profile may have a range of."""


class LimitWarning(UserWarning):
    """A run went beyond what its model, its GPU or its profile covers."""


def warn(cautions: Sequence[str]) -> None:
    """Shows the cautions of a run in Python's way, as `LimitWarning`, where `simulate` was called."""
    for text in cautions:
        warnings.warn(LimitWarning(text), stacklevel=3)


@contextmanager
def untold() -> Iterator[None]:
    """Suppresses `LimitWarning`: a command with many runs prints their cautions once itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LimitWarning)
        yield


def cautions(
    trace: Trace, machine: Machine, parts: Sequence[Entries], max_model_len: int | None = None
) -> tuple[str, ...]:
    """A sentence for each limit that a run went beyond; nothing about a bare cost model."""
    if machine.profile is None:
        return ()
    return (*_positions(trace, machine, max_model_len), *_memory(machine), *_extrapolated(machine, parts))


def _positions(trace: Trace, machine: Machine, max_model_len: int | None) -> Iterator[str]:
    """Requests that are longer than the model's positions, but for those that `max_model_len` rejects."""
    model = machine.profile.model
    if model is None or model.positions is None:
        return
    tokens = trace.prompt_tokens.astype(np.int64) + trace.output_tokens
    served = tokens if max_model_len is None else tokens[tokens <= max_model_len]
    longer = int((served > model.positions).sum())
    if longer:
        yield (
            f"{longer:,} of {len(trace):,} requests longer than the {model.positions:,} positions of {model.name} "
            f"(up to {int(served.max()):,} tokens), not rejected; set max_model_len to reject them"
        )


def _memory(machine: Machine) -> Iterator[str]:
    """A cache that weights leave no room for on the GPUs."""
    profile = machine.profile
    if profile.model is None or profile.gpu is None:
        return
    cache = machine.kv_blocks * machine.block_size * profile.model.kv_bytes_per_token
    memory = profile.gpu.memory_bytes * profile.tensor_parallel
    room = memory - profile.model.weight_bytes
    if cache > room:
        gpus = profile.gpu.name if profile.tensor_parallel == 1 else f"{profile.tensor_parallel} {profile.gpu.name}"
        yield (
            f"the KV cache of {_bytes(cache)} does not fit: {gpus} has {_bytes(memory)}, of which the weights of "
            f"{profile.model.name} leave {_bytes(max(room, 0))}"
        )


def _extrapolated(machine: Machine, parts: Sequence[Entries]) -> Iterator[str]:
    """The share of iterations with an aggregate beyond the profile's measured range, and how far they go."""
    limits = {name: most for name, most in machine.profile.measured.items() if name in UNITS}
    total = sum(len(part.ends) for part in parts)
    beyond = sum(int(_beyond(part, limits).sum()) for part in parts) if limits else 0
    if not beyond:
        return
    peaks = {name: max(_peak(part, name) for part in parts) for name in limits}
    far = [
        f"{peaks[name]:,.0f} {UNITS[name]} (measured up to {most:,.0f})"
        for name, most in limits.items()
        if peaks[name] > most
    ]
    share = beyond / total
    yield (
        f"{share:.1%} of iterations" if share >= 0.001 else f"{beyond:,} of {total:,} iterations"
    ) + f" are extrapolated beyond what {machine.profile.name} was measured on: up to {', '.join(far)}"


def _beyond(part: Entries, limits: Mapping[str, float]) -> NDArray[np.int64]:
    """How many iterations of each entry, which are alike but for a growing context, exceed one of the limits."""
    number = np.asarray(part.entries["iterations"], np.int64)
    over = np.zeros(len(number), np.int64)
    for name, most in limits.items():
        first = np.asarray(part.entries[name], np.float64)
        found = np.where(first > most, number, 0)
        if name == "context_tokens":
            growth = np.asarray(part.entries["decode_tokens"], np.float64)
            steps = np.where(growth > 0, np.floor(np.maximum(most - first, 0) / np.maximum(growth, 1)) + 1, number)
            found = np.where(first > most, number, np.maximum(number - steps, 0).astype(np.int64))
        over = np.maximum(over, found)
    return over


def _peak(part: Entries, name: str) -> float:
    """The largest value of an aggregate in any iteration."""
    values = np.asarray(part.entries[name], np.float64)
    if name == "context_tokens":
        last = np.asarray(part.entries["iterations"], np.float64) - 1
        values = values + last * np.asarray(part.entries["decode_tokens"], np.float64)
    return float(values.max(initial=0.0))


def _bytes(number: float) -> str:
    """Bytes in powers of ten, as GPUs are sold."""
    return f"{number / 1e12:.3g} TB" if number >= 1e12 else f"{number / 1e9:.3g} GB"
