"""Which of a few requests to start together, and with how much of their prompts: the best of all choices."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]
"""Whole numbers; sums of them are exact as floats, too, in which NumPy multiplies matrices fastest."""

NEVER = -1
"""The limit of a request that is late in any case."""


class Offer(NamedTuple):
    """Requests to choose from, and what there is for them; each alone has room."""

    needs: Integers
    """Blocks of each request (rows) at each peak of the plan (columns), if its whole prompt is computed now."""
    last: Integers
    """Blocks of each request at its end: what it needs at every peak if its prompt is computed in part."""
    room: Integers
    """Free blocks at each peak."""
    tokens: Integers
    """Prompt tokens of each request."""
    budget: int
    """Prompt tokens that the iteration computes at most."""
    limits: Integers
    """A request is on time if its prompt is computed whole, and all come to at most so many tokens; or NEVER."""
    worth: Integers
    """What starting a request is worth, above 0, apart from its being on time."""


class Choice(NamedTuple):
    """Who starts: some with their whole prompt, and at most one (a row) with a chunk of it (tokens)."""

    whole: tuple[int, ...]
    part: int | None = None
    chunk: int = 0


def select(offer: Offer) -> Choice:
    """The choice with the most requests on time; of those, with the most worth; of those, with the most tokens.

    It tries all: every subset, with every other request in part or none, n requests being up to (n + 2) 2^(n - 1)
    choices. A chunk is as large as budget and prompt allow, or ends where it would make somebody late, if that is
    fewer on time than could be. Among equals, all whole comes first, then the earlier rows.
    """
    if len(offer.worth) == 1:
        return Choice((0,)) if offer.tokens[0] <= offer.budget else Choice((), 0, offer.budget)
    members = subsets(len(offer.worth))
    left = offer.room - members @ offer.needs
    tokens = members @ offer.tokens
    possible = ((left >= 0).all(axis=1) & (tokens <= offer.budget)).nonzero()[0]
    members, left, tokens = members[possible], left[possible].min(axis=1), tokens[possible]
    worth = members @ offer.worth
    on_time = (members * (offer.limits >= tokens[:, None])).sum(axis=1)
    best, score = _best(on_time, worth, tokens)
    whole = Choice(tuple(members[best].nonzero()[0].tolist()))
    if left.max() < offer.last.min():
        return whole

    still = members * (offer.limits > tokens[:, None])
    end = np.where(still, offer.limits, offer.budget).min(axis=1)
    chunk = np.minimum((np.minimum(end, offer.budget) - tokens)[:, None], offer.tokens - 1)
    rows, parts = ((members == 0) & (offer.last <= left[:, None]) & (chunk > 0)).nonzero()
    if not len(rows):
        return whole
    chunk = chunk[rows, parts]
    best, other = _best(still.sum(axis=1)[rows], worth[rows] + offer.worth[parts], tokens[rows] + chunk)
    if other <= score:
        return whole
    return Choice(tuple(members[rows[best]].nonzero()[0].tolist()), int(parts[best]), int(chunk[best]))


def _best(*scores: NDArray[np.floating]) -> tuple[int, tuple[float, ...]]:
    """Where the first score is largest, or of those the next, and so on; and what they are there."""
    places = np.arange(len(scores[0]))
    for score in scores:
        values = score[places]
        places = places[values == values.max()]
    best = int(places[0])
    return best, tuple([float(score[best]) for score in scores])


@lru_cache(maxsize=16)
def subsets(number: int) -> NDArray[np.float64]:
    """All subsets of so many, [subset, member], as noughts and ones; those with the earlier members come first."""
    return (np.arange((1 << number) - 1, -1, -1)[:, None] >> np.arange(number - 1, -1, -1) & 1).astype(np.float64)
