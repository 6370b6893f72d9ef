"""A request as a multi-level feedback queue knows it, and those that never ran, kept together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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
