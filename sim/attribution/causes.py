"""The causes of delay, in the order of all tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.tokens import Floats, Integers

LABELS = {
    "queueing": "waiting for its turn",
    "kv_wait": "waiting for KV cache",
    "chunk_stall": "stalls between its chunks",
    "chunking": "prompt computed in pieces",
    "prefill_interference": "others' prompts in the way",
    "batch_slowdown": "others' decodes in the batch",
    "paused": "decode left out",
    "preemption": "preempted, recomputed, copies",
    "beyond_model": "beyond the cost model",
}
"""What each cause is called where people read it; the keys are explained in `sim.attribution`."""
CAUSES = tuple(LABELS)
ALONE = "alone"
EXCESSES = (ALONE, *CAUSES)
"""What is over an SLO: what the request alone takes beyond it, then the causes."""

(
    QUEUEING,
    KV_WAIT,
    CHUNK_STALL,
    CHUNKING,
    PREFILL_INTERFERENCE,
    BATCH_SLOWDOWN,
    PAUSED,
    PREEMPTION,
    BEYOND_MODEL,
) = range(len(CAUSES))

Parts = NDArray[np.float64]
"""Seconds; a row per cause, a column per request (or gap)."""


def nothing(columns: int) -> Parts:
    """No delay for so many."""
    return np.zeros((len(CAUSES), columns))


def added(owner: Integers, seconds: Floats, number: int) -> Floats:
    """Sums for each of so many owners."""
    return np.asarray(np.bincount(owner, seconds, number), np.float64)


def over(parts: Parts, alone: Floats, limit: Floats) -> Parts:
    """What lies over a limit, by cause: a row per `EXCESSES`, which add up to `alone + parts - limit` (above 0).

    What one alone takes beyond the limit is the first row. Where alone would have been in time, delays first use up the
    room that was left, each in proportion to its size.
    """
    own = np.maximum(alone - limit, 0.0)
    delay = parts.sum(axis=0)
    room = np.maximum(limit - alone, 0.0)
    share = np.divide(delay - room, delay, out=np.ones_like(delay), where=(room > 0) & (delay != 0))
    return np.vstack([own, parts * share])
