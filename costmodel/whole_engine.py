"""Published iteration times of a whole engine, host time included, as they stand: prompts, and decodes in pieces."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from costmodel.shape import BatchShape


@dataclass(frozen=True, slots=True)
class PromptLine:
    """Seconds of the prompt tokens of an iteration: `fixed + per_token * tokens`."""

    fixed: float
    per_token: float

    def seconds(self, tokens: int) -> float:
        """Seconds, without what grows with the square of a prompt."""
        return self.fixed + self.per_token * tokens


@dataclass(frozen=True, slots=True)
class PromptTable:
    """Measured seconds at some numbers of prompt tokens (ascending); straight between them and beyond the outer two."""

    tokens: tuple[int, ...]
    measured: tuple[float, ...]

    def seconds(self, tokens: int) -> float:
        """Seconds interpolated from the two nearest measurements."""
        above = min(max(bisect_right(self.tokens, tokens), 1), len(self.tokens) - 1)
        low, high = self.tokens[above - 1], self.tokens[above]
        share = (tokens - low) / (high - low)
        return self.measured[above - 1] + share * (self.measured[above] - self.measured[above - 1])


@dataclass(frozen=True, slots=True)
class DecodeLine:
    """Seconds of a decode-only iteration of `from_sequences` or more: a constant, the context read, the sequences."""

    from_sequences: int
    fixed: float
    per_context_token: float
    per_sequence: float


@dataclass(frozen=True, slots=True)
class WholeEngine:
    """An engine known by its prompt-only and decode-only iterations, which are exactly as published (stated).

    A prompt iteration takes `prompt.seconds(tokens) + per_squared_token * sum(length^2)`; of a chunked prompt the
    squares add up to the whole prompt's, 2 A (inferred). Decode lines are used as published, with their jumps.

    A mixed iteration was never measured and is composed (inferred): the context's reads and the prompt's squares add;
    the rest is the larger of the decodes alone and of the prompt tokens with the decodes riding along. Riding, a
    decode costs what it adds to decodes alone, and the more prompt tokens there are to leave the memory-bound region,
    the more it costs, up to a prompt token's price. Growing with prompt tokens, context and squares, it starts from
    the decode-only time without a jump as long as an empty decode takes no less than an empty prompt.
    A batch that only copies takes its copies.
    """

    prompt: PromptLine | PromptTable
    decode: tuple[DecodeLine, ...]
    per_squared_token: float = 0.0
    per_swapped_token: float = 0.0
    """Seconds per token of cache copied between device and host."""
    _lines: dict[int, tuple[float, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds that one iteration of this shape takes."""
        prefill, decodes, context, pairs, _, swapped = shape
        fixed, slope = self._lines.get(decodes) or self.decode_line(decodes)
        if prefill:
            fixed = self._mixed(prefill, decodes, fixed) if decodes else self.prompt.seconds(prefill)
            fixed += 2 * self.per_squared_token * pairs
        if swapped:
            fixed += self.per_swapped_token * swapped
        return fixed + slope * context

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)`: a decode-only iteration without swap takes `fixed + slope * context_tokens`, to the bit."""
        line = (0.0, 0.0)
        if sequences:
            piece = self.decode[bisect_right(self.decode, sequences, key=lambda piece: piece.from_sequences) - 1]
            line = (piece.fixed + piece.per_sequence * sequences, piece.per_context_token)
        self._lines[sequences] = line
        return line

    def _mixed(self, prefill: int, decodes: int, alone: float) -> float:
        prompt = self.prompt.seconds(prefill)
        added = max(alone - self.decode[0].fixed, 0.0)
        crowded = self.prompt.seconds(prefill + decodes) - prompt
        riding = max(added, min(crowded, added + prompt - self.prompt.seconds(0)))
        return max(alone, prompt + riding)
