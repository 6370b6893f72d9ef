"""Who leaves the device and who returns: preemption, swapping, rejection, and the decode pool's comings and goings."""

from __future__ import annotations

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.memory import Memory
from sim.request import Phase, Request

LIVELOCK_AFTER = 10_000
"""Preemptions without an output token between them that count as a livelock; for each that waits, two more."""


class Moves(Memory):
    """A server whose requests can be moved."""

    _prefills_done = 0
    _fruitless = 0, 0
    """Preemptions since the last output token, and the count of steps and prefills by then."""

    def _join_pool(self, request: Request) -> None:
        request._first_step = self.pool.steps
        request.phase = Phase.DECODING
        self.pool.join(request)

    def _leave_pool(self, request: Request) -> None:
        self.pool.leave(request)
        self.recorder.span(request, self.pool.steps)

    def _move(self, batch: Batch) -> int:
        """Preempts, swaps in and rejects; returns the tokens' worth of blocks copied between device and host."""
        moved = 0
        for request, why in batch.rejected.items():
            self.waiting.remove(request)
            request.phase = Phase.REJECTED
            self.recorder.reject(request, why)
        for request, swap in batch.preempted.items():
            moved += self._preempt(request, swap)
        for request, run in batch.resumed.items():
            moved += self._resume(request, run)
        return moved * self.block_size

    def _preempt(self, request: Request, swap: bool) -> int:
        if request in self.pool:
            self._leave_pool(request)
        self.paused.pop(request, None)
        self.prefilling.pop(request, None)
        blocks, request._blocks = request._blocks, 0
        self.free_blocks += self._give_back(request, blocks) if request in self.hosts else blocks
        self.kv_tokens -= request._kv
        self.running_count -= 1
        request.preemptions += 1
        self._refuse_livelock(request)
        self.history.preemptions += 1
        self.recorder.events.extend((request.id, len(self.recorder.ends), 0 if swap else -request._kv, -1))
        if swap:
            request.swaps += 1
            request.host_blocks = blocks
            request.phase = Phase.SWAPPED
            self.swapped[request] = None
            return blocks
        request.recomputed_tokens += request._kv
        request._kv = 0
        request.phase = Phase.WAITING
        self.waiting.put_back(request)
        return 0

    def _refuse_livelock(self, request: Request) -> None:
        """Counts a preemption; those who wait may all have had their turn and come to nothing, but not for ever."""
        number, progress = self._fruitless
        now = self.pool.steps + self._prefills_done
        number = number + 1 if now == progress else 1
        self._fruitless = number, now
        if number >= LIVELOCK_AFTER + 2 * self.waiting.size:
            raise SchedulerError(
                f"{number:,} preemptions, of {request!r} now, without an output token between them: a livelock; "
                f"{self.scheduler!r} goes nowhere"
            )

    def _resume(self, request: Request, run: bool) -> int:
        del self.swapped[request]
        blocks, request.host_blocks = request.host_blocks, 0
        self.running_count += 1
        request._blocks = blocks
        self.free_blocks -= blocks
        self.kv_tokens += request._kv
        if run:
            self._join_pool(request)
        elif request.mid_decode:
            request.phase = Phase.DECODING
            self.paused[request] = None
        else:
            request.phase = Phase.PREFILLING
            self.prefilling[request] = None
        return blocks
