"""Output-length predictors: what a policy is told of a request's output length, and nothing else.

A predictor is called once with the true lengths of the whole trace and a seeded generator of its own, so the
prediction of a request depends neither on the policy nor on the load (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray

from sim.parameters import PartShare, Within

Lengths = NDArray[np.float64]


class Predictor(Protocol):
    """Predicted output tokens for true ``output_tokens`` (shape [n]); ``None`` for no prediction."""

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None: ...


@dataclass(frozen=True)
class Unknown:
    """Tells nothing: the systems that do not predict."""

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None:
        return None


@dataclass(frozen=True)
class Perfect:
    """Tells the truth: the Oracle's."""

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None:
        return output_tokens.astype(np.float64)


@dataclass(frozen=True)
class Mean:
    """Tells the trace's mean for every request."""

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None:
        return np.full(len(output_tokens), output_tokens.mean() if len(output_tokens) else 0.0)


@dataclass(frozen=True)
class Noisy:
    """The truth times exp(sigma z), z standard normal: a median-unbiased predictor with log-error ``sigma``."""

    sigma: Annotated[float, Within(ge=0, le=10)] = 0.5

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None:
        noise = np.exp(self.sigma * random.standard_normal(len(output_tokens)))
        return np.maximum(1.0, output_tokens * noise)


@dataclass(frozen=True)
class Padded:
    """A noisy estimate plus CacheOPT's padding: Hoeffding's bound at ``confidence`` over the range of lengths.

    t = sqrt(-(b - a)^2 / 2 * ln(1 - confidence)), (b - a) the range of the trace's output lengths (the formula is a
    third party's reading of CacheOPT section 3.2; the padding is added, never subtracted).
    """

    confidence: PartShare = 0.5
    sigma: Annotated[float, Within(ge=0, le=10)] = 0.5

    def __call__(self, output_tokens: NDArray[np.int32], random: np.random.Generator) -> Lengths | None:
        estimate = Noisy(self.sigma)(output_tokens, random)
        assert estimate is not None
        if not len(output_tokens):
            return estimate
        spread = float(output_tokens.max() - output_tokens.min())
        padding = float(np.sqrt(-(spread**2) / 2 * np.log1p(-self.confidence)))
        return estimate + padding


unknown = Unknown()
perfect = Perfect()
mean = Mean()
