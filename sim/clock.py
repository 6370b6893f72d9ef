"""The event loop's clock: SimPy, told absolute times."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any

from simpy import Environment, Event

ARRIVAL, ITERATION_END = 1, 2
"""Order of events at the same instant: what arrives at t is seen by the iteration that starts at t."""


class Clock(Environment):
    """A SimPy environment that schedules at absolute times and may skip its own queue.

    ``timeout(t - now)`` would end at ``now + (t - now)``, which is not always ``t`` in floating point.
    """

    def at(self, time: float, priority: int = ITERATION_END, then: Callable[[Event], None] | None = None) -> Event:
        """An event that triggers at exactly ``time`` (seconds); ``then`` is called when it does."""
        event = Event(self)
        event._ok = True
        event._value = None
        if then is not None and event.callbacks is not None:
            event.callbacks.append(then)
        queue: list[Any] = self._queue
        heappush(queue, (time, priority, next(self._eid), event))
        return event

    def advance(self, time: float) -> None:
        """Moves the clock where nothing is scheduled up to ``time``: the same as waiting, without the queue."""
        self._now: Any = time
