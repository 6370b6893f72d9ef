"""The time of one iteration, from the aggregates of its batch: Equation (4) and its calibrated form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from costmodel.shape import BatchShape

TILE = 128
"""Rows of a matrix-multiplication tile, the step of the quantised forward size."""


class CostModel(Protocol):
    """Says how long the GPU takes over one batch."""

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds that one iteration of this shape takes."""
        ...


class LinearDecode(Protocol):
    """A cost model whose decode-only iterations are a straight line in the context tokens."""

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)`: a decode-only, swap-free iteration takes `fixed + slope * context_tokens`, to the last bit."""
        ...


@dataclass(frozen=True, slots=True)
class Equation4:
    """AccelGen's Equation (4) as a clock: operations over one constant rate, nothing else.

    Per layer a forward of S tokens takes 24 S H^2 + 4 S^2 H operations (inferred from the paper's "S much below 6 H"; H the
    hidden size). In a batch the square is counted per request, 4 H q (c + q) (inferred); `whole_forward` treats the
    forward as one sequence, as the paper writes it. Of several chunks only sums are known: equal lengths are assumed.
    `rate` is in operations per second; `per_swapped_token` in seconds.
    """

    hidden: int
    layers: int
    rate: float
    whole_forward: bool = False
    per_swapped_token: float = 0.0

    def operations(self, shape: BatchShape) -> float:
        """Floating-point operations of all layers for this batch."""
        prefill, decodes, context, pairs, sequences, _ = shape
        size = prefill + decodes
        if self.whole_forward:
            return self._layers_times(size) * 24 * self.hidden + self._layers_times(size) * 4 * size
        chunks = max(sequences - decodes, 1)
        squares = pairs + prefill * prefill / (2 * chunks)
        return (self._layers_times(size) * 24 * self.hidden + self._layers_times(4) * squares) + self._layers_times(4) * context

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds: operations / rate, plus the copies of swapped cache."""
        if shape.prefill_tokens or self.whole_forward or shape.swapped_tokens:
            return self.operations(shape) / self.rate + self.per_swapped_token * shape.swapped_tokens
        fixed, slope = self.decode_line(shape.decode_tokens)
        return fixed + slope * shape.context_tokens

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)` in seconds of a decode-only iteration; the slope is nought under `whole_forward`."""
        if self.whole_forward:
            return self.iteration_time(BatchShape(0, sequences, 0, 0.0, sequences)), 0.0
        fixed = self._layers_times(sequences) * 24 * self.hidden / self.rate
        return fixed, self._layers_times(4) / self.rate

    def _layers_times(self, count: int) -> int:
        return self.layers * self.hidden * count


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The calibrated form: Equation (4)'s terms with the weight, cache-read and host times that a real iteration adds.

        T = t_h + [tau_w^p + (a S~)^p]^(1/p) + alpha A~ + (beta + m beta_mix) C + gamma n + swap
        S~ = (1 - phi) S + phi 128 ceil(S / 128)

    S is the forward size, A the attention pairs, C the context tokens and n the decodes; m is 1 if a prefill chunk is
    among them. All times are in seconds. With `chunk_floor` q0 the q c part of A is charged as max(q, q0) c: a small chunk on a long
    context costs like a larger one. Only sums are known of several chunks, so q is their mean (inferred).
    A batch that computes nothing, only copies, takes t_h and its copies (inferred).
    """

    per_token: float
    """a: seconds per token when compute-bound."""
    weight_time: float = 0.0
    """tau_w: seconds of an almost empty forward."""
    sharpness: float = 1.0
    """p: 1 adds the two, infinity is a roofline's maximum."""
    per_pair: float = 0.0
    """alpha: seconds per query-key pair of prefill attention."""
    per_context_token: float = 0.0
    """beta: seconds per key-value token that a decode reads."""
    per_decode: float = 0.0
    """gamma: seconds per decoding sequence."""
    host_time: float = 0.0
    """t_h: seconds of host and launch time that the GPU waits for."""
    tile_share: float = 0.0
    """phi: share of the forward size that is quantised to tiles, 0 to 1."""
    per_mixed_context_token: float = 0.0
    """beta_mix: more seconds per key-value token where one kernel serves chunks and decodes."""
    chunk_floor: float = 0.0
    """q0: tokens below which a chunk's reading of its context costs no less."""
    per_swapped_token: float = 0.0
    """Seconds per token of cache copied between device and host."""
    _forwards: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _decodes: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds that one iteration of this shape takes."""
        prefill, decodes, context, pairs, sequences, swapped = shape
        if not prefill:
            fixed = self._decodes.get(decodes) or self._decode(decodes)
            if swapped:
                fixed += self.per_swapped_token * swapped
            return fixed + self.per_context_token * context
        size = prefill + decodes
        fixed = (self._forwards.get(size) or self._forward(size)) + self.per_decode * decodes
        if prefill < self.chunk_floor * (sequences - decodes):
            pairs = self._floored(prefill, pairs, sequences - decodes)
        if swapped:
            fixed += self.per_swapped_token * swapped
        return (fixed + self.per_pair * pairs) + (self.per_context_token + self.per_mixed_context_token) * context

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)`: a decode-only, swap-free iteration takes `fixed + slope * context_tokens`, to the last bit."""
        return self._decodes.get(sequences) or self._decode(sequences), self.per_context_token

    def _forward(self, size: int) -> float:
        rounded = (1 - self.tile_share) * size + self.tile_share * (TILE * -(-size // TILE))
        power = self.sharpness
        knee = (self.weight_time**power + (self.per_token * rounded) ** power) ** (1 / power)
        seconds = self._forwards[size] = self.host_time + knee
        return seconds

    def _decode(self, sequences: int) -> float:
        seconds = self.host_time
        if sequences:
            seconds = self._forward(sequences) + self.per_decode * sequences
        self._decodes[sequences] = seconds
        return seconds

    def _floored(self, prefill: int, pairs: float, chunks: int) -> float:
        reads = max(pairs - prefill * prefill / (2 * chunks), 0.0)
        return pairs + reads * (self.chunk_floor * chunks / prefill - 1)
