"""Distributions of one length, each a quantile function: a share of the requests in, a number of tokens out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distribution", "Fixed", "LogNormal", "MostlyFixed", "Quantiles", "Shares", "Tokens", "Uniform"]

Shares = NDArray[np.float64]
"""Numbers from 0 to 1: the share of requests that is shorter."""
Tokens = NDArray[np.int32]


class Distribution(Protocol):
    """How long something is. Uniform random shares give a random sample, evenly spaced ones a stratified one."""

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the length below which this share of the requests lies; 0 gives the shortest, 1 the longest."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request has this length."""

    tokens: int

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the one length for every share."""
        return np.full(len(shares), self.tokens, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every whole length from `low` to `high`, both included, is equally likely."""

    low: int
    high: int

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the length below which this share of the requests lies."""
        lengths = np.floor(self.low + shares * (self.high - self.low + 1))
        return np.minimum(lengths, self.high).astype(np.int32)


@dataclass(frozen=True, slots=True)
class MostlyFixed:
    """A `share` of the requests has exactly `tokens`, the rest is uniform from `low` to `tokens` - 1.

    So look documents that were cut into pieces: all are full but the last ones.
    """

    tokens: int
    share: float
    low: int

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the length below which this share of the requests lies."""
        rest = 1 - self.share
        shorter = Uniform(self.low, self.tokens - 1).quantile(np.minimum(shares / rest, 1.0))
        return np.where(shares < rest, shorter, self.tokens).astype(np.int32)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """exp(Normal(mu, sigma)), truncated to [low, high], rounded to whole tokens."""

    mu: float
    sigma: float
    low: int
    high: int

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the length below which this share of the requests lies."""
        from scipy.special import ndtr, ndtri

        lowest, highest = (ndtr((np.log(bound) - self.mu) / self.sigma) for bound in (self.low, self.high))
        lengths = np.exp(self.mu + self.sigma * ndtri(lowest + shares * (highest - lowest)))
        whole: Tokens = np.rint(np.clip(lengths, self.low, self.high)).astype(np.int32)
        return whole


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Measured lengths at evenly spaced shares from 0 to 1, joined by straight lines.

    The last interval holds the longest requests, where a straight line would be far too high; it is bent so that the
    mean of the whole is `mean`, as measured: low + (high - low) x share^bend. (The form is chosen, the mean measured.)
    """

    lengths: tuple[float, ...]
    mean: float

    @property
    def bend(self) -> float:
        """The exponent of the last interval; at least 1, a straight line."""
        table, intervals = np.array(self.lengths), len(self.lengths) - 1
        body = (table[:-1].sum() - (table[0] + table[-2]) / 2) / intervals
        rise = (self.mean - body) * intervals - table[-2]
        return max(1.0, float((table[-1] - table[-2]) / rise - 1)) if rise > 0 else 1.0

    def quantile(self, shares: Shares, /) -> Tokens:
        """Return the length below which this share of the requests lies."""
        position = shares * (len(self.lengths) - 1)
        last = len(self.lengths) - 2
        bent = np.where(position > last, last + np.maximum(position - last, 0.0) ** self.bend, position)
        return np.rint(np.interp(bent, np.arange(len(self.lengths)), self.lengths)).astype(np.int32)
