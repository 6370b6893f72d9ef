"""vLLM V1 (0.8.5 to 0.33): one token budget for decodes and prompt chunks, blocks taken chunk by chunk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sim.batch import Batch
from sim.parameters import Count, PartShare, Whole
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.server import Server

NULL_BLOCKS = 1
"""Blocks of ``num_gpu_blocks`` that hold no request: vLLM V1 keeps block 0 as padding."""


@dataclass(frozen=True)
class VllmV1(Scheduler):
    """First come first served; running requests first, then admissions, and none after a preemption.

    Source: ``vllm/v1/core/sched/scheduler.py``, version 0.33.0, synchronous, without prefix caching. Versions up to
    0.11.2 are ``reserve_full_prompt=False``. ``kv_blocks`` are the usable blocks, one fewer than ``num_gpu_blocks``.
    """

    max_num_batched_tokens: Count = 2048
    max_num_seqs: Count = 256
    chunked_prefill: bool = True
    long_prefill_token_threshold: Whole = 0
    """Longest chunk while another request is there (0: no limit)."""
    reserve_full_prompt: bool = True
    """Admit only if the whole prompt would fit now; nothing is reserved (``scheduler_reserve_full_isl``)."""
    watermark: PartShare = 0.0
    """Share of all blocks, the null block included, that admissions leave free while other requests run."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.max_num_batched_tokens)
        threshold = self._threshold(server)
        if self.long_prefill_token_threshold and server.prefilling:
            self._run(batch, server.running, threshold)
        else:  # at most one prompt is unfinished, that of the newest request
            batch.decode_all()
            self._run(batch, [request for request in server.prefilling if request not in batch.preempted], threshold)
        if server.waiting.size and not batch.preempted:
            self._admit(server, batch, threshold)
        batch.hold(head_of_line=True)
        return batch

    def _threshold(self, server: Server) -> int:
        alone = server.running_count + len(server.waiting) <= 1
        return self.long_prefill_token_threshold if self.long_prefill_token_threshold and not alone else 1 << 62

    def _run(self, batch: Batch, running: list[Request], threshold: int) -> None:
        """A token or the next chunk for each, oldest first; the newest, at last itself, yields its blocks."""
        queue = deque(running)
        while queue and batch.tokens_left:
            request = queue.popleft()
            tokens = min(request.prefill_left, threshold, batch.tokens_left)
            while request not in batch.preempted and batch.shortage(request, tokens) > batch.blocks_left:
                batch.preempt(queue.pop() if queue else request)
            if request in batch.preempted:
                break
            if request.phase is Phase.DECODING:
                batch.decode(request)
            else:
                batch.prefill(request, tokens)

    def _admit(self, server: Server, batch: Batch, threshold: int) -> None:
        running = server.running_count
        watermark = int(self.watermark * (server.total_blocks + NULL_BLOCKS))
        for request in server.waiting:
            tokens = min(request.known_tokens, threshold)
            if running >= self.max_num_seqs or not batch.tokens_left:
                break
            if tokens > batch.tokens_left and not self.chunked_prefill:
                break
            batch.watermark = watermark if running else 0
            full = server.blocks_for(request.known_tokens)
            if self.reserve_full_prompt and full + batch.watermark > batch.blocks_left:
                break
            if not batch.admit(request, tokens):
                break
            running += 1
