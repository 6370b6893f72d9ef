"""How a replica lives: requests arrive, batches are applied, tokens come out."""

from __future__ import annotations

from math import inf

from costmodel import BatchShape
from sim.batch import Batch
from sim.moves import Moves
from sim.queues import PriorityQueue
from sim.recorder import FINISHED, Entry
from sim.request import Phase, Request


class Replica(Moves):
    """A server that the engine runs: everything that changes it is here."""

    def prepare(self) -> None:
        """Brings the waiting queue up to date before a decision."""
        self.arrived, self.shortest = 0, inf
        waiting = self.waiting
        if isinstance(waiting, PriorityQueue) and waiting.size:
            waiting.expire(self.now)
            epoch = self.scheduler.epoch(self)
            if epoch != self._epoch:
                self._epoch = epoch
                waiting.reorder()

    def arrive(self, request: Request) -> None:
        """Takes a new request."""
        history = self.history
        if not history.arrivals:
            history.first_arrival = request.arrived_at
        history.arrivals += 1
        history.last_arrival = request.arrived_at
        self.arrived += 1
        self.shortest = min(self.shortest, request.prompt_tokens)
        self.waiting.add(request)
        self.scheduler.arrived(request)

    def start(self, batch: Batch) -> BatchShape:
        """Applies a batch up to the moment when the GPU starts; returns its shape."""
        self.batches += 1
        if self.late_blocks:
            self._release(self.batches)
        swapped = self._move(batch) if batch.preempted or batch.resumed or batch.rejected else 0
        for request, blocks in batch.admitted.items():
            self._admit(request, blocks, batch.hosts.get(request))
        prefill_tokens, pairs = self._allocate_prefills(batch)
        self.decodes_now = decodes = batch.tokens - prefill_tokens
        context = 0
        if decodes:
            if not batch.everyone or batch.paused or self.paused:
                self._choose_decodes(batch)
            self.free_blocks -= self.pool.blocks_needed
            context = self.pool.context
            self.kv_tokens += decodes
        for request, blocks in batch.extended.items():
            self._extend(request, blocks, batch.hosts.get(request))
        if swapped or self.copied_tokens:
            swapped += self.copied_tokens
            self.copied_tokens = 0 if batch.tokens else swapped
        return BatchShape(
            prefill_tokens, decodes, context, pairs, decodes + len(batch.prefills), swapped if batch.tokens else 0
        )

    def entry(self, batch: Batch, shape: BatchShape, seconds: float) -> Entry:
        """What is written down of the iteration that starts: the recorder's ``ENTRY``, with the blocks free now."""
        return (
            self.now, 1, shape.prefill_tokens, shape.decode_tokens, shape.context_tokens, shape.attention_pairs,
            shape.sequences, shape.swapped_tokens, self.kv_tokens, self.waiting.size, self.running_count,
            len(self.swapped), len(batch.preempted), self.free_blocks, seconds,
        )  # fmt: skip

    def _allocate_prefills(self, batch: Batch) -> tuple[int, float]:
        total, pairs = 0, 0.0
        iteration, write = len(self.recorder.ends), self.recorder.events.extend
        for request, tokens in batch.prefills.items():
            write((request.id, iteration, tokens, batch.asked(request)))
            kv = request._kv
            short = -(-(kv + tokens) // self.block_size) - request._blocks
            if short > 0:
                request._blocks += short
                self.free_blocks -= short
            total += tokens
            pairs += tokens * (kv + tokens / 2)
            self.history.chunk(tokens)
        self.kv_tokens += total
        return total, pairs

    def _admit(self, request: Request, blocks: int, host: Request | None) -> None:
        self.waiting.remove(request)
        self.running_count += 1
        request._blocks = blocks
        if host is None:
            self.free_blocks -= blocks
        else:
            self._lend(host, request, blocks)
        request.phase = Phase.PREFILLING
        self.prefilling[request] = None
        if request.admitted_at is None:
            request.admitted_at = self.now

    def _choose_decodes(self, batch: Batch) -> None:
        """Lets the pool hold just those that decode now."""
        wanted = batch.decodes
        if batch.everyone:
            leaving = [request for request in batch.paused if request in self.pool]
            stay = batch.paused.keys() | batch.resumed.keys()
            joining = [request for request in self.paused if request not in stay]
        else:
            leaving = [request for request in self.pool if request not in wanted and request not in batch.resumed]
            joining = [request for request in wanted if request in self.paused]
        for request in leaving:
            self._leave_pool(request)
            self.paused[request] = None
        for request in joining:
            del self.paused[request]
            self._join_pool(request)

    def finish(self, batch: Batch, end: float, iteration: int) -> int:
        """Applies the end of an iteration: tokens come out, requests finish. Returns how many requests left."""
        self.now = end
        left = 0
        if self.decodes_now:
            self.pool.step(end)
            left = self.leave_finished()
        for request, tokens in batch.prefills.items():
            request._kv += tokens
            if request.prefill_left == 0:
                left += self._first_token(request, iteration)
        return left

    def leave_finished(self) -> int:
        """Lets the requests go whose last token came with the latest step."""
        done = self.pool.finished()
        for request in done:
            self._finish(request)
        return len(done)

    def _first_token(self, request: Request, iteration: int) -> int:
        """The end of a prefill yields a token: the first, or after a recompute the next."""
        del self.prefilling[request]
        self._prefills_done += 1
        request._generated += 1
        request._last_token_at = self.now
        request._prefill_iteration = iteration
        if request.first_token_at is None:
            request.first_token_at = self.now
        if request._generated == request._output_tokens:
            request._first_step = self.pool.steps
            self._finish(request)
            return 1
        self._join_pool(request)
        return 0

    def _finish(self, request: Request) -> None:
        self.running_count -= 1
        self.kv_tokens -= request._kv
        request.phase = Phase.FINISHED
        free = self._give_back(request, request._blocks) if request in self.hosts else request._blocks
        if self.release_delay:
            self.late_blocks.append((self.batches + self.release_delay, free))
        else:
            self.free_blocks += free
        self.history.finished += 1
        self.history.output_tokens += request._generated
        self.recorder.span(request, self.pool.steps)
        self.recorder.request(request, self.now, FINISHED)
