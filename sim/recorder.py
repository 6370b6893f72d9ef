"""What a server writes down: compact columns, one entry per iteration or per run of like iterations."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from sim.request import Request

ENTRY = (
    "start", "iterations", "prefill_tokens", "decode_tokens", "context_tokens", "attention_pairs", "sequences",
    "swapped_tokens", "kv_tokens", "waiting", "running", "swapped", "preempted", "free_blocks_end", "schedule_seconds",
)  # fmt: skip
REQUEST = (
    "request",
    "admitted_at",
    "first_token_at",
    "finished_at",
    "generated",
    "preemptions",
    "swaps",
    "recomputed_tokens",
    "status",
)
SPAN = ("request", "prefill_iteration", "first_step", "last_step")
FINISHED, REJECTED, UNFINISHED, NOT_ARRIVED = range(4)

Entry = tuple[float, int, int, int, int, float, int, int, int, int, int, int, int, int, float]
"""Values in the order of ``ENTRY``."""

Column = NDArray[np.float64]


class Recorder:
    """Grows three flat arrays; tables are made of them after the run."""

    def __init__(self) -> None:
        self.entries = array("d")
        self.ends = array("d")
        """End of every iteration, seconds."""
        self.free_blocks = array("q")
        """Blocks free during every iteration."""
        self.requests = array("d")
        self.spans = array("q")
        self.rejections: dict[int, str] = {}

    def request(self, request: Request, finished_at: float, status: int) -> None:
        """Writes down a request that is done with, one way or another."""
        nan = float("nan")
        self.requests.extend((
            request.id,
            nan if request.admitted_at is None else request.admitted_at,
            nan if request.first_token_at is None else request.first_token_at,
            finished_at,
            request.generated,
            request.preemptions,
            request.swaps,
            request.recomputed_tokens,
            status,
        ))  # fmt: skip

    def reject(self, request: Request, why: str) -> None:
        """Writes down a rejection and its reason."""
        self.rejections[request.id] = why
        self.request(request, float("nan"), REJECTED)

    def span(self, request: Request, last_step: int) -> None:
        """Closes a request's run of contiguous decode steps [first, last)."""
        first = request._first_step
        if last_step > first or request._prefill_iteration >= 0:
            self.spans.extend((request.id, request._prefill_iteration, first, last_step))
        request._prefill_iteration = -1

    def iteration_table(self, server: int) -> dict[str, Column]:
        """One row per iteration: entries that stand for several are written out."""
        entry = dict(zip(ENTRY, np.frombuffer(self.entries, dtype=np.float64).reshape(-1, len(ENTRY)).T, strict=True))
        number = entry.pop("iterations").astype(np.int64)
        last = np.cumsum(number) - 1
        rows = {name: np.repeat(column, number) for name, column in entry.items()}
        nth = np.arange(len(self.ends)) - np.repeat(last - number + 1, number)
        ends = np.frombuffer(self.ends, dtype=np.float64)
        free = np.frombuffer(self.free_blocks, dtype=np.int64)
        rows["context_tokens"] += nth * rows["decode_tokens"]
        rows["kv_tokens"] += nth * rows["decode_tokens"]
        rows["start"][nth > 0] = ends[:-1][nth[1:] > 0]
        rows["schedule_seconds"][nth > 0] = 0.0
        freed = free.astype(np.float64)
        freed[last] = entry["free_blocks_end"]
        rows |= {"end": ends.copy(), "free_blocks": free.astype(np.float64), "free_blocks_end": freed}
        rows["server"] = np.full(len(ends), server)
        return rows
