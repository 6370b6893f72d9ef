"""What one forward computes, as tensors on the device: decodes first, then chunks, in whatever order they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from calibrate.cache import KvCache
from traces.errors import SlosimError


class Entry(NamedTuple):
    """The next tokens of one sequence: their ids, and how many of its tokens the cache holds already.

    One id is a decode wherever it stands, as attention has it; several are a prefill chunk.
    """

    sequence: int
    tokens: Sequence[int]
    start: int


class Chunk(NamedTuple):
    """A prefill chunk: rows `first` to before `last` of the forward, behind `context` cached tokens."""

    first: int
    last: int
    sequence: int
    context: int


@dataclass(frozen=True, eq=False)
class Plan:
    """One forward of S tokens, n of them decodes.

    `lengths` [n] counts the tokens that each decode reads, its own included, and `tables` [n, width] lists its blocks,
    padded with block nought. Of each entry, in the order given, `last` is the row of its last token.
    """

    tokens: Tensor
    positions: Tensor
    rows: Tensor
    last: Tensor
    lengths: Tensor
    tables: Tensor
    decodes: tuple[tuple[int, int], ...]
    """Sequence and length of each decode, on the host."""
    chunks: tuple[Chunk, ...]
    cache: KvCache

    @property
    def numbers(self) -> Tensor:
        """The cache's tensor."""
        return self.cache.numbers


def plan(entries: Sequence[Entry], cache: KvCache, positions: int) -> Plan:
    """Takes the room that the entries need and lays their tokens out; raises SlosimError at an entry that is wrong."""
    _check(entries, positions)
    for entry in entries:
        cache.reserve(entry.sequence, entry.start + len(entry.tokens))
    order = sorted(range(len(entries)), key=lambda index: len(entries[index].tokens) > 1)
    decodes = [entries[index] for index in order if len(entries[index].tokens) == 1]
    chunks, last, at = [], [0] * len(entries), 0
    for index in order:
        entry = entries[index]
        if len(entry.tokens) > 1:
            chunks.append(Chunk(at, at + len(entry.tokens), entry.sequence, entry.start))
        at += len(entry.tokens)
        last[index] = at - 1
    return _on_device([entries[index] for index in order], decodes, tuple(chunks), last, cache)


def _on_device(
    ordered: list[Entry], decodes: list[Entry], chunks: tuple[Chunk, ...], last: list[int], cache: KvCache
) -> Plan:
    """Copies everything in one go: many small copies would cost more than the smallest forward."""
    sizes = np.array([len(entry.tokens) for entry in ordered])
    starts = np.array([entry.start for entry in ordered])
    ids = np.fromiter((token for entry in ordered for token in entry.tokens), np.int64, sizes.sum())
    owners = np.repeat(np.arange(len(ordered)), sizes)
    places = np.arange(ids.size) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    tables = cache.padded([entry.sequence for entry in ordered])
    rows = tables[owners, places // cache.block_size] * cache.block_size + places % cache.block_size
    lengths = starts[: len(decodes)] + 1
    width = -(-int(lengths.max(initial=0)) // cache.block_size)
    parts = (ids, places, rows, np.array(last), lengths, tables[: len(decodes), :width].ravel())
    packed = torch.from_numpy(np.concatenate(parts))
    if cache.numbers.is_cuda:
        packed = packed.pin_memory().to(cache.numbers.device, non_blocking=True)
    on_device = packed.split([part.size for part in parts])
    for entry in ordered:
        cache.store(entry.sequence, entry.start + len(entry.tokens))
    return Plan(
        on_device[0],
        on_device[1],
        on_device[2],
        on_device[3],
        on_device[4].int(),
        on_device[5].int().view(len(decodes), width),
        tuple((entry.sequence, entry.start + 1) for entry in decodes),
        chunks,
        cache,
    )


def _check(entries: Sequence[Entry], positions: int) -> None:
    if not entries:
        raise SlosimError("a forward needs at least one entry")
    if len({entry.sequence for entry in entries}) < len(entries):
        raise SlosimError("a sequence stands twice in one forward: join its tokens to one entry")
    for sequence, tokens, start in entries:
        if not tokens or start < 0:
            raise SlosimError(f"sequence {sequence}: {len(tokens)} tokens from {start} make no entry")
        if start + len(tokens) > positions:
            raise SlosimError(
                f"sequence {sequence}: {start + len(tokens)} tokens are more than the model's {positions} positions; "
                "make the model with more"
            )
