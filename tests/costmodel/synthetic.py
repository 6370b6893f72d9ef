"""Made-up measurements whose true parameters are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel import Calibrated
from costmodel.fitting import predict
from costmodel.points import Array, Points

TRUE = Calibrated(
    1.27e-4,
    17e-3,
    1.75,
    5.8e-9,
    6.5e-7,
    3e-5,
    tile_share=0.3,
    per_mixed_context_token=1.5e-7,
    chunk_floor=200.0,
)
"""Parameters about those of OPT-13B on an A100, none of them at a bound."""


def design(count: int, seed: int = 0, longest: int = 4096) -> Points:
    """A third each of decodes, prompts and mixed batches of one chunk on up to 4096 cached tokens; no times yet."""
    generator, third = np.random.default_rng(seed), count // 3

    def spread(low: float, high: float) -> Array:
        return np.exp(generator.uniform(np.log(low), np.log(high), 2 * third)).round()

    none, chunk, cached = np.zeros(third), spread(8, longest), generator.choice([0, 512, 1024, 2048, 4096], 2 * third)
    decodes, context = spread(1, 256), spread(32, 4096)
    return Points(
        prefill_tokens=np.concatenate([none, chunk]),
        prefill_sequences=np.concatenate([none, np.ones(2 * third)]),
        attention_pairs=np.concatenate([none, chunk * (cached + chunk / 2)]),
        decode_tokens=np.concatenate([decodes[:third], none, decodes[third:]]),
        context_tokens=np.concatenate([(decodes * context)[:third], none, (decodes * context)[third:]]),
        seconds=np.ones(3 * third),
    )


def measured(model: Calibrated, points: Points, noise: float = 0.0, seed: int = 0) -> Points:
    """The same iterations with the model's times and log-normal noise."""
    scatter = np.exp(noise * np.random.default_rng(seed).standard_normal(len(points)))
    return replace(points, seconds=predict(model, points) * scatter)
