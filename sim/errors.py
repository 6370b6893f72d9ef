"""What can go wrong in a simulation, in words."""

from __future__ import annotations

from traces.errors import SlosimError


class SchedulerError(SlosimError):
    """A policy broke the protocol, or would make the simulation hang."""


class UnknownScheduler(SlosimError):
    """No policy of that name."""
