"""Why first tokens were late: waiting, and the iterations until the prompt was computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.attribution.alone import Alone
from sim.attribution.causes import (
    BATCH_SLOWDOWN,
    BEYOND_MODEL,
    CHUNK_STALL,
    CHUNKING,
    KV_WAIT,
    PREEMPTION,
    PREFILL_INTERFERENCE,
    QUEUEING,
    Parts,
    added,
    nothing,
)
from sim.attribution.course import Course
from sim.attribution.events import Events
from sim.result import RunResult
from sim.tokens import Booleans, Floats, Integers


def first_tokens(result: RunResult, course: Course, alone: Alone, events: Events, whole: Floats) -> Parts:
    """The delays of first tokens by cause, a column per request; 0 where none came.

    `whole` is what each prompt takes alone.
    """
    number = len(result)
    requests = result.requests
    came = ~np.isnan(requests["first_token_at"])
    prompt_end = _last_chunks(result, course)
    mine = came[events.request] & (events.place <= prompt_end[events.request])
    attempt = events.latest(mine & events.dropped, number)
    mine &= np.arange(len(mine)) > attempt[events.request]
    own = np.flatnonzero(mine & events.computed)
    owner, place = events.request[own], events.place[own]
    begins = np.full(number, np.nan)
    begins[owner[::-1]] = course.start[place[::-1]]
    away = _swapped_out(course, events, np.flatnonzero(mine & events.swapped_out), own, number)

    def total(seconds: Floats) -> Floats:
        return added(owner, seconds, number)

    chunks = alone.chunks(events.tokens[own], _cached(events.tokens[own], owner))
    parts = nothing(number)
    parts[CHUNKING] = total(chunks) - whole
    parts[PREFILL_INTERFERENCE] = total(course.prompts[place] - chunks)
    parts[BATCH_SLOWDOWN] = total((course.batch - course.prompts)[place])
    parts[BEYOND_MODEL] = total(course.beyond[place])
    parts[PREEMPTION] = total(course.copies[place]) + away + (begins - requests["admitted_at"])
    parts[CHUNK_STALL] = (requests["first_token_at"] - begins) - total(course.seconds[place]) - away
    parts[KV_WAIT, came] = _without_blocks(requests["arrived_at"], course, events, came)
    parts[QUEUEING] = (requests["admitted_at"] - requests["arrived_at"]) - parts[KV_WAIT]
    parts[:, ~came] = 0.0
    return parts


def _last_chunks(result: RunResult, course: Course) -> Integers:
    """Where each request's first token came out; -1 if none did."""
    spans = result.spans
    prefilled = np.flatnonzero(spans["prefill_iteration"] >= 0)[::-1]
    found = np.full(len(result), -1)
    found[spans["request"][prefilled]] = course.place[spans["prefill_iteration"][prefilled]]
    return found


def _cached(tokens: Integers, owner: Integers) -> Integers:
    """Tokens in the cache before each chunk of one attempt per owner; chunks in order."""
    before = np.cumsum(tokens) - tokens
    opens = np.flatnonzero(np.diff(owner, prepend=-1))
    return before - np.repeat(before[opens], np.diff(opens, append=len(owner)))


def _swapped_out(course: Course, events: Events, out: Integers, own: Integers, number: int) -> Floats:
    """Seconds between being swapped out and the next chunk, per request; `out` and `own` are rows of events."""
    follows = np.searchsorted(own, out)
    _, first = np.unique(follows, return_index=True)
    out, back = out[first], own[np.minimum(follows[first], len(own) - 1)] if len(own) else out[first]
    real = (back > out) & (events.request[back] == events.request[out])
    out, back = out[real], back[real]
    seconds = course.start[events.place[back]] - course.start[events.place[out]]
    return added(events.request[out], seconds, number)


def _without_blocks(arrived_at: NDArray[Any], course: Course, events: Events, came: Booleans) -> Floats:
    """Seconds of waiting for the first admission with too few blocks free, of the requests that `came`."""
    admissions = np.flatnonzero(events.blocks >= 0)
    admissions = admissions[np.diff(events.request[admissions], prepend=-1) != 0]
    admissions = admissions[came[events.request[admissions]]]
    place, need = events.place[admissions], events.blocks[admissions]
    arrived = arrived_at[events.request[admissions]]
    begin = np.minimum(_running_at(arrived, place, course), place)
    seconds = below(course.free_blocks, course.seconds, begin, place, need)
    cut = (begin < place) & (course.free_blocks[begin] < need)
    return seconds - np.where(cut, np.maximum(arrived - course.start[begin], 0.0), 0.0)


def _running_at(moments: Floats, place: Integers, course: Course) -> Integers:
    """The first iteration that ends after each moment, on the server where a place is."""
    found = np.zeros(len(moments), np.int64)
    for first, stop in zip(course.edges, course.edges[1:], strict=False):
        here = (place >= first) & (place < stop)
        found[here] = first + np.searchsorted(course.end[first:stop], moments[here], side="right")
    return found


def below(values: Integers, weights: Floats, begin: Integers, end: Integers, limit: Integers) -> Floats:
    """For many ranges [begin, end) at once: the sum of the weights whose values (0 or more) lie below a limit.

    A wavelet matrix: values are parted by one bit after another, highest first, and each range follows its limit's
    bits, adding up what goes the lower way where it goes the higher.
    """
    total = np.zeros(len(begin))
    bits = int(limit.max(initial=0)).bit_length()
    values = np.minimum(values, (1 << bits) - 1).astype(np.int32)
    for bit in reversed(range(bits)):
        high = (values & (1 << bit)) != 0
        low = ~high
        lows = np.concatenate([[0], np.cumsum(low)])
        sums = np.concatenate([[0.0], np.cumsum(weights * low)])
        up = (limit >> bit) & 1 == 1
        total += np.where(up, sums[end] - sums[begin], 0.0)
        begin, end = (np.where(up, lows[-1] + edge - lows[edge], lows[edge]) for edge in (begin, end))
        values, weights = (np.concatenate([column[low], column[high]]) for column in (values, weights))
    return total
