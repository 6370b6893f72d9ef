"""What a cost model needs to know of one iteration: sums over its requests, so that they can be kept incrementally."""

from __future__ import annotations

from typing import NamedTuple


class BatchShape(NamedTuple):
    """The aggregates of one iteration's batch, in tokens; arrays of equal length stand for many iterations.

    `context_tokens` (C) sums the key-value lengths that the decodes read, the token being written included.
    `attention_pairs` (A) sums q (c + q/2) over the prefill chunks: q new tokens on c tokens already cached.
    `sequences` counts every sequence of the batch, so `sequences - decode_tokens` is the number of chunks.
    `swapped_tokens` are the tokens' worth of cache blocks copied between device and host for this iteration.
    """

    prefill_tokens: int = 0
    decode_tokens: int = 0
    context_tokens: int = 0
    attention_pairs: float = 0.0
    sequences: int = 0
    swapped_tokens: int = 0

    @property
    def forward_size(self) -> int:
        """Tokens computed in the iteration (S, S_f in the paper); a decode counts one."""
        return self.prefill_tokens + self.decode_tokens


def prompt(tokens: int) -> BatchShape:
    """The shape of one whole prompt, computed alone in one iteration."""
    return BatchShape(tokens, 0, 0, tokens * tokens / 2, 1)
