"""What of a run decides which bounds hold for it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.recorder import FINISHED
from sim.result import RunResult


class Course(NamedTuple):
    """Whom a run served, and for how long: small, and the same for policies that did the same."""

    finished: bytes
    """One bit per row of the trace."""
    begun: bytes
    """Rows that got a token."""
    span: float
    """Seconds from the first arrival to the end that its rates are over."""
    cut: bool
    """Whether a horizon set that end."""
    warmed: bool
    """Whether its rates leave out a warm-up; no bound is known for those."""

    @classmethod
    def of(cls, result: RunResult) -> Course:
        rows = result.requests
        cut = result.about.get("horizon") is not None and result.end == result.about["horizon"]
        span, warmed = result.end - result.first_arrival, result.begin > result.first_arrival
        return cls(_packed(rows["status"] == FINISHED), _packed(rows["generated"] > 0), span, cut, warmed)


def unpacked(rows: bytes, number: int) -> NDArray[np.bool_]:
    """A row of bits as truth values."""
    return np.unpackbits(np.frombuffer(rows, np.uint8), count=number) > 0


def _packed(rows: NDArray[np.bool_]) -> bytes:
    return np.packbits(rows).tobytes()
