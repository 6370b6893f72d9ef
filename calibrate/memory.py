"""Whether a model, its cache and a forward fit a memory, and what would fit if they do not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from calibrate.grid import Limits
from calibrate.opt import Config, config
from costmodel.facts import MODELS
from traces.errors import SlosimError

SHARE = 0.9
"""Of the free memory that may be used: allocators and libraries take the rest (inferred; engines use the same)."""


class Need(NamedTuple):
    """Bytes of weights, of what a forward of the largest size works on, and of the cache per token."""

    weights: int
    work: int
    per_token: int

    def cache_tokens(self, memory: float) -> int:
        """Tokens of cache that the rest of a memory holds; negative if not even the weights fit."""
        return int((SHARE * memory - self.weights - self.work) // self.per_token)


def need(shape: Config, limits: Limits, number_bytes: int) -> Need:
    """What a model's shapes take; a forward holds a handful of its widest tensors at once (inferred)."""
    widest = 4 * shape.hidden + 3 * shape.own_width + 3 * (shape.ffn // shape.shards)
    scores = 2 * limits.sequences * (shape.vocabulary // shape.shards)
    swapped = 2 * shape.kv_numbers * limits.context
    work = number_bytes * (limits.forward * widest + scores + swapped)
    positions = max(limits.context - shape.positions, 0) * shape.hidden
    return Need(number_bytes * (shape.parameters + positions), work, number_bytes * shape.kv_numbers)


def least_cache(limits: Limits) -> int:
    """Tokens of cache without which the grid would lose its longest sequences and forwards."""
    return max(limits.forward, limits.context)


def fitted(shape: Config, limits: Limits, number_bytes: int, memory: float) -> Limits:
    """The limits with the cache that the memory holds, no more than is asked for.

    Raises SlosimError, saying what would fit, where the memory is too small for the longest sequence and forward.
    """
    if limits.cache < least_cache(limits):
        raise SlosimError(
            f"a cache of {limits.cache} tokens is too small for forwards of {limits.forward} tokens and sequences of "
            f"{limits.context}; what would fit: --forward {limits.cache} --context {limits.cache}, or a larger cache"
        )
    needed = need(shape, limits, number_bytes)
    tokens = needed.cache_tokens(memory)
    if tokens < least_cache(limits):
        largest = needed.weights + needed.work + needed.per_token * least_cache(limits)
        raise SlosimError(
            f"{_name(shape)} needs {_gb(needed.weights)} for its weights and {_gb(largest)} for forwards of "
            f"{limits.forward} tokens and sequences of {limits.context}, but of {_gb(memory)} free memory "
            f"{_gb(SHARE * memory)} may be used; what would fit: {_would_fit(shape, limits, number_bytes, memory)}"
        )
    return replace(limits, cache=min(limits.cache, tokens))


def _would_fit(shape: Config, limits: Limits, number_bytes: int, memory: float) -> str:
    """The nearest things that fit: shorter forwards and sequences, one of several shards, a smaller model."""
    found = []
    for forward in (2048, 1024, 512, 256):
        less = replace(limits, forward=min(forward, limits.forward), context=min(forward, limits.context))
        if less != limits and _fits(shape, less, number_bytes, memory):
            found.append(f"--forward {less.forward} --context {less.context}")
            break
    for shards in (2, 4, 8, 16, 32):
        try:
            part = replace(shape, shards=shards, shard=0)
        except SlosimError:
            continue
        if shards > shape.shards and _fits(part, limits, number_bytes, memory):
            found.append(f"--shards {shards}")
            break
    sizes = [config(name) for name in MODELS if name.startswith("opt-")]
    smaller = [size.name for size in sizes if _fits(size, limits, number_bytes, memory)]
    if smaller and shape.name not in smaller:
        found.append(f"--model {smaller[-1]}")
    return ", or ".join(found) or "nothing of OPT"


def _fits(shape: Config, limits: Limits, number_bytes: int, memory: float) -> bool:
    return need(shape, limits, number_bytes).cache_tokens(memory) >= least_cache(limits)


def _name(shape: Config) -> str:
    return shape.name + (f" (one of {shape.shards} shards)" if shape.shards > 1 else "")


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e11 else f"{count / 1e9:.0f} GB"
