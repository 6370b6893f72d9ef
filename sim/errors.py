"""What can go wrong in a simulation, in words."""

from __future__ import annotations

from traces.errors import SlosimError


class SchedulerError(SlosimError):
    """A policy broke the protocol, or would make the simulation hang."""


class PolicyFault(SchedulerError):
    """The code of a policy raised, ended the program, took too long, or returned no decision."""


class UnknownScheduler(SlosimError):
    """No policy of that name."""
