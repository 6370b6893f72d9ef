"""A Triton kernel for decodes: every sequence's context is split over several programs, then their parts are joined."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from calibrate.plan import Plan

TILE = 64
"""Keys that a program reads at once."""
PROGRAMS, MOST_SPLITS = 528, 16
"""Enough programs to fill a large GPU several times over (inferred: four for each of 132 multiprocessors)."""


@triton.jit  # type: ignore[untyped-decorator]
def _parts(  # type: ignore[no-untyped-def]
    queries,
    keys,
    values,
    tables,
    lengths,
    parts,
    weights,
    scale,
    width,
    row_stride,
    heads: tl.constexpr,
    size: tl.constexpr,
    padded: tl.constexpr,
    block_size: tl.constexpr,
    tile: tl.constexpr,
    splits: tl.constexpr,
):
    """One sequence, head and split: the mean of its values [size] and the logarithm of its weight."""
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row)
    share = tl.cdiv(tl.cdiv(length, splits), tile) * tile
    first = split * share
    last = tl.minimum(first + share, length)
    column = tl.arange(0, padded)
    inside = column < size
    query = tl.load(queries + (row * heads + head) * size + column, mask=inside, other=0.0).to(tl.float32) * scale
    highest = tl.full([1], -float("inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    mean = tl.zeros([padded], tl.float32)
    for at in range(first, last, tile):
        place = at + tl.arange(0, tile)
        held = place < last
        block = tl.load(tables + row * width + place // block_size, mask=held, other=0)
        where = (block.to(tl.int64) * block_size + place % block_size) * row_stride + head * size
        both = held[:, None] & inside[None, :]
        key = tl.load(keys + where[:, None] + column[None, :], mask=both, other=0.0).to(tl.float32)
        score = tl.where(held, tl.sum(query[None, :] * key, axis=1), -float("inf"))
        higher = tl.maximum(highest, tl.max(score, axis=0))
        weight = tl.exp(score - higher)
        fade = tl.exp(highest - higher)
        value = tl.load(values + where[:, None] + column[None, :], mask=both, other=0.0).to(tl.float32)
        mean = mean * fade + tl.sum(weight[:, None] * value, axis=0)
        total = total * fade + tl.sum(weight, axis=0)
        highest = higher
    place = (row * heads + head) * splits + split
    empty = total == 0.0
    tl.store(parts + place * size + column, mean / tl.where(empty, 1.0, total), mask=inside)
    tl.store(weights + place + tl.arange(0, 1), tl.where(empty, -float("inf"), highest + tl.log(total)))


def split_decode(queries: Tensor, keys: Tensor, values: Tensor, plan: Plan) -> Tensor:
    """See `calibrate.flash.DecodeKernel`; how many splits there are depends on the number of queries only.

    So that a recorded launch serves any contexts; a split behind the end of a short context reads nothing.
    """
    number, heads, size = queries.shape
    splits = min(max(PROGRAMS // (number * heads), 1), MOST_SPLITS)
    parts = torch.empty((number, heads, splits, size), dtype=torch.float32, device=queries.device)
    weights = torch.empty((number, heads, splits), dtype=torch.float32, device=queries.device)
    _parts[(number, heads, splits)](
        queries.contiguous(),
        keys,
        values,
        plan.tables,
        plan.lengths,
        parts,
        weights,
        size**-0.5,
        plan.tables.shape[1],
        keys.stride(0),
        heads,
        size,
        triton.next_power_of_2(size),
        plan.cache.block_size,
        TILE,
        splits,
    )
    return torch.einsum("nhs,nhsd->nhd", weights.softmax(-1), parts).to(queries.dtype)
