"""Counts the gaps between tokens that are longer than their request's limit, without walking every token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sim.tokens import Floats, Integers, Tokens, coverage

PAIRS_AT_ONCE = 1 << 22
"""Pairs of a span and a step that are looked at together; bounds the memory."""


class Late(NamedTuple):
    """How many gaps were too long: of each request, and of each decode step's plain tokens."""

    of_request: Integers
    at_step: Integers


def late_gaps(tokens: Tokens, limit: Floats) -> Late:
    """Counts gaps above `limit` (seconds, one per request; inf or nan for none).

    Spans are taken in bands of like limits. Within a band a step's gap is above all limits, below all, or between: the
    first two need only running sums, and only the last is compared span by span. With as many bands as balance the
    two, the cost grows with the square root of tokens x steps.
    """
    begin, end = tokens.inner()
    limits = limit[tokens.request]
    chosen = np.flatnonzero((end > begin) & np.isfinite(limits))
    chosen = chosen[np.argsort(limits[chosen], kind="stable")]
    of_span = np.zeros(len(tokens.request), np.int64)
    at_step = np.zeros(len(tokens.step_ends), np.int64)
    for band in np.array_split(chosen, _bands(begin[chosen], end[chosen], len(at_step))):
        if len(band):
            of_span[band], late = _band(tokens.gaps, begin[band], end[band], limits[band])
            at_step += late
    single = tokens.singles
    alone = single.request[single.gap > limit[single.request]]
    of_request = np.bincount(tokens.request, of_span, len(limit)) + np.bincount(alone, minlength=len(limit))
    return Late(of_request.astype(np.int64), at_step)


def late_steps(tokens: Tokens, limit: Floats) -> Iterator[tuple[Integers, Integers]]:
    """Plain gaps above `limit` (seconds, one per request; inf or nan for none) as pairs (span, step), in portions."""
    begin, end = tokens.inner()
    limits = limit[tokens.request]
    chosen = np.flatnonzero((end > begin) & np.isfinite(limits))
    chosen = chosen[np.argsort(limits[chosen], kind="stable")]
    for band in np.array_split(chosen, _bands(begin[chosen], end[chosen], len(tokens.step_ends))):
        if len(band):
            slow = np.flatnonzero(tokens.gaps > limits[band[0]])
            first, last = np.searchsorted(slow, begin[band]), np.searchsorted(slow, end[band])
            for rows in _portions(last - first):
                owner, place = _pairs(first[rows], last[rows])
                span, step = band[rows][owner], slow[place]
                late = tokens.gaps[step] > limits[span]
                yield span[late], step[late]


def _bands(begin: Integers, end: Integers, steps: int) -> int:
    batch = int((end - begin).sum()) / max(steps, 1)
    return min(max(round(math.sqrt(batch)), 1), 64)


def _band(gaps: Floats, begin: Integers, end: Integers, limits: Floats) -> tuple[Integers, Integers]:
    """Late gaps of each range [begin, end) of steps, and of each step, under limits in ascending order."""
    surely = gaps > limits[-1]
    total = np.concatenate([[0], np.cumsum(surely)])
    of_range = total[end] - total[begin]
    at_step = np.where(surely, coverage(begin, end, len(gaps)), 0)
    between = np.flatnonzero((gaps > limits[0]) & ~surely)
    first, last = np.searchsorted(between, begin), np.searchsorted(between, end)
    here = np.zeros(len(between), np.int64)
    for rows in _portions(last - first):
        owner, place = _pairs(first[rows], last[rows])
        late = gaps[between[place]] > limits[rows][owner]
        of_range[rows] += np.bincount(owner[late], minlength=len(limits[rows]))
        here += np.bincount(place[late], minlength=len(between))
    at_step[between] += here
    return of_range, at_step


def _portions(counts: Integers) -> Iterator[slice]:
    """Splits rows so that each portion stands for a bounded number of pairs."""
    running = np.cumsum(counts)
    if not len(running) or not running[-1]:
        return
    edges = np.searchsorted(running, np.arange(PAIRS_AT_ONCE, running[-1], PAIRS_AT_ONCE), side="right")
    edges = np.unique(np.concatenate([[0], edges, [len(counts)]]))
    yield from (slice(int(start), int(stop)) for start, stop in pairwise(edges))


def _pairs(first: Integers, last: Integers) -> tuple[Integers, Integers]:
    """All (row, place) with first[row] <= place < last[row]."""
    counts = last - first
    owner = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) - np.repeat(starts - first, counts)
