"""Attention of decodes and prefill chunks to a key-value cache, in plain torch on any device: the reference."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from calibrate.plan import Plan


class Attention(Protocol):
    """Computes the attention of one layer for all rows of a plan, decodes and chunks in separate calls."""

    name: str
    """Written down with every measured point."""

    def __call__(self, layer: int, queries: Tensor, plan: Plan) -> Tensor:
        """Queries [S, heads, head_size] of one layer, whose keys and values are in the cache, to the values' means."""
        ...


class PlainAttention:
    """One sequence after the other through torch's own attention: exact anywhere, fast nowhere.

    A sequence that lies in one piece of the cache is read where it is; another one's blocks are gathered first.
    """

    name = "torch attention, one sequence at a time"

    def __call__(self, layer: int, queries: Tensor, plan: Plan) -> Tensor:
        """See `Attention`."""
        result = torch.empty_like(queries)
        for row, (sequence, length) in enumerate(plan.decodes):
            result[row : row + 1] = self._attend(layer, queries[row : row + 1], plan, sequence, length)
        for chunk in plan.chunks:
            rows, length = slice(chunk.first, chunk.last), chunk.context + chunk.last - chunk.first
            result[rows] = self._attend(layer, queries[rows], plan, chunk.sequence, length)
        return result

    def _attend(self, layer: int, queries: Tensor, plan: Plan, sequence: int, length: int) -> Tensor:
        keys, values = stored(plan, layer, sequence, length)
        new = len(queries)
        mask = None
        if 1 < new < length:  # each of the new tokens sees all cached ones and, of the new ones, none behind itself
            mask = torch.ones(new, length, dtype=torch.bool, device=queries.device).tril(length - new)
        query, key, value = (part.transpose(0, 1)[None] for part in (queries, keys, values))
        means = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=new == length > 1)
        return means[0].transpose(0, 1)


def stored(plan: Plan, layer: int, sequence: int, length: int) -> Tensor:
    """A sequence's keys and values of one layer [2, length, heads, head_size], a view where they lie in one piece."""
    cache = plan.cache
    first = cache.contiguous(sequence, length)
    if first is not None:
        return cache.numbers[layer, :, first : first + length]
    blocks = torch.tensor(cache.tables[sequence][: -(-length // cache.block_size)], device=plan.rows.device)
    shape = (2, cache.blocks, cache.block_size, *cache.numbers.shape[3:])
    gathered = cache.numbers[layer].view(shape).index_select(1, blocks)
    return gathered.flatten(1, 2)[:, :length]
