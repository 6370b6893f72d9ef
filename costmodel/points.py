"""Measured iterations as columns: what a fit starts from."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from costmodel.shape import BatchShape

Array = NDArray[np.float64]
KINDS = ("decode", "prefill", "mixed")


@dataclass(frozen=True, slots=True)
class Points:
    """Iterations, a column per aggregate (see `BatchShape`; chunks rather than sequences) and the measured seconds."""

    prefill_tokens: Array
    prefill_sequences: Array
    attention_pairs: Array
    decode_tokens: Array
    context_tokens: Array
    seconds: Array

    def __len__(self) -> int:
        return self.seconds.size

    @property
    def kinds(self) -> NDArray[np.int64]:
        """The index into KINDS of every iteration."""
        return np.where(self.prefill_tokens == 0, 0, np.where(self.decode_tokens == 0, 1, 2))

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Points:
        """The chosen iterations, by their indices or a mask."""
        return Points(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def ranges(self) -> dict[str, int]:
        """The largest batch in each aggregate, by the names of `BatchShape`."""
        columns = {
            "prefill_tokens": self.prefill_tokens,
            "decode_tokens": self.decode_tokens,
            "context_tokens": self.context_tokens,
            "attention_pairs": self.attention_pairs,
        }
        return {name: int(column.max()) for name, column in columns.items() if len(column)}

    def shapes(self) -> list[BatchShape]:
        """The iterations as a cost model takes them, one by one."""
        prefill, chunks, pairs, decodes, context, _ = astuple(self)
        columns = (prefill, decodes, context, chunks + decodes)
        prefill, decodes, context, sequences = (column.astype(int).tolist() for column in columns)
        rows = zip(prefill, decodes, context, pairs.tolist(), sequences, strict=True)
        return [BatchShape(*row) for row in rows]
