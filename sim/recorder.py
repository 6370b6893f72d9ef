"""What a server writes down: compact columns, one entry per iteration or per run of like iterations."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.iterations import Entries
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
EVENT = ("request", "iteration", "tokens", "blocks")
FINISHED, REJECTED, UNFINISHED, NOT_ARRIVED = range(4)

Entry = tuple[float, int, int, int, int, float, int, int, int, int, int, int, int, int, float]
"""Values in the order of ``ENTRY``."""

KIND: dict[str, Any] = {
    "start": np.float64,
    "attention_pairs": np.float64,
    "context_tokens": np.int64,
    "kv_tokens": np.int64,
    "schedule_seconds": np.float32,
}
"""Types of the columns that are not 32-bit integers."""


class Recorder:
    """Grows flat arrays; tables are made of them after the run."""

    def __init__(self) -> None:
        self.entries = array("d")
        self.ends = array("d")
        """End of every iteration, seconds."""
        self.free_blocks = array("i")
        """Blocks free during every iteration."""
        self.requests = array("d")
        self.spans = array("q")
        self.events = array("i")
        """Chunks, admissions and evictions: values in the order of ``EVENT``."""
        self._packed: list[dict[str, NDArray[Any]]] = []
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

    def compact(self) -> None:
        """Packs the entries so far into two thirds of their space; called now and then."""
        if self.entries:
            rows = np.frombuffer(self.entries).reshape(-1, len(ENTRY))
            self._packed.append({name: rows[:, n].astype(KIND.get(name, np.int32)) for n, name in enumerate(ENTRY)})
            self.entries = array("d")

    def table(self, server: int) -> Entries:
        """All that was written down of iterations."""
        self.compact()
        parts = self._packed or [{name: np.empty(0, KIND.get(name, np.int32)) for name in ENTRY}]
        entries = {name: np.concatenate([part[name] for part in parts]) for name in ENTRY}
        self._packed = [entries]
        ends = np.frombuffer(self.ends, dtype=np.float64) if self.ends else np.empty(0)
        free = np.frombuffer(self.free_blocks, dtype=np.int32) if self.free_blocks else np.empty(0, np.int32)
        return Entries(server, entries, ends, free)
