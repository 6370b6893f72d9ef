"""The queues of a multi-level feedback queue, in which those that never ran are passed over in constant time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sim.request import Request


@dataclass(eq=False, slots=True)
class Job:
    """What a multi-level feedback queue remembers of a request."""

    request: Request
    level: int
    prompt: int
    """Prompt tokens that its next iteration computes; 0 if its cache is there."""
    ran: bool = False
    process: float = 0.0
    """Seconds of iterations since it came to its level."""
    stepped_at: float = 0.0
    """When its latest iteration ended."""
    place: int = 0
    """Of two that ran and wait at one level, the one with the larger number is nearer to the front."""


class Newcomers:
    """Jobs that never ran, next to each other in a queue; all of them can be turned around at once."""

    __slots__ = ("jobs", "turned")

    def __init__(self, job: Job) -> None:
        self.jobs = deque([job])
        self.turned = False

    def __iter__(self) -> Iterator[Job]:
        return reversed(self.jobs) if self.turned else iter(self.jobs)

    def append(self, job: Job) -> None:
        """At the back."""
        (self.jobs.appendleft if self.turned else self.jobs.append)(job)

    def push_front(self, job: Job) -> None:
        """At the front."""
        (self.jobs.append if self.turned else self.jobs.appendleft)(job)

    def pop_front(self) -> Job:
        """Takes the first."""
        return self.jobs.pop() if self.turned else self.jobs.popleft()

    def and_then(self, others: Newcomers) -> Newcomers:
        """Both in one, ``others`` behind; costs as much as the smaller has members."""
        if len(self.jobs) < len(others.jobs):
            for job in reversed(list(self)):
                others.push_front(job)
            return others
        for job in others:
            self.append(job)
        return self


class Levels:
    """A queue per level, level 0 first, each from the front; one is there once something was put into it."""

    def __init__(self) -> None:
        self.queues: list[deque[Job | Newcomers]] = []
        self._pushed = 0

    def __iter__(self) -> Iterator[Job]:
        for queue in self.queues:
            for item in queue:
                if isinstance(item, Job):
                    yield item
                else:
                    yield from item

    @property
    def veterans(self) -> Iterator[Job]:
        """Those that ran."""
        for queue in self.queues:
            for item in queue:
                if isinstance(item, Job):
                    yield item

    def append(self, job: Job) -> None:
        """A job goes to the end of its level."""
        self._join(self._queue(job.level), job)

    def push_front(self, job: Job) -> None:
        """A job goes to the front of its level."""
        queue = self._queue(job.level)
        if job.ran:
            self._pushed = job.place = self._pushed + 1
            queue.appendleft(job)
        elif queue and isinstance(queue[0], Newcomers):
            queue[0].push_front(job)
        else:
            queue.appendleft(Newcomers(job))

    def take(self, number: int) -> None:
        """Takes the first ``number`` jobs out."""
        for queue in self.queues:
            while queue and number:
                first = queue[0]
                if isinstance(first, Job):
                    queue.popleft()
                else:
                    first.pop_front()
                    if not first.jobs:
                        queue.popleft()
                number -= 1

    def take_veterans(self, number: int) -> None:
        """Takes the first ``number`` jobs that ran out. Those that never ran and stand before the next one that did are
        put aside one by one, and then to the front of their level, which turns them around."""
        for queue in self.queues:
            aside: Newcomers | None = None
            while queue and (number or isinstance(queue[0], Newcomers)):
                first = queue.popleft()
                if isinstance(first, Job):
                    number -= 1
                else:
                    first.turned = not first.turned
                    aside = first if aside is None else first.and_then(aside)
            blocked = bool(queue)
            if aside is not None:
                queue.appendleft(aside)
            if blocked:
                return

    def promote(self, starved: Callable[[Job], bool]) -> list[Job]:
        """Puts all jobs that are ``starved`` to the front of level 0, one by one; returns them in the old order."""
        found: list[Job] = []
        for queue in self.queues:
            jobs = [job for item in queue for job in ((item,) if isinstance(item, Job) else item)]
            queue.clear()
            for job in jobs:
                if starved(job):
                    found.append(job)
                else:
                    self._join(queue, job)
        for job in found:
            job.level = 0
            self.push_front(job)
        return found

    def _queue(self, level: int) -> deque[Job | Newcomers]:
        while len(self.queues) <= level:
            self.queues.append(deque())
        return self.queues[level]

    def _join(self, queue: deque[Job | Newcomers], job: Job) -> None:
        if job.ran:
            queue.append(job)
        elif queue and isinstance(queue[-1], Newcomers):
            queue[-1].append(job)
        else:
            queue.append(Newcomers(job))
