"""The audit of Algorithm 2: what was available at every selection by distance, what the chosen one took of it, and
what the first in the queue's order would have taken."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Selection(NamedTuple):
    """One choice of a request for the batch."""

    at: float
    """When it was decided, seconds: the start of its iteration."""
    request: int
    candidates: int
    """How many demands could be met, those of equal decodes counted once."""
    available_tokens: int
    """A_c, of the budget."""
    available_kv: int
    """A_m: the free blocks, in tokens."""
    tokens: int
    """D_c of the chosen one."""
    kv: int
    """D_m of the chosen one: the blocks that it takes, in tokens."""
    first_tokens: int
    """D_c of the first in the queue's order."""
    first_kv: int
    """D_m of the same."""
    distance: float
    """By which the chosen one was chosen."""


class Selections:
    """All of them, in order."""

    def __init__(self) -> None:
        self.rows = array("d")

    def write(self, selection: Selection) -> None:
        self.rows.extend(selection)

    def columns(self) -> Mapping[str, Sequence[float]]:
        """The fields as columns."""
        width = len(Selection._fields)
        return {name: self.rows[place::width] for place, name in enumerate(Selection._fields)}
