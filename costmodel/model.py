"""The time of one iteration, from the aggregates of its batch: Equation (4) and its calibrated form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from costmodel.facts import ModelFacts
from costmodel.shape import BatchShape

TILE = 128
"""Rows of a matrix-multiplication tile, the step of the quantised forward size."""


class CostModel(Protocol):
    """Says how long the GPU takes over one batch."""

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds that one iteration of this shape takes."""
        ...


class LinearDecode(CostModel, Protocol):
    """A cost model whose decode-only iterations are a straight line in the context tokens."""

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)`: a decode-only iteration without swap takes `fixed + slope * context_tokens`, to the bit."""
        ...


@dataclass(frozen=True, slots=True)
class Equation4:
    """AccelGen's Equation (4) as a clock: the model's operations at one constant rate, nothing else.

    `rate` is in operations per second. Operations are counted per request (`ModelFacts.operations`, inferred);
    `whole_forward` takes the forward as one sequence, 24 S H^2 + 4 S^2 H per layer, as the paper writes it (stated).
    """

    model: ModelFacts
    rate: float
    whole_forward: bool = False
    per_swapped_token: float = 0.0
    """Seconds per token of cache copied between device and host."""

    def operations(self, shape: BatchShape) -> float:
        """Floating-point operations of all layers for this batch."""
        if self.whole_forward:
            size = shape.forward_size
            return 2 * self.model.matrix_parameters * size + 4 * self.model.layers * self.model.hidden * size * size
        return self.model.operations(shape)

    def iteration_time(self, shape: BatchShape) -> float:
        """Seconds: operations over the rate, plus the copies of swapped cache."""
        if shape.prefill_tokens or shape.swapped_tokens:
            return self.operations(shape) / self.rate + self.per_swapped_token * shape.swapped_tokens
        fixed, slope = self.decode_line(shape.decode_tokens)
        return fixed + slope * shape.context_tokens

    def decode_line(self, sequences: int) -> tuple[float, float]:
        """`(fixed, slope)` in seconds of a decode-only iteration; the slope is nought under `whole_forward`."""
        fixed = self.operations(BatchShape(0, sequences, 0, 0.0, sequences)) / self.rate
        return fixed, 0.0 if self.whole_forward else 4 * self.model.layers * self.model.hidden / self.rate


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The calibrated form: Equation (4)'s terms with the weight, cache-read and host times that a real iteration adds.

        T = t_h + [tau_w^p + (a S~)^p]^(1/p) + alpha A~ + (beta + m beta_mix) C + gamma n + swap
        S~ = (1 - phi) S + phi 128 ceil(S / 128)

    S is the forward size, A the attention pairs, C the context tokens and n the decodes; m is 1 if a prefill chunk is
    among them. All times are in seconds. With a `chunk_floor` q0 the q c part of A is charged as max(q, q0) c: a small
    chunk on a long context costs like a larger one. Of several chunks only sums are known, so q is their mean
    (inferred; exact for one chunk). A batch that computes nothing, only copies, takes t_h and its copies (inferred).
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
        """`(fixed, slope)`: a decode-only iteration without swap takes `fixed + slope * context_tokens`, to the bit."""
        return self._decodes.get(sequences) or self._decode(sequences), self.per_context_token

    def _forward(self, size: int) -> float:
        rounded = (1 - self.tile_share) * size + self.tile_share * (TILE * -(-size // TILE))
        power = self.sharpness
        knee: float = (self.weight_time**power + (self.per_token * rounded) ** power) ** (1 / power)
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
