"""What is known of a model and of a GPU before anything is measured: sizes, bytes, operations."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.shape import BatchShape

GIB = 2**30
BYTES_PER_NUMBER = 2
"""Half precision, for weights and cache alike."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A decoder-only transformer in half precision; `parameters` is the published count."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    parameters: int
    gated: bool = False
    """A gated feed-forward network has three matrices rather than two."""
    positions: int | None = None
    """Tokens, prompt and output, that the model was made for, as published; None: unknown."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return BYTES_PER_NUMBER * self.parameters

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token takes in the key-value cache: 4 L H where every head has its own."""
        return 2 * BYTES_PER_NUMBER * self.layers * self.kv_heads * (self.hidden // self.heads)

    @property
    def matrix_parameters(self) -> int:
        """Weights of the layers' matrices: 12 L H^2 for OPT, so that a token takes Equation (4)'s 24 L H^2."""
        attention = 2 * self.hidden * self.hidden * (self.heads + self.kv_heads) // self.heads
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden * self.ffn)

    def operations(self, shape: BatchShape) -> float:
        """Equation (4)'s floating-point operations of a batch, over all layers; fields may be arrays.

        Per layer 24 S H^2 for the fully connected part (stated; two per weight where the matrices are not OPT's) and
        4 S^2 H for attention, counted per request as 4 H q (c + q) for q new tokens on c cached ones (inferred; the
        paper's square is not causal, and neither is this). Of several chunks only the sums are known: they count as
        equally long (inferred).
        """
        prefill, decodes, context, pairs, sequences, _ = shape
        chunks = sequences - decodes
        squares = pairs + prefill * prefill / (2 * (chunks + (chunks == 0)))
        return 2 * self.matrix_parameters * (prefill + decodes) + 4 * self.layers * self.hidden * (squares + context)


@dataclass(frozen=True, slots=True)
class GPUFacts:
    """One GPU: the memory that a program can use, and its dense half-precision rate in operations per second."""

    name: str
    memory_bytes: int
    peak_operations: float
    reserved_bytes: int = 1_500_000_000
    """Activations and workspace that an engine keeps out of the cache (inferred from real engines' cache sizes)."""


def _opt(name: str, layers: int, hidden: int, heads: int, parameters: int) -> ModelFacts:
    return ModelFacts(name, layers, hidden, heads, heads, 4 * hidden, 50272, parameters, positions=2048)


MODELS = {
    model.name: model
    for model in (
        _opt("opt-125m", 12, 768, 12, 125_239_296),
        _opt("opt-350m", 24, 1024, 16, 331_196_416),
        _opt("opt-1.3b", 24, 2048, 32, 1_315_758_080),
        _opt("opt-2.7b", 32, 2560, 32, 2_651_596_800),
        _opt("opt-6.7b", 32, 4096, 32, 6_658_473_984),
        _opt("opt-13b", 40, 5120, 40, 12_853_473_280),
        _opt("opt-30b", 48, 7168, 56, 29_974_540_288),
        _opt("opt-66b", 64, 9216, 72, 65_719_701_504),
        _opt("opt-175b", 96, 12288, 96, 174_604_468_224),
        ModelFacts("bloom-176b", 70, 14336, 112, 112, 57344, 250880, 176_247_271_424, positions=2048),
        ModelFacts("llama-13b", 40, 5120, 40, 40, 13824, 32000, 13_015_864_320, gated=True, positions=2048),
        ModelFacts("llama-3-70b", 80, 8192, 64, 8, 28672, 128256, 70_553_706_496, gated=True, positions=8192),
        ModelFacts("llama-3.1-8b", 32, 4096, 32, 8, 14336, 128256, 8_030_261_248, gated=True, positions=131_072),
    )
}
"""Models by name; sizes and parameter counts as published."""

GPUS = {
    gpu.name: gpu
    for gpu in (
        GPUFacts("a100-40gb", round(39.5 * GIB), 312e12),
        GPUFacts("a100-80gb", round(79.1 * GIB), 312e12),
        GPUFacts("h100-80gb", round(79.1 * GIB), 989e12),
        GPUFacts("h200", round(140.0 * GIB), 989e12),
    )
}
"""GPUs by name; peak rates as published, usable memory about what a driver reports."""
