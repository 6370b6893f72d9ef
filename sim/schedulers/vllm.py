"""vLLM V0 (0.2.7 to 0.8): whole prompts first, in batches of their own; the AccelGen paper's baseline."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from sim.batch import Batch
from sim.parameters import Count, PartShare, Whole
from sim.request import Phase
from sim.scheduler import Scheduler
from sim.server import Server


@dataclass(frozen=True)
class Vllm(Scheduler):
    """First come first served; prompts that fit stall the decodes; the newest request is preempted.

    Source: ``vllm/core/scheduler.py``, versions 0.2.7 (``max_paddings=256``) and 0.4.3 (``chunked_prefill`` too).
    A prompt beyond ``max_num_batched_tokens`` or ``max_model_len`` is rejected, as V0 ignores it.
    """

    max_num_batched_tokens: Count | None = None
    """Prompt tokens of a prefill batch; in chunked mode the budget of every batch. None: no limit, chunked 512."""
    max_num_seqs: Count = 256
    max_model_len: Count | None = None
    chunked_prefill: bool = False
    preemption: Literal["recompute", "swap"] = "recompute"
    max_paddings: Whole | None = None
    """0.2.7: a prefill batch costs its number times its longest prompt, and may waste this many tokens on padding."""
    watermark: PartShare = 0.01
    """Share of the blocks that admissions leave free."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self._budget, int(self.watermark * server.total_blocks))
        if self.chunked_prefill:
            self._run(server, batch)
            self._admit(server, batch)
        else:
            if server.waiting.size and not server.swapped:
                self._admit(server, batch)
            if not batch.prefills and not (batch.rejected and self.max_paddings is not None):
                batch.tokens_left = 1 << 62  # decodes are not counted against a budget
                self._run(server, batch)
        batch.hold(head_of_line=True)
        return batch

    @property
    def _budget(self) -> int:
        return self.max_num_batched_tokens or (512 if self.chunked_prefill else 1 << 62)

    def _run(self, server: Server, batch: Batch) -> None:
        """Every decode asks for a free block, needed or not; swapped requests return when nobody was preempted."""
        if server.prefilling:
            self._run_in_order(server, batch)
        else:
            batch.decode_all(least_free=1, swap=self.preemption == "swap")
        if server.swapped and not batch.preempted:
            self._swap_in(server, batch)

    def _run_in_order(self, server: Server, batch: Batch) -> None:
        """Chunked mode with an unfinished prompt: a token or the next chunk each, oldest first, while budget lasts.

        A lone prompt needs no free block: the real engine would drop it, admit it again, and so on for ever.
        """
        queue = deque(server.running)
        spare = int(server.running_count > 1)
        while queue and batch.tokens_left:
            request = queue.popleft()
            while batch.blocks_left < spare and request not in batch.preempted:
                batch.preempt(queue.pop() if queue else request, self.preemption == "swap")
            if request in batch.preempted:
                continue
            if request.phase is Phase.DECODING:
                batch.decode(request)
            else:
                batch.prefill(request)

    def _swap_in(self, server: Server, batch: Batch) -> None:
        """The oldest first, while a block more than each held stays above the watermark. On an empty device that is
        waived: the real engine would give a request up that has no such block, or wait for ever."""
        running = server.running_count
        for request in sorted(server.swapped, key=lambda request: request.id):
            spare = batch.blocks_left - request.host_blocks - 1
            if (running and (spare < batch.watermark or running >= self.max_num_seqs)) or not batch.resume(request):
                break
            running += 1

    def _admit(self, server: Server, batch: Batch) -> None:
        """Head of the line first, until one does not fit. Memory is taken for all of the prompt at once."""
        running = server.running_count - len(batch.preempted)
        longest, taken = 0, 0
        for request in batch.waiting():
            known = request.known_tokens
            if why := self._never(server, batch, known):
                batch.reject(request, why)
                continue
            tokens = min(known, batch.tokens_left) if self.chunked_prefill else known
            longest, cost = max(longest, known), taken + known
            if self.max_paddings is not None:
                cost = longest * (len(batch.prefills) + 1)
                if cost - sum(batch.prefills.values()) - known > self.max_paddings:
                    break
            if running >= self.max_num_seqs or (cost > self._budget and not self.chunked_prefill) or not tokens:
                break
            if not batch.admit(request, tokens, reserve=known - tokens):
                break
            taken += known
            running += 1

    def _never(self, server: Server, batch: Batch, known: int) -> str:
        """Why a prompt can never run, or nothing."""
        blocks = server.blocks_for(known)
        limit = min(self.max_model_len or known, known if self.chunked_prefill else self._budget)
        if known > limit:
            return f"its {known} tokens exceed the limit of {limit} tokens of one prefill batch"
        if server.total_blocks - blocks < batch.watermark:
            return (
                f"it needs {blocks} blocks; the cache has {server.total_blocks}, of which {batch.watermark} stay free"
            )
        return ""
