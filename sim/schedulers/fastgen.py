"""DeepSpeed-FastGen (Dynamic SplitFuse): decodes first, then prompts, split so that a batch is filled to the token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.parameters import Count
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.server import Server

DELAYS = {"pipeline": 2, "early": 1, "immediate": 0}


@dataclass(frozen=True)
class FastGen(Scheduler):
    """Whoever lacks a block waits with what it has; only when nobody can run is one request flushed.

    Source: ``mii/batching/ragged_batching.py`` of deepspeed-mii 0.3.3. Kept of its ways: a decode that needs a block
    when none is free is skipped, and stands before those that ran; a prompt starts or goes on only if all that is left
    of it fits, and the first that does not blocks the others, even where it needs no block and none is free; when
    nothing can be chosen, the last that holds cache is flushed and joins the end of the queue; a finished request's
    blocks come back late.

    Not kept are its crashes. With nobody to flush the pipeline dies; here the loop goes on, and blocks that are due
    come back. No more new prompts are started than sequences can be tracked (there all are, if one can).
    Prompts that take turns in being flushed, half done, for ever are a livelock, which the engine reports.
    """

    max_ragged_batch_size: Count = 768
    """Tokens of a batch."""
    max_ragged_sequence_count: Count = 512
    """Requests of a batch; any number may hold cache."""
    max_tracked_sequences: Count = 2048
    """Requests that hold cache, finished ones included until their blocks are back."""
    max_model_len: Count | None = None
    """A prompt as long as this or longer is rejected, as it is refused there."""
    flush: Literal["pipeline", "early", "immediate"] = "pipeline"
    """When blocks of finished requests come back: the second batch after frees them, once it is decided on
    (``mii.pipeline``); or the first (a server whose reply thread is fast enough); or at once (not real)."""

    @property
    def release_delay(self) -> int:  # type: ignore[override]
        return DELAYS[self.flush]

    def schedule(self, server: Server) -> Batch:
        raise SchedulerError("FastGen remembers: ask what bind(server) returned, which is server.scheduler")

    def bind(self, server: Server) -> BoundFastGen:
        return BoundFastGen(self, server)


class BoundFastGen(Scheduler):
    """Dynamic SplitFuse on one server: remembers whose turn it is to decode."""

    def __init__(self, policy: FastGen, server: Server) -> None:
        self.policy = policy
        self.server = server
        self.release_delay = policy.release_delay
        self.turns: dict[Request, None] = {}
        """Decoding requests, longest skipped first; some may have finished."""

    def __repr__(self) -> str:
        return repr(self.policy)

    def priority(self, request: Request) -> Any:
        """Arrival; for who was flushed, when it was: behind all who had come by then."""
        flushed = request.preemptions > 0
        return (self.server.now, self.server.history.preemptions) if flushed else (request.arrived_at, 0)

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.policy.max_ragged_batch_size)
        self._decode(server, batch)
        self._prompts(server, batch)
        if not batch.tokens and not self._flushes(server):
            self._flush_last(server, batch)
        batch.hold(head_of_line=self.policy.max_model_len is None)
        return batch

    def ended(self, server: Server, batch: Batch) -> None:
        if batch.decodes:
            skipped = [request for request in self._decoding() if request not in batch.decodes]
            self.turns = dict.fromkeys(chain(skipped, batch.decodes))
        for request in batch.preempted:
            self.turns.pop(request, None)
        self.turns |= dict.fromkeys(request for request in batch.prefills if request.phase is Phase.DECODING)
        if len(self.turns) > 2 * server.decoding_count + 16:
            self.turns = dict.fromkeys(self._decoding())

    def _decoding(self) -> Iterator[Request]:
        return (request for request in self.turns if request.phase is Phase.DECODING)

    def _decode(self, server: Server, batch: Batch) -> None:
        """Everybody, or in turn those whose last block has room or for whom one is free."""
        most = min(self.policy.max_ragged_sequence_count, self.policy.max_ragged_batch_size)
        need = server.pool.blocks_needed + sum(map(batch.growth, server.paused))
        if server.decoding_count <= most and need <= batch.blocks_left:
            batch.decode_all()
            return
        for request in islice(self._decoding(), most):
            batch.decode(request)

    def _prompts(self, server: Server, batch: Batch) -> None:
        """The half-done one, then newcomers, until one does not fit; none if the cache is full before the decodes."""
        entries, untracked, limit = batch.tokens, self._untracked(server), self.policy.max_model_len
        for request in chain(server.prefilling, server.waiting):
            left, new = request.prefill_left, request.phase is Phase.WAITING
            if new and limit is not None and request.prompt_tokens >= limit:
                batch.reject(request, f"its {left} tokens leave no room in the model's {limit}")
                continue
            if not server.free_blocks or entries >= self.policy.max_ragged_sequence_count or not batch.tokens_left:
                break
            if batch.shortage(request, left) > batch.blocks_left or (new and not untracked):
                break
            if new:
                batch.admit(request, min(left, batch.tokens_left))
                untracked -= 1
            else:
                batch.prefill(request)
            entries += 1

    def _flushes(self, server: Server) -> int:
        """Finished requests whose blocks come free when this batch starts."""
        return sum(due <= server.batches + 1 for due, _ in server.late_blocks)

    def _untracked(self, server: Server) -> int:
        """Newcomers that this batch can track; none if all places are taken, even if some come free as it starts."""
        left = self.policy.max_tracked_sequences - server.running_count - len(server.late_blocks)
        return left + self._flushes(server) if left > 0 else 0

    def _flush_last(self, server: Server, batch: Batch) -> None:
        """Drops the last that holds cache: of those that decode, else the half-done prompt, if there is one."""
        decoding = (request for request in reversed(self.turns) if request.phase is Phase.DECODING)
        for request in islice(chain(decoding, server.prefilling), 1):
            batch.preempt(request)
