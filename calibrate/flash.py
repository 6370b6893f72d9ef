"""Attention on CUDA: torch's flash attention for chunks, and for decodes a kernel that splits their contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from calibrate.plan import Plan

DecodeKernel = Callable[[Tensor, Tensor, Tensor, Plan], Tensor]
"""Attention of one query per sequence [n, heads, size] to a layer's keys and values, by a plan's lengths and tables."""


class Pieces(NamedTuple):
    """Sequences of one attention call: where queries and keys begin, how many keys each has, the largest of both.

    `rows` gathers keys and values first, where a sequence's blocks do not lie in one piece; else they are read where
    they are, from any starts, because `used` says how far each one goes.
    """

    queries: Tensor
    keys: Tensor
    used: Tensor
    most_queries: int
    most_keys: int
    rows: Tensor | None


class FlashAttention:
    """Chunks through `aten::_flash_attention_forward`, causal from the bottom right, so that cached tokens come first.

    Decodes go through the kernel if one is given, else through the same call, which wastes most of a tile on them.
    """

    def __init__(self, decode: DecodeKernel | None = None) -> None:
        self.decode = decode
        self.name = "flash attention, " + ("split Triton decodes" if decode else "decodes through it, too")
        self.recordable = decode is not None
        self._pieces: WeakKeyDictionary[Plan, tuple[Pieces | None, Pieces | None]] = WeakKeyDictionary()

    def __call__(self, layer: int, queries: Tensor, plan: Plan) -> Tensor:
        """See `Attention`."""
        decodes = len(plan.lengths)
        keys, values = plan.numbers[layer].unbind(0)
        if self.decode and decodes == len(queries):
            return self.decode(queries, keys, values, plan)
        result = torch.empty_like(queries)
        apart, chunks = self._of(plan)
        if decodes:
            own = queries[:decodes].contiguous()
            result[:decodes] = self.decode(own, keys, values, plan) if self.decode else flash(own, keys, values, apart)
        if chunks is not None:
            result[decodes:] = flash(queries[decodes:].contiguous(), keys, values, chunks)
        return result

    def _of(self, plan: Plan) -> tuple[Pieces | None, Pieces | None]:
        """Decodes and chunks as pieces, made once for all layers."""
        if plan not in self._pieces:
            decodes = [(sequence, 1, length) for sequence, length in plan.decodes]
            chunks = [(one.sequence, one.last - one.first, one.context + one.last - one.first) for one in plan.chunks]
            self._pieces[plan] = (None if self.decode else _laid_out(decodes, plan), _laid_out(chunks, plan))
        return self._pieces[plan]


def flash(queries: Tensor, keys: Tensor, values: Tensor, pieces: Pieces | None) -> Tensor:
    """One call for all sequences of `pieces`: queries [S, heads, size], keys and values [rows, heads, size]."""
    assert pieces is not None
    if pieces.rows is not None:
        keys, values = keys.index_select(0, pieces.rows), values.index_select(0, pieces.rows)
    most = (pieces.most_queries, pieces.most_keys)
    found: Tensor = torch.ops.aten._flash_attention_forward(
        queries, keys, values, pieces.queries, pieces.keys, *most, 0.0, True, False, seqused_k=pieces.used
    )[0]
    return found


def _laid_out(sequences: list[tuple[int, int, int]], plan: Plan) -> Pieces | None:
    """Pieces of sequences given as (sequence, queries, keys); None of none."""
    if not sequences:
        return None
    cache, device = plan.cache, plan.rows.device
    firsts = [cache.contiguous(sequence, keys) for sequence, _, keys in sequences]
    scattered = None in firsts
    starts = _sums([keys for *_, keys in sequences]) if scattered else [first or 0 for first in firsts] + [0]
    rows = np.concatenate([cache.rows(sequence, keys) for sequence, _, keys in sequences]) if scattered else None

    def numbers(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    return Pieces(
        numbers(_sums([queries for _, queries, _ in sequences])),
        numbers(starts),
        numbers([keys for *_, keys in sequences]),
        max(queries for _, queries, _ in sequences),
        max(keys for *_, keys in sequences),
        None if rows is None else torch.from_numpy(rows).to(device),
    )


def _sums(values: list[int]) -> list[int]:
    sums = [0]
    for value in values:
        sums.append(sums[-1] + value)
    return sums


def split_decode() -> DecodeKernel | None:
    """The kernel of `calibrate.triton_decode`, where Triton is installed."""
    try:
        from calibrate.triton_decode import split_decode as kernel
    except ImportError:
        return None
    return kernel
