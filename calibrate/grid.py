"""Which iterations to measure: prompts, chunks on a context, decodes, mixed batches, and others that test the fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from costmodel.points import KINDS, Array
from costmodel.shape import BatchShape

FITTED = ("prompts", "short prompts", "chunks", "decodes", "mixed")
"""Blocks of the grid that parameters are fitted to."""
HELD_OUT = "held out"
"""The block that is never fitted: random batches of every kind."""
UNIFORM = "uniform prompts"
"""The paper's profiling experiment: prompts of one length, more and more of them; never fitted either."""

_SIZES = """
    1 8 16 32 48 64 96 128 129 160 192 224 256 257 300 320 384 448 512 513 600 640 704 768 769 850 896 1024 1025
    1152 1300 1408 1536 1792 2048 2300 2560 3072 3500 4096
"""
PROMPTS = tuple(map(int, _SIZES.split()))
"""Not only multiples of a tile: those alone bias a fit by 2 to 3 %."""
SHORT, SHORT_TOTALS = 64, (256, 512, 768, 1024, 1536, 2048, 4096)
"""The same forward sizes as many short prompts tell the price of a token from the price of a pair."""
CHUNKS, CACHED = (32, 64, 128, 256, 512, 1024, 2048), (512, 1024, 2048, 4096)
LEAST_CHUNK = 8
"""Tokens of a random batch's smallest chunk (inferred): a chunk of one is computed as a decode."""
DECODES, CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256), (64, 256, 512, 1024, 2048, 4096)
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
"""Batch sizes of the uniform prompts."""


