"""Each run's share of what its bounds allow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.bound.bounds import Goodput, of_any, of_serving
from experiments.bound.course import Course, unpacked
from experiments.bound.demand import demand
from sim.machine import Machine
from traces import Trace

NAN = float("nan")
UNKNOWN = Goodput(NAN, NAN)


class Bounds(NamedTuple):
    """Of one run."""

    serving: Goodput
    """Of schedules that serve the requests that it served."""
    refusing: Goodput
    """Of all that last as long as requests come, whomever they refuse."""


def bounds_of(trace: Trace, machine: Machine, courses: Sequence[Course], replicas: int = 1) -> list[Bounds]:
    """The bounds of runs on one trace; what they have in common is computed once."""
    needs = demand(trace, machine)
    last = float(needs.arrived.max(initial=0.0))

    def rows(packed: bytes) -> NDArray[np.bool_]:
        return unpacked(packed, len(trace))[needs.row]

    @cache
    def serving(finished: bytes, begun: bytes, least: float, most: float) -> Goodput:
        return of_serving(needs, rows(finished), rows(begun), replicas, least, most)

    @cache
    def refusing(least: float, most: float) -> Goodput:
        return of_any(needs, least, most, replicas)

    def of(course: Course) -> Bounds:
        if course.warmed or not course.span > 0:
            return Bounds(UNKNOWN, UNKNOWN)
        most = course.span if course.cut else np.inf
        return Bounds(
            serving(course.finished, course.begun, course.span if course.cut else 0.0, most),
            refusing(course.span if course.cut else min(course.span, last), most),
        )

    return [of(course) for course in courses]


def shares(summary: dict[str, float], bounds: Bounds) -> dict[str, float]:
    """The bounds on a run's goodput and its shares of them, by name."""
    figures: dict[str, float] = {}
    for kind, bound in bounds._asdict().items():
        for name, most in (("goodput", bound.tokens), ("request_goodput", bound.requests)):
            figures[f"{kind}_bound_{name}"] = most
            figures[f"{kind}_share_{name}"] = share(summary[name], most)
    return figures


def share(part: float, whole: float) -> float:
    """`part / whole`; nan where that says nothing."""
    return part / whole if whole > 0 else NAN
