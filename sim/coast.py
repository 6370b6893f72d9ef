"""Coasting: iterations in which nothing joins, without asking anybody."""

from __future__ import annotations

from math import inf

from sim.batch import Batch
from sim.pool import DecodePool
from sim.replica import Replica


def can_coast(replica: Replica) -> bool:
    """Whether the replica allows it: a pool that counts steps, decode times on a line, and nothing due later."""
    due = replica.late_blocks or replica.copied_tokens
    return replica.decode_line is not None and isinstance(replica.pool, DecodePool) and not due


def coast(replica: Replica, batch: Batch, until: float) -> bool:
    """Repeats a steady batch while its iterations end before ``until`` (seconds) and fit the cache.

    The same floating-point operations in the same order as one iteration at a time, so the same story, to the last
    bit. Returns whether the batch may be repeated once more; otherwise the scheduler must be asked.
    """
    spare = _spare(replica, batch)
    while _stretch(replica, spare, until, batch.until, 1 << 62, replica.waiting.size):
        if not _settle(replica):
            return False
    return _repeatable(replica, batch)


def cross(replica: Replica, batch: Batch, waiting: int) -> bool:
    """One more iteration, during which something happened; ``waiting`` requests were there when it began."""
    _stretch(replica, 0, inf, inf, 1, waiting)
    return _settle(replica) and _repeatable(replica, batch)


def next_end(replica: Replica) -> float:
    """When the next decode step would end, seconds."""
    fixed, slope = replica.decode_line(replica.pool.size)
    return float(replica.now + (fixed + slope * replica.pool.context))


def goes_on(replica: Replica, left: int) -> bool:
    """Whether a steady batch may be repeated unasked after an iteration with which ``left`` requests left.

    Blocks that finished requests give back some batches later come free when batches start, and repeated ones do not.
    """
    return replica.pool.size > 0 and not (left and replica.crowded) and not replica.late_blocks


def _settle(replica: Replica) -> bool:
    """Lets the finished go; returns whether the others may decode on unasked."""
    left = replica.leave_finished()
    replica.recorder.entries[-2] = replica.free_blocks
    return goes_on(replica, left)


def _spare(replica: Replica, batch: Batch) -> int:
    """Blocks that must be free beyond what the decodes take: whom ``decode_all`` passed over could need theirs."""
    if not (replica.paused and batch.everyone):
        return batch.least_free
    return batch.least_free + sum(map(batch.growth, replica.paused))


def _repeatable(replica: Replica, batch: Batch) -> bool:
    batch.tokens = replica.pool.size
    return replica.now < batch.until and _spare(replica, batch) + replica.pool.blocks_needed <= replica.free_blocks


def _stretch(server: Replica, spare: int, until: float, held: float, most: int, waiting: int) -> bool:
    """Steps the pool to its next event, at most ``most`` times, and writes the steps down as one entry.

    They end before ``until`` and begin before ``held`` (seconds). Returns whether it got to the event.
    """
    pool, recorder, history = server.pool, server.recorder, server.history
    assert isinstance(pool, DecodePool)
    number, size, growing = pool.size, pool.block_size, pool.growing
    fixed, slope = server.decode_line(number)
    step = first = pool.steps
    last = step + min(pool.steps_to_event(), most)
    context, free, now = pool.context, server.free_blocks, server.now
    seconds, duration = history.seconds, 0.0
    ends, frees = recorder.ends.append, recorder.free_blocks.append
    while step < last:
        need = growing[step % size]
        duration = fixed + slope * context
        end = now + duration
        if end >= until or need + spare > free or now >= held:
            break
        now = end
        seconds += duration
        free -= need
        ends(end)
        frees(free)
        context += number
        step += 1
    steps = step - first
    if steps:
        recorder.entries.extend((
            server.now, steps, 0, number, pool.context, 0.0, number, 0, server.kv_tokens + number,
            waiting, server.running_count, len(server.swapped), 0, free, 0.0,
        ))  # fmt: skip
        server.now = now
        server.free_blocks = free
        server.kv_tokens += number * steps
        history.iterations += steps
        history.seconds = seconds
        history.longest_iteration = max(history.longest_iteration, fixed + slope * (context - number))
        pool.step(now, steps)
    return step == last
