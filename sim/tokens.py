"""When output tokens came, without storing one: from the ends of iterations and the spans of the requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Single(NamedTuple):
    """Tokens that are no plain decode step of a span, one row each: first tokens, and those at the seams of spans."""

    request: Integers
    at: Floats
    gap: Floats
    """Seconds since the request's previous token; nan for its first."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The spans, sorted by request and time, over one array of decode steps of all servers.

    The tokens of a span come at the end of its prefill (if one ended with a token) and at the ends of its decode steps
    `first` to `last` (exclusive). All requests that decode in a step share its gap, the time since the step before.
    """

    request: Integers
    prefill_at: Floats
    """End of the iteration that computed the last of the prompt and gave a token; nan if none did."""
    first: Integers
    last: Integers
    step_ends: Floats
    """End of every decode step, server by server, seconds."""

    @classmethod
    def of(
        cls,
        requests: Mapping[str, NDArray[Any]],
        iterations: Mapping[str, NDArray[Any]],
        spans: Mapping[str, NDArray[Any]],
    ) -> Tokens:
        """Brings raw tables into this form; spans without tokens are left out."""
        step_ends, offsets = _steps(iterations)
        prefill = np.asarray(spans["prefill_iteration"], np.int64)
        server = np.asarray(spans["server"], np.int64)
        first, last = (np.asarray(spans[name], np.int64) for name in ("first_step", "last_step"))
        keep = np.flatnonzero((last > first) | (prefill >= 0))
        order = keep[np.argsort(np.asarray(spans["request"], np.int64)[keep], kind="stable")]
        ends = np.append(np.asarray(iterations["end"], np.float64), np.nan)
        shift = offsets[server[order]]
        return cls(
            np.asarray(spans["request"], np.int64)[order],
            ends[np.where(prefill[order] < 0, len(ends) - 1, prefill[order])],
            first[order] + shift,
            last[order] + shift,
            step_ends,
        )

    @cached_property
    def gaps(self) -> Floats:
        """Seconds between each decode step and the one before; meaningless for a server's first."""
        return np.diff(self.step_ends, prepend=np.nan)

    @property
    def counts(self) -> Integers:
        """Tokens of each span."""
        return (self.last - self.first) + ~np.isnan(self.prefill_at)

    def generated(self, requests: int) -> Integers:
        """Tokens of each of so many requests."""
        return np.bincount(self.request, self.counts, requests).astype(np.int64)

    @property
    def opens(self) -> Booleans:
        """Which spans are the first of their request."""
        return np.asarray(np.diff(self.request, prepend=-1) != 0)

    @cached_property
    def starts(self) -> Floats:
        """When the first token of each span came, seconds."""
        return np.where(np.isnan(self.prefill_at), self._step_at(self.first), self.prefill_at)

    @cached_property
    def stops(self) -> Floats:
        """When the last token of each span came, seconds."""
        return np.where(self.last > self.first, self._step_at(self.last - 1), self.prefill_at)

    @cached_property
    def singles(self) -> Single:
        """The first token of every span, and the first decode after a prefill."""
        before = np.where(self.opens, np.nan, np.concatenate([[np.nan], self.stops])[:-1])
        seam = np.flatnonzero((self.last > self.first) & ~np.isnan(self.prefill_at))
        decode_at = self._step_at(self.first[seam])
        return Single(
            np.concatenate([self.request, self.request[seam]]),
            np.concatenate([self.starts, decode_at]),
            np.concatenate([self.starts - before, decode_at - self.prefill_at[seam]]),
        )

    def last_at(self, requests: int) -> Floats:
        """When the latest token of each of so many requests came, seconds; nan without one."""
        latest = np.full(requests, np.nan)
        latest[self.request] = self.stops
        return latest

    def _step_at(self, step: Integers) -> Floats:
        return np.append(self.step_ends, np.nan)[np.minimum(step, len(self.step_ends))]

    def inner(self) -> tuple[Integers, Integers]:
        """Of each span, the range [begin, end) of steps whose gap is the plain one to the step before."""
        return np.minimum(self.first + 1, self.last), self.last

    def before(self, moment: float) -> Tokens:
        """Only the tokens that came before a moment (seconds)."""
        passed = np.concatenate([[0], np.cumsum(self.step_ends < moment)])
        last = self.first + passed[self.last] - passed[self.first]
        prefill_at = np.where(self.prefill_at < moment, self.prefill_at, np.nan)
        kept = (last > self.first) | ~np.isnan(prefill_at)
        return Tokens(self.request[kept], prefill_at[kept], self.first[kept], last[kept], self.step_ends)

    def times(self, request: int) -> Floats:
        """When each token of one request came, seconds."""
        pieces: list[Floats] = []
        for row in range(*np.searchsorted(self.request, (request, request + 1))):
            if not np.isnan(self.prefill_at[row]):
                pieces.append(self.prefill_at[row : row + 1])
            pieces.append(self.step_ends[self.first[row] : self.last[row]])
        return np.concatenate(pieces) if pieces else np.empty(0)

    def only(self, chosen: Booleans) -> Tokens:
        """The tokens of the chosen requests (a mask)."""
        kept = chosen[self.request]
        return Tokens(self.request[kept], self.prefill_at[kept], self.first[kept], self.last[kept], self.step_ends)

    def pooled_gaps(self) -> tuple[Floats, Integers]:
        """All gaps between consecutive tokens of a request: seconds, and how often each occurs."""
        single = self.singles
        alone = single.gap[~np.isnan(single.gap)]
        often = coverage(*self.inner(), len(self.step_ends))
        used = np.flatnonzero(often)
        gaps = np.concatenate([self.gaps[used], alone])
        return gaps, np.concatenate([often[used], np.ones(len(alone), np.int64)])

    def moments(self) -> tuple[Floats, Integers]:
        """When tokens came, and how many at once: the plain ones of each decode step, then those of `singles`."""
        plain = coverage(*self.inner(), len(self.step_ends))
        at = np.concatenate([self.step_ends, self.singles.at])
        return at, np.concatenate([plain, np.ones(len(self.singles.at), np.int64)])


def coverage(begin: Integers, end: Integers, size: int) -> Integers:
    """How many of the ranges [begin, end) cover each of `size` places."""
    change = np.bincount(begin, minlength=size + 1) - np.bincount(end, minlength=size + 1)
    return np.cumsum(change)[:size]


def _steps(iterations: Mapping[str, NDArray[Any]]) -> tuple[Floats, Integers]:
    """Ends of the decode steps server by server, and where each server's begin."""
    decoding = np.flatnonzero(np.asarray(iterations["decode_tokens"]) > 0)
    server = np.asarray(iterations["server"], np.int64)
    mine = server[decoding]
    order = decoding[np.argsort(mine, kind="stable")]
    number = int(server.max(initial=-1)) + 1
    counts = np.bincount(mine, minlength=number)
    return np.asarray(iterations["end"], np.float64)[order], np.cumsum(counts) - counts
