"""The key-value cache of a decoder, in blocks; a slot is a block that holds a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrate.opt import Config
from traces.errors import SlosimError


@dataclass(eq=False)
class KvCache:
    """Keys and values of all layers as one tensor [layers, 2, blocks * block_size, heads, head_size].

    Sequences are known by any whole number. Room is taken when a forward needs it and given back by `free`. Which
    block goes next is settled: the last one given back, else the lowest.
    """

    config: Config
    blocks: int
    block_size: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    numbers: Tensor = field(init=False)
    tables: dict[int, list[int]] = field(default_factory=dict, init=False)
    """The blocks that each sequence holds, in order."""
    lengths: dict[int, int] = field(default_factory=dict, init=False)
    """The tokens that each sequence has stored."""
    host: dict[int, Tensor] = field(default_factory=dict, init=False)
    """Keys and values of the sequences that were moved to host memory [layers, 2, tokens, heads, head_size]."""

    def __post_init__(self) -> None:
        rows = self.blocks * self.block_size
        shape = (self.config.layers, 2, rows, self.config.own_heads, self.config.head_size)
        self.numbers = torch.zeros(shape, device=self.device, dtype=self.dtype)
        self._free = list(range(self.blocks - 1, -1, -1))
        self._arrays: dict[int, NDArray[np.int64]] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    def reserve(self, sequence: int, tokens: int) -> None:
        """Makes room for a sequence of so many tokens; raises SlosimError and takes nothing if there is too little."""
        table = self.tables.get(sequence, [])
        missing = -(-tokens // self.block_size) - len(table)
        if missing > len(self._free):
            raise SlosimError(
                f"the cache cannot hold {tokens} tokens of sequence {sequence}: {missing} blocks of {self.block_size} "
                f"are missing and {len(self._free)} are free; preempt another, or make the cache larger"
            )
        self.tables[sequence] = table + [self._free.pop() for _ in range(missing)]

    def store(self, sequence: int, tokens: int) -> None:
        """Notes that the first so many tokens of a sequence are stored: what `swap_out` moves."""
        self.lengths[sequence] = tokens

    def free(self, sequence: int) -> None:
        """Gives all of a sequence's room back, on the device and on the host; nothing happens if it has none."""
        self._free += reversed(self.tables.pop(sequence, []))
        self._arrays.pop(sequence, None)
        self.lengths.pop(sequence, None)
        self.host.pop(sequence, None)

    def swap_out(self, sequence: int) -> int:
        """Moves a sequence's keys and values to host memory and gives its blocks back; returns the tokens moved.

        The copy has ended when this returns. On CUDA the host memory is pinned. Raises SlosimError if it holds none.
        """
        rows = self._stored_rows(sequence)
        moved = self.numbers.index_select(2, rows)
        pinned = self.numbers.is_cuda
        home = torch.empty(moved.shape, dtype=self.dtype, pin_memory=pinned)
        home.copy_(moved, non_blocking=pinned)
        self._wait()
        tokens = len(rows)
        self._free += reversed(self.tables.pop(sequence))
        self._arrays.pop(sequence, None)
        self.host[sequence] = home
        return tokens

    def swap_in(self, sequence: int) -> int:
        """Moves a sequence back from host memory, into whatever blocks are free; returns the tokens moved.

        The copy has ended when this returns. Raises SlosimError if it is not there or there is too little room.
        """
        if sequence not in self.host:
            raise SlosimError(f"sequence {sequence} is not in host memory: swap it out first")
        self.reserve(sequence, self.lengths[sequence])
        home = self.host.pop(sequence)
        self.numbers.index_copy_(2, self._stored_rows(sequence), home.to(self.numbers.device, non_blocking=True))
        self._wait()
        return self.lengths[sequence]

    def rows(self, sequence: int, tokens: int) -> NDArray[np.int64]:
        """Where a sequence's first tokens lie, as places along the third axis."""
        blocks = np.array(self.tables[sequence][: -(-tokens // self.block_size)], np.int64)
        return (blocks[:, None] * self.block_size + np.arange(self.block_size)).ravel()[:tokens]

    def padded(self, sequences: Sequence[int]) -> NDArray[np.int64]:
        """The blocks of some sequences [sequences, most of any], padded with block nought."""
        for sequence in sequences:
            if len(self._arrays.get(sequence, ())) != len(self.tables[sequence]):
                self._arrays[sequence] = np.array(self.tables[sequence], np.int64)
        found = np.zeros((len(sequences), max(len(self.tables[sequence]) for sequence in sequences)), np.int64)
        for row, sequence in zip(found, sequences, strict=True):
            row[: len(self.tables[sequence])] = self._arrays[sequence]
        return found

    def contiguous(self, sequence: int, tokens: int) -> int | None:
        """The first place of a sequence's tokens if they lie one behind the other, else None."""
        table = self.tables[sequence][: -(-tokens // self.block_size)]
        first = table[0]
        return first * self.block_size if table == list(range(first, first + len(table))) else None

    def _stored_rows(self, sequence: int) -> Tensor:
        if sequence not in self.tables or sequence not in self.lengths:
            raise SlosimError(f"sequence {sequence} holds nothing in the cache: compute it first")
        return torch.from_numpy(self.rows(sequence, self.lengths[sequence])).to(self.device)

    def _wait(self) -> None:
        if self.numbers.is_cuda:
            torch.cuda.synchronize(self.numbers.device)


def slots(
    config: Config, number: int, capacity: int, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> KvCache:
    """A cache of so many slots, each a block that holds a whole sequence of up to `capacity` tokens."""
    return KvCache(config, number, capacity, device, dtype)
