"""ORCA: iteration-level batching of whole prompts and decodes, with memory reserved for the longest output."""

from __future__ import annotations

from dataclasses import dataclass

from sim.batch import Batch
from sim.parameters import Count
from sim.request import Request
from sim.scheduler import Scheduler
from sim.server import Server


@dataclass(frozen=True)
class Orca(Scheduler):
    """First come first served; who is admitted has memory to the end, so that nobody is preempted.

    Source: Yu et al., OSDI 2022, Algorithm 1, and ``sarathi/core/scheduler/orca_scheduler.py`` of
    microsoft/sarathi-serve: every decode, and every whole prompt whose reservation fits, in one iteration, with no
    limit on its tokens; the first that does not fit blocks the others. A prompt beyond ``max_model_len`` is rejected,
    as that code ignores it.

    Inferred: a reservation larger than the cache is cut to the cache (that code waits for ever); a request that
    outgrows its reservation takes further blocks (that code writes on without any), and if there are none the newest
    is preempted.
    """

    max_num_seqs: Count = 128
    max_model_len: Count | None = None
    """Tokens that every request reserves, as in Sarathi-Serve's ORCA. None: each its prompt and ``max_output``."""
    max_output: Count = 2048
    """The longest output, for a reservation of each request's own maximum, as the paper's (its value is inferred)."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1 << 62)
        batch.decode_all()
        running = server.running_count
        for request in server.waiting:
            if self.max_model_len is not None and request.prompt_tokens > self.max_model_len:
                batch.reject(request, f"its {request.prompt_tokens} tokens exceed the model's {self.max_model_len}")
                continue
            if batch.preempted or running >= self.max_num_seqs or not self._admit(server, batch, request):
                break
            running += 1
        batch.hold(head_of_line=True)
        return batch

    def _admit(self, server: Server, batch: Batch, request: Request) -> int:
        most = self.max_model_len or request.prompt_tokens + self.max_output
        reserved = max(request.known_tokens, min(most, server.total_blocks * server.block_size))
        return batch.admit(request, request.known_tokens, reserve=reserved - request.known_tokens)
