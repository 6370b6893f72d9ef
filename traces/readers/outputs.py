"""Output lengths for sources that have prompts only."""

import numpy as np

from traces.distributions import Distribution, Fixed, Tokens
from traces.pairs import shares

__all__ = ["drawn"]


def drawn(outputs: int | Distribution, requests: int, seed: int) -> Tokens:
    """Return one output length per request: a fixed number of tokens, or a draw from a distribution.

    The draw has a stream of its own; the first k lengths do not change when the number of requests grows.
    """
    distribution = Fixed(outputs) if isinstance(outputs, int | np.integer) else outputs
    return distribution.quantile(shares(requests, seed, "outputs for prompts"))
