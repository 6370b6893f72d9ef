"""The table of iterations, written out column by column when asked: runs of like iterations are kept as one entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    "start", "end", "prefill_tokens", "decode_tokens", "context_tokens", "attention_pairs", "sequences",
    "swapped_tokens",
    "kv_tokens", "free_blocks", "free_blocks_end", "waiting", "running", "swapped", "preempted", "server",
    "schedule_seconds",
)  # fmt: skip
GROWING = ("context_tokens", "kv_tokens")
"""Columns that grow by the decodes from one iteration of an entry to the next."""


@dataclass(frozen=True, eq=False)
class Entries:
    """What one server wrote down: a row per entry, and end and free blocks of every iteration."""

    server: int
    entries: Mapping[str, NDArray[Any]]
    ends: NDArray[np.float64]
    free_blocks: NDArray[np.int32]

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Row of the first iteration of each entry."""
        number = np.asarray(self.entries["iterations"], np.int64)
        return np.cumsum(number) - number

    def column(self, name: str) -> NDArray[Any]:
        """One value per iteration."""
        if name in ("end", "free_blocks"):
            return self.ends if name == "end" else self.free_blocks
        if name == "server":
            return np.full(len(self.ends), self.server, np.int16)
        number = self.entries["iterations"]
        if name == "free_blocks_end":
            column = self.free_blocks.copy()
            column[self.first + number - 1] = self.entries[name]
            return column
        values = self.entries[name]
        if name == "start":
            column = np.concatenate([[0.0], self.ends[:-1]])[: len(self.ends)]
            column[self.first] = values
            return column
        if name == "schedule_seconds":
            column = np.zeros(len(self.ends), np.float32)
            column[self.first] = values
            return column
        column = np.repeat(values, number)
        if name in GROWING:
            nth = np.arange(len(self.ends)) - np.repeat(self.first, number)
            column = column + nth * np.repeat(self.entries["decode_tokens"], number)
        return column


@dataclass(frozen=True, eq=False)
class IterationTable(Mapping[str, NDArray[Any]]):
    """Columns of all servers' iterations, by their ends."""

    parts: Sequence[Entries]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in COLUMNS:
            raise KeyError(name)
        if len(self.parts) == 1:
            return self.parts[0].column(name)
        return np.concatenate([part.column(name) for part in self.parts])[self._order]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        servers = np.concatenate([part.column("server") for part in self.parts])
        return np.lexsort((servers, np.concatenate([part.ends for part in self.parts])))

    def places(self) -> list[NDArray[np.int64] | None]:
        """Where each server's rows are in the table; None for a server that is alone."""
        if len(self.parts) == 1:
            return [None]
        place = np.empty(len(self._order), np.int64)
        place[self._order] = np.arange(len(place))
        return list(np.split(place, np.cumsum([len(part.ends) for part in self.parts])[:-1]))
