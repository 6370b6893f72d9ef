"""Coasting: iterations in which nothing joins, leaves or arrives, without asking anybody."""

from __future__ import annotations

from sim.pool import DecodePool
from sim.server import Server


def coast(server: Server, spare: int, until: float) -> int:
    """Repeats the pool's decode step while it ends before ``until`` (seconds), fits the cache and stays steady.

    The same floating-point operations in the same order as one iteration at a time, so the same story, to the last
    bit. ``spare``: blocks that must be free beyond what a step takes. Returns how many requests finished.
    """
    pool, recorder, history = server.pool, server.recorder, server.history
    if server.decode_line is None or not isinstance(pool, DecodePool):
        return 0
    number, size, growing = len(pool), pool.block_size, pool.growing
    fixed, slope = server.decode_line(number)
    first = step = pool.steps
    last = step + pool.steps_to_event()
    context, free, now = pool.context, server.free_blocks, server.now
    seconds, longest = history.seconds, history.longest_iteration
    ends, frees = recorder.ends.append, recorder.free_blocks.append
    while step < last:
        need = growing[step % size]
        duration = fixed + slope * context
        if now + duration >= until or need + spare > free:
            break
        now += duration
        seconds += duration
        if duration > longest:
            longest = duration
        free -= need
        ends(now)
        frees(free)
        context += number
        step += 1
    if step == first:
        return 0
    history.iterations += step - first
    history.seconds, history.longest_iteration = seconds, longest
    return _arrive_at(server, now, step - first, free)


def _arrive_at(server: Server, now: float, steps: int, free: int) -> int:
    """Brings the server to where ``steps`` decode steps lead, and writes them down as one entry."""
    pool, recorder = server.pool, server.recorder
    number = len(pool)
    entry = (
        server.now, steps, 0, number, pool.context, 0.0, number, 0, server.kv_tokens + number,
        len(server.waiting), server.running_count, len(server.swapped), 0, free, 0.0,
    )  # fmt: skip
    server.now = now
    server.free_blocks = free
    server.kv_tokens += number * steps
    pool.step(now, steps)
    left = server.leave_finished()
    recorder.entries.extend(entry)
    recorder.entries[-2] = server.free_blocks
    return left
