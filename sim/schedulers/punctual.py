"""Punctual: AccelGen that gives up on what is late already, and starts whom it can keep (this project's own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.schedulers.accelgen import AccelGen


@dataclass(frozen=True)
class Punctual(AccelGen):
    """AccelGen with two of its options: first tokens that are late already come last, and nobody starts who would
    outgrow the cache.

    Not in the paper. Under overload AccelGen's order, least remaining time first, serves those whose SLO is broken
    beyond repair before those who could still be on time, so that in the end everybody is late; here the late wait
    until nobody punctual does. Starting only whom the cache can hold to the predicted end (a predictor's, or the mean
    of those that finished) spares recomputation. docs/accelgen.md has the comparison, on seeds other than those on
    which the two were chosen.
    """

    overdue: Literal["late", "urgent", "last"] = "last"
    admission: Literal["prompt", "chunk", "output"] = "output"
