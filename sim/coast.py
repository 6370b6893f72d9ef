"""Coasting: iterations in which nothing joins or arrives, without asking anybody."""

from __future__ import annotations

from sim.batch import Batch
from sim.pool import DecodePool
from sim.replica import Replica


def coast(server: Replica, batch: Batch, until: float) -> bool:
    """Repeats a steady batch while its iterations end before ``until`` (seconds) and fit the cache.

    The same floating-point operations in the same order as one iteration at a time, so the same story, to the last
    bit. Returns whether the batch may be repeated once more; otherwise the scheduler must be asked.
    """
    pool, spare = server.pool, batch.least_free
    line = server.decode_line
    if line is not None and isinstance(pool, DecodePool):
        while _stretch(server, pool, line(pool.size), spare, until):
            left = server.leave_finished()
            server.recorder.entries[-2] = server.free_blocks
            if (left and server.crowded) or not pool.size:
                return False

    batch.tokens = pool.size
    return spare + pool.blocks_needed <= server.free_blocks


def _stretch(server: Replica, pool: DecodePool, line: tuple[float, float], spare: int, until: float) -> bool:
    """Steps the pool to its next event, and writes the steps down as one entry; returns whether it got that far."""
    recorder, history = server.recorder, server.history
    (fixed, slope), number, size, growing = line, pool.size, pool.block_size, pool.growing
    step = first = pool.steps
    last = step + pool.steps_to_event()
    context, free, now = pool.context, server.free_blocks, server.now
    seconds, duration = history.seconds, 0.0
    ends, frees = recorder.ends.append, recorder.free_blocks.append
    while step < last:
        need = growing[step % size]
        duration = fixed + slope * context
        end = now + duration
        if end >= until or need + spare > free:
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
            server.waiting.size, server.running_count, len(server.swapped), 0, free, 0.0,
        ))  # fmt: skip
        server.now = now
        server.free_blocks = free
        server.kv_tokens += number * steps
        history.iterations += steps
        history.seconds = seconds
        history.longest_iteration = max(history.longest_iteration, fixed + slope * (context - number))
        pool.step(now, steps)
    return step == last
