"""Punctual: AccelGen that serves late requests last and starts those that the cache can keep (this project's own)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sim.schedulers.accelgen import AccelGen


@dataclass(frozen=True)
class Punctual(AccelGen):
    """AccelGen with two of its options: first tokens that are late already come last, and no request starts that would
    outgrow the cache.

    Not in the paper. Where preempted requests wait by their remaining time (``victims="by_slack"``), putting off late
    first tokens doubles the requests that meet all their SLOs in overload. With AccelGen's default, the preempted
    first, it brings no gain beyond chance. Starting only requests that the cache can hold to the
    predicted end spares recomputation if a predictor knows more than the mean output. docs/accelgen.md has the
    comparison, on seeds other than those on which the two were chosen.
    """

    overdue: Literal["late", "urgent", "last"] = "last"
    admission: Literal["prompt", "chunk", "output"] = "output"
