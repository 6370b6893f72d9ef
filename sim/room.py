"""Making room for the decodes when memory or budget is short: who yields, in the order of the real engines."""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

from sim.request import Phase

if TYPE_CHECKING:
    from sim.batch import Batch

_ID = attrgetter("id")


def make_room(batch: Batch, number: int, need: int, least_free: int, swap: bool) -> tuple[int, int]:
    """Preempts the newest until the decodes of the others fit; returns how many decode, and the blocks they take.

    The real engines walk from the oldest and preempt the newest not yet visited when the next does not fit: which
    comes to the fewest of the newest that leave room for all the others. Their test for a free block is made before
    a decode takes its own, so the last one's need does not count against it.
    """
    running = sorted(batch.server.running_requests, key=_ID)
    while number and need + least_free > batch.blocks_left:
        last = next(request for request in reversed(running) if request.phase is Phase.DECODING)
        if least_free and need == batch.blocks_left and batch.growth(last):
            break
        newest = running.pop()
        if newest.phase is Phase.DECODING:
            number -= 1
            need -= batch.growth(newest)
        batch.preempt(newest, swap)
    return number, need


def decode_in_turn(batch: Batch, least_free: int, swap: bool) -> int:
    """When budget or choices leave no room for all: oldest first, victims from the newest not yet visited."""
    queue = deque(request for request in batch.server.running if request not in batch.preempted)
    granted = 0
    while queue and batch.tokens_left:
        request = queue.popleft()
        if request.phase is Phase.DECODING and request not in batch.decodes:
            need = max(batch.growth(request), least_free)
            while need > batch.blocks_left and request not in batch.preempted:
                batch.preempt(queue.pop() if queue else request, swap)
            if request not in batch.preempted:
                granted += batch.decode(request)
    return granted
