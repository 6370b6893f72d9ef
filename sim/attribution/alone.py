"""What a request takes alone on an idle machine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel import BatchShape, CostModel, prompt
from sim.tokens import Floats, Integers


class Alone:
    """Times of prompts, chunks and decodes of one request by itself, seconds."""

    def __init__(self, cost_model: CostModel, longest: int) -> None:
        self.cost_model = cost_model
        self._decoded = np.concatenate([[0.0], np.cumsum(_decodes(cost_model, longest))])
        """Of decodes with contexts 1 to c, at c."""

    def prompts(self, tokens: NDArray[Any]) -> Floats:
        """Whole prompts, each in one iteration."""
        sizes, place = np.unique(tokens, return_inverse=True)
        return _times(self.cost_model, [prompt(size) for size in sizes.tolist()])[place]

    def chunks(self, tokens: Integers, cached: Integers) -> Floats:
        """Chunks of so many tokens with so many in the cache before them."""
        both, place = np.unique(np.stack([tokens, cached]), axis=1, return_inverse=True)
        shapes = [BatchShape(q, 0, 0, q * (c + q / 2), 1) for q, c in both.T.tolist()]
        return _times(self.cost_model, shapes)[place.ravel()]

    def decodes(self, before: Integers, upto: Integers) -> Floats:
        """Decodes whose contexts, the token being written included, run from `before` + 1 to `upto` tokens."""
        return np.asarray(self._decoded[upto] - self._decoded[before])


def _decodes(cost_model: CostModel, longest: int) -> Floats:
    contexts = np.arange(1, longest + 1)
    line = getattr(cost_model, "decode_line", None)
    if line is None:
        return _times(cost_model, [BatchShape(0, 1, context, 0.0, 1) for context in contexts.tolist()])
    fixed, slope = line(1)
    return np.asarray(fixed + slope * contexts)


def _times(cost_model: CostModel, shapes: list[BatchShape]) -> Floats:
    return np.fromiter(map(cost_model.iteration_time, shapes), np.float64, len(shapes))