class Case(NamedTuple):
    """One iteration to measure: prefill chunks as (new tokens, cached tokens), decodes as the tokens each one reads."""

    block: str
    chunks: tuple[tuple[int, int], ...] = ()
    decodes: tuple[int, ...] = ()

    @property
    def shape(self) -> BatchShape:
        """The aggregates that a cost model takes."""
        return BatchShape(
            sum(new for new, _ in self.chunks),
            len(self.decodes),
            sum(self.decodes),
            sum(new * (cached + new / 2) for new, cached in self.chunks),
            len(self.chunks) + len(self.decodes),
        )

    @property
    def kind(self) -> str:
        """decode, prefill or mixed."""
        return KINDS[0 if not self.chunks else 1 if not self.decodes else 2]

    @property
    def sequences(self) -> list[int]:
        """The tokens that each sequence has in the cache afterwards."""
        return [new + cached for new, cached in self.chunks] + list(self.decodes)

    def columns(self) -> dict[str, Any]:
        """The batch as the first columns of a row of measurements: what it is, and its aggregates."""
        shape = self.shape
        return {
            "block": self.block,
            "kind": self.kind,
            "chunks": [list(chunk) for chunk in self.chunks],
            "decodes": list(self.decodes),
            "prefill_tokens": shape.prefill_tokens,
            "prefill_sequences": len(self.chunks),
            "attention_pairs": shape.attention_pairs,
            "decode_tokens": shape.decode_tokens,
            "context_tokens": shape.context_tokens,
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the grid goes, in tokens: of one forward, of one sequence, of the cache; and sequences at once."""

    forward: int = 4096
    context: int = 6144
    cache: int = 60_000
    sequences: int = 256
    mixed: int = 60
    """Mixed batches to fit to, and held-out batches: two thirds mixed, the rest prompts on a context and decodes."""
    held_out: int = 60

    def allow(self, case: Case, block_size: int = 1) -> bool:
        """Whether a batch keeps within the limits, every sequence taking whole blocks."""
        blocks = sum(-(-tokens // block_size) for tokens in case.sequences)
        return (
            case.shape.forward_size <= self.forward
            and max(case.sequences) <= self.context
            and blocks * block_size <= self.cache
            and len(case.sequences) <= self.sequences
        )


def grid(limits: Limits, block_size: int = 1, seed: int = 0) -> list[Case]:
    """All batches to measure, block by block, without those beyond the limits; the same seed gives the same ones."""
    cases = [case for case in _regular(limits) if limits.allow(case, block_size)]
    fitted = _draws("mixed", limits.mixed, limits, block_size, np.random.default_rng([seed, 5]))
    mixed = 2 * limits.held_out // 3
    held_out = _draws(HELD_OUT, limits.held_out, limits, block_size, np.random.default_rng([seed, 6]), mixed)
    return list(dict.fromkeys([*cases, *fitted, *held_out]))


def _regular(limits: Limits) -> Iterator[Case]:
    for size in PROMPTS:
        yield Case("prompts", ((size, 0),))
    for total in SHORT_TOTALS:
        yield Case("short prompts", ((SHORT, 0),) * (total // SHORT))
    for new in CHUNKS:
        for cached in CACHED:
            yield Case("chunks", ((new, cached),))
    for number in DECODES:
        for context in CONTEXTS:
            yield Case("decodes", (), (context,) * number)
    for count in COUNTS:
        yield Case(UNIFORM, ((uniform_length(limits), 0),) * count)


def uniform_length(limits: Limits) -> int:
    """Tokens of a uniform prompt: the paper's 512, or less where a forward may not be eight times as large."""
    return min(512, max(limits.forward // 8, 1))


def _draws(
    block: str,
    number: int,
    limits: Limits,
    block_size: int,
    generator: np.random.Generator,
    mixed: int | None = None,
) -> Iterator[Case]:
    """Random batches, spread evenly over each quantity; those after the first `mixed` are of one kind, by turns."""
    for index, row in enumerate(_hypercube(number, 4, generator)):
        chunks = _chunks(row, limits, generator)
        decodes = _contexts(row[2], limits, generator)
        alone = mixed is not None and index >= mixed
        if alone and index % 2:
            decodes = ()
        elif alone:
            chunks = ()
        yield _shrunk(Case(block, chunks, decodes), limits, block_size)


def _hypercube(number: int, dimensions: int, generator: np.random.Generator) -> Array:
    """Latin hypercube: each of `number` equal strata of every dimension is hit once."""
    strata = np.stack([generator.permutation(number) for _ in range(dimensions)], axis=1)
    result: Array = (strata + generator.random((number, dimensions))) / max(number, 1)
    return result


def _chunks(row: Array, limits: Limits, generator: np.random.Generator) -> tuple[tuple[int, int], ...]:
    """One to four chunks of 32 to 2048 tokens together, each on up to 2048 cached ones."""
    most = min(2048, max(limits.forward - 1, 1), limits.context)
    total = _between(row[0], min(32, most), most)
    count = min(1 + int(row[1] * 4), max(total // LEAST_CHUNK, 1))
    least = min(LEAST_CHUNK, total)
    rest = total - least * count
    cuts = np.sort(generator.integers(0, rest + 1, count - 1)).tolist()
    sizes = (np.diff([0, *cuts, rest]) + least).tolist()
    room = [min(2048, limits.context - size) for size in sizes]
    return tuple((size, int(generator.integers(0, most + 1))) for size, most in zip(sizes, room, strict=True))


def _contexts(place: float, limits: Limits, generator: np.random.Generator) -> tuple[int, ...]:
    """Up to 192 decodes, their contexts log-normal around a sixth of a quarter of the longest sequence (inferred)."""
    number = _between(place, 1, min(192, limits.sequences - 4))
    contexts = generator.lognormal(np.log(limits.context / 12), 0.8, number)
    return tuple(np.clip(contexts, 16, limits.context).astype(int).tolist())


def _between(place: float, low: int, high: int) -> int:
    """A whole number from `low` to `high`, evenly on a logarithmic scale."""
    scale: float = (max(high, low) / low) ** place
    return round(low * scale)


def _shrunk(case: Case, limits: Limits, block_size: int) -> Case:
    """The batch without as many of its decodes as it takes to keep within the limits; then with little in the cache."""
    decodes: Sequence[int] = case.decodes
    while not limits.allow(Case(case.block, case.chunks, tuple(decodes)), block_size) and len(decodes) > 1:
        decodes = decodes[: len(decodes) - max(len(decodes) // 8, 1)]
    kept = Case(case.block, case.chunks, tuple(decodes))
    if limits.allow(kept, block_size):
        return kept
    return kept._replace(chunks=tuple((new, 0) for new, _ in case.chunks), decodes=tuple(min(16, c) for c in decodes))
