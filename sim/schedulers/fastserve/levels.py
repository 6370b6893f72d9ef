"""The queues of a multi-level feedback queue, in which those that never ran are passed over in constant time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sim.schedulers.fastserve.newcomers import Job, Newcomers


class Levels:
    """A queue per level, level 0 first, each from the front; one is there once something was put into it."""

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self.queues: list[deque[Job | Newcomers]] = []
        self._pushed = 0
        for job in jobs:
            self.append(job)

    def __iter__(self) -> Iterator[Job]:
        for queue in self.queues:
            for item in queue:
                if isinstance(item, Job):
                    yield item
                else:
                    yield from item

    def first(self, number: int, veterans: bool = False) -> list[Job]:
        """The first so many jobs, or of those that ran."""
        found: list[Job] = []
        for queue in self.queues:
            for item in queue:
                if isinstance(item, Job):
                    found.append(item)
                elif not veterans:
                    found.extend(islice(item, number - len(found)))
                if len(found) >= number:
                    return found
        return found

    def behind(self, chosen: list[Job], places: int) -> Iterator[Job]:
        """Those that ran among the first so many without the ``chosen``, which are the first of all, or that ran."""
        running = {job for job in chosen if job.ran}
        new = len(chosen) - len(running)
        for queue in self.queues:
            for item in queue:
                if not isinstance(item, Job):
                    left = max(0, len(item.jobs) - new)
                    new -= len(item.jobs) - left
                    places -= left
                elif item not in running:
                    places -= 1
                    yield item
                if places <= 0:
                    return

    def append(self, job: Job) -> None:
        """A job goes to the end of its level."""
        self._join(self._queue(job.level), job)

    def push_front(self, job: Job) -> None:
        """A job goes to the front of its level."""
        queue = self._queue(job.level)
        if job.ran:
            self.put_back([job])
        elif queue and isinstance(queue[0], Newcomers):
            queue[0].push_front(job)
        else:
            queue.appendleft(Newcomers(job))

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Jobs that ran go to the front of their levels, one by one."""
        fronts: dict[int, list[Job]] = {}
        place = self._pushed
        for job in jobs:
            job.place = place = place + 1
            level = job.level
            if level in fronts:
                fronts[level].append(job)
            else:
                fronts[level] = [job]
        self._pushed = place
        for level, front in fronts.items():
            self._queue(level).extendleft(front)

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

    def take_veterans(self, number: int, turn: bool = True) -> None:
        """Takes the first ``number`` jobs that ran out. Those that never ran and stand before the next one that did are
        put aside one by one, and then to the front of their level, which turns them around; unless that is undone."""
        for queue in self.queues:
            aside: Newcomers | None = None
            while queue and (number or isinstance(queue[0], Newcomers)):
                first = queue.popleft()
                if isinstance(first, Job):
                    number -= 1
                elif turn:
                    first.turned = not first.turned
                    aside = first if aside is None else first.and_then(aside)
                else:
                    aside = first if aside is None else aside.and_then(first)
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
