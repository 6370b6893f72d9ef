"""Sarathi-Serve: decodes first, then prompt chunks up to a fixed number of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from sim.batch import Batch
from sim.parameters import Count, PartShare
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.server import Server


@dataclass(frozen=True)
class Sarathi(Scheduler):
    """Stall-free batching with a static chunk (Agrawal et al., OSDI 2024).

    Source: ``sarathi/core/scheduler/sarathi_scheduler.py`` of microsoft/sarathi-serve. Kept of its ways: all of a
    prompt's blocks are taken with its first chunk; it admits in a step that preempted, even a victim, whose old rest is
    then the chunk (so that a victim that was decoding, with nothing left, blocks the queue for that step).
    A prompt that the cache can never hold is rejected (the real queue blocks for ever).
    """

    chunk_size: Count = 512
    max_num_seqs: Count = 128
    max_model_len: Count | None = None
    watermark: PartShare = 0.01
    """Share of the blocks that admissions leave free."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.chunk_size, int(self.watermark * server.total_blocks))
        batch.decode_all(least_free=1)
        for request in server.prefilling:
            if request not in batch.preempted:
                batch.prefill(request)
        if batch.preempted or server.waiting.size:
            self._admit(server, batch)
        batch.hold(head_of_line=True)
        return batch

    def _admit(self, server: Server, batch: Batch) -> None:
        running = server.running_count - len(batch.preempted)
        victims = sorted(batch.preempted, key=lambda request: request.id)
        for request in chain(victims, server.waiting):
            known, left = request.known_tokens, request.prefill_left
            if request.phase is Phase.DECODING:
                left = 0
            if why := self._never(server, batch, request):
                if request not in batch.preempted:  # a victim is rejected when it waits
                    batch.reject(request, why)
                continue
            tokens = min(left, batch.tokens_left)
            if running >= self.max_num_seqs or not tokens or not batch.admit(request, tokens, reserve=known - tokens):
                break
            running += 1

    def _never(self, server: Server, batch: Batch, request: Request) -> str:
        """Why a prompt can never run, or nothing."""
        known = request.known_tokens
        if known > (self.max_model_len or known):
            return f"its {known} tokens exceed the model's {self.max_model_len}"
        blocks = server.blocks_for(known)
        if server.total_blocks - blocks < batch.watermark:
            return (
                f"it needs {blocks} blocks; the cache has {server.total_blocks}, of which {batch.watermark} stay free"
            )
        return ""
