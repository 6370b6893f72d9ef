"""Which of a few requests to start together, and with how much of their prompts: the best of all choices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]

NEVER = -1
"""The limit of a request that is late in any case."""
Subset = tuple[int, int, int, int]
"""Some who have room together with their whole prompts: their worth, their tokens, a bit for each (the first request's
is the highest), and the account of what they leave."""
Score = tuple[int, int, int]
"""How many are on time, what the choice is worth, and its tokens."""


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


class Accounts(NamedTuple):
    """What is free at all peaks, and the budget behind it, as one number of many digits: a subtraction takes all."""

    room: int
    whole: list[int]
    """What each request takes if its whole prompt is computed."""
    part: list[int]
    """And if it is in part, apart from the budget."""
    signs: int
    """The highest bits of the digits: all of them are set in an account that is not overdrawn."""


def select(offer: Offer) -> Choice:
    """The choice with the most requests on time; of those, with the most worth; of those, with the most tokens.

    It tries all: every subset, with every other request in part or none, n requests being up to (n + 2) 2^(n - 1)
    choices. A chunk is as large as budget and prompt allow, or ends where it would make somebody late, if that is
    fewer on time than could be. Among equals, all whole comes first, then the earlier rows.
    """
    tokens, limits = offer.tokens.tolist(), offer.limits.tolist()
    if len(tokens) == 1:
        return Choice((0,)) if tokens[0] <= offer.budget else Choice((), 0, offer.budget)
    accounts = accounts_of(offer)
    subsets = _with_room(accounts, offer.worth.tolist(), tokens)
    if max(limits) == NEVER:
        on_time, best = 0, max(subsets)
        if sum(tokens) <= offer.budget:
            return Choice(_members(best[2], tokens))  # who has room in part has room as a whole
    else:
        on_time, best = max([(len(_punctual(each[2], limits, each[1])), each) for each in subsets])
    parts = _parts(offer, accounts, subsets, limits, (on_time, best[0]))
    score, order, part, chunk = max(parts, default=((0, 0, 0), 0, 0, 0))
    if score <= (on_time, *best[:2]):
        return Choice(_members(best[2], tokens))
    return Choice(_members(order, tokens), -part, chunk)


def _parts(
    offer: Offer, accounts: Accounts, subsets: list[Subset], limits: list[int], least: tuple[int, int]
) -> Iterator[tuple[Score, int, int, int]]:
    """The choices with somebody in part that are on time, and worth, at least so much: score, members, the row (as a
    negative number, since the first is the best), and its chunk."""
    room, _, needs, signs = accounts
    values, sizes = offer.worth.tolist(), offer.tokens.tolist()
    rows = [row for row, need in enumerate(needs) if (room - need) & signs == signs]
    most = max([values[row] for row in rows], default=0)
    for worth, tokens, order, left in subsets:
        still = _punctual(order, limits, tokens) if least[0] else []
        if (len(still), worth + most) < least:
            continue
        end = min(min(still, default=offer.budget), offer.budget) - tokens
        for row in rows:
            chunk = min(end, sizes[row] - 1)
            if chunk > 0 and not order >> len(sizes) - 1 - row & 1 and (left - needs[row]) & signs == signs:
                yield (len(still), worth + values[row], tokens + chunk), order, -row, chunk


def _members(bits: int, everybody: list[int]) -> tuple[int, ...]:
    """The rows of those whose bits are set."""
    return tuple([row for row in range(len(everybody)) if bits >> len(everybody) - 1 - row & 1])


def _punctual(bits: int, limits: list[int], tokens: int) -> list[int]:
    """The limits of those members who are on time if all come to so many tokens."""
    return [limits[row] for row in _members(bits, limits) if limits[row] >= tokens]


def _with_room(accounts: Accounts, worth: list[int], tokens: list[int]) -> list[Subset]:
    """All subsets who have room."""
    room, needs, _, signs = accounts
    subsets: list[Subset] = [(0, 0, 0, room)]
    bit = 1 << len(tokens)
    for need, value, size in zip(needs, worth, tokens, strict=True):
        bit >>= 1
        subsets += [
            (other + value, total + size, order | bit, left)
            for other, total, order, before in subsets
            if (left := before - need) & signs == signs
        ]
    return subsets


def accounts_of(offer: Offer) -> Accounts:
    """The accounts: digits of 31 bits, each with its sign above it, so that a subtraction borrows of no other digit."""
    number, peaks = offer.needs.shape
    table = np.zeros((2 * number + 1, peaks + 1), "<u4")
    table[:number, :-1], table[:number, -1] = offer.needs, offer.tokens
    table[number:-1, :-1] = offer.last[:, None]
    table[-1, :-1], table[-1, -1] = np.maximum(offer.room, 0), offer.budget
    every, width = table.tobytes(), table.strides[0]
    numbers = [int.from_bytes(every[start : start + width], "little") for start in range(0, len(every), width)]
    signs = int.from_bytes(b"\0\0\0\x80" * (peaks + 1), "little")
    return Accounts(numbers[-1] | signs, numbers[:number], numbers[number:-1], signs)
