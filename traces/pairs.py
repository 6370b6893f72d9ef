"""Prompt and output lengths of one application together: independent, correlated, or as observed."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from traces.distributions import Distribution, Fixed, Shares, Tokens
from traces.errors import SlosimError
from traces.rng import stream
from traces.trace import Trace

__all__ = ["Lengths", "Observed", "Pair", "drawn", "shares"]


class Lengths(Protocol):
    """Where the lengths of an application's requests come from."""

    def draw(self, first: Shares, second: Shares, /) -> tuple[Tokens, Tokens]:
        """Turn two independent uniform numbers per request into its prompt and its output length."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and an output distribution, joined by a Gaussian copula with this rank (Spearman) correlation.

    `stratified` replaces the random shares by even ones in the same order: the smallest becomes 0, the largest 1, and
    the others are evenly spaced between. Mean, minimum and maximum then hit those of the distribution, whatever the
    seed, but the first requests change when their number grows.
    """

    prompt: Distribution
    output: Distribution
    rank_correlation: float = 0.0
    stratified: bool = False

    def draw(self, first: Shares, second: Shares, /) -> tuple[Tokens, Tokens]:
        """Turn two independent uniform numbers per request into its prompt and its output length."""
        if self.rank_correlation:
            second = _correlated(first, second, self.rank_correlation)
        if self.stratified:
            first, second = _stratified(first), _stratified(second)
        return self.prompt.quantile(first), self.output.quantile(second)


@dataclass(frozen=True, slots=True)
class Observed:
    """The requests of a real trace, sampled with replacement; a prompt keeps its own output."""

    trace: Trace

    def draw(self, first: Shares, second: Shares, /) -> tuple[Tokens, Tokens]:
        """Choose a request by the first number; the second is not needed."""
        if not len(self.trace):
            raise SlosimError("cannot sample lengths from an empty trace")
        chosen = (first * len(self.trace)).astype(np.intp)
        return self.trace.prompt_tokens[chosen], self.trace.output_tokens[chosen]


def shares(requests: int, seed: int, purpose: str) -> Shares:
    """Return one uniform number in (0, 1) per request; the first k are the same for every number of requests."""
    return np.asarray(stream(seed, purpose).random(requests))


def drawn(outputs: int | Distribution, requests: int, seed: int) -> Tokens:
    """Return one output length per request of a source that has prompts only: a fixed one, or a draw.

    The draw has a stream of its own; the first k lengths do not change when the number of requests grows.
    """
    distribution = Fixed(outputs) if isinstance(outputs, int | np.integer) else outputs
    return distribution.quantile(shares(requests, seed, "outputs for prompts"))


def _correlated(first: Shares, second: Shares, rank_correlation: float) -> Shares:
    from scipy.special import ndtr, ndtri

    if not -1 < rank_correlation < 1:
        raise SlosimError(f"rank_correlation: {rank_correlation} is not between -1 and 1")
    linear = 2 * np.sin(np.pi * rank_correlation / 6)
    return np.asarray(ndtr(linear * ndtri(first) + np.sqrt(1 - linear**2) * ndtri(second)))


def _stratified(shares: Shares) -> Shares:
    ranks = np.argsort(np.argsort(shares, kind="stable"), kind="stable")
    between = np.clip((ranks - 0.5) / max(len(shares) - 2, 0.5), 0.0, 1.0)
    return np.asarray(between)
