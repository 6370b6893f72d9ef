"""Asynchronous scheduling: a batch is decided while the one before it still runs.

vLLM schedules step k+1 when it launches step k (the default of its late versions), so a request that arrives during
step k joins step k+2 at the earliest. That is what is modelled here. What is not: a slot or block that step k frees is
also seen one step later, which costs each admission from a queue one iteration of its wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.batch import Batch
from sim.request import Request
from sim.scheduler import Scheduler
from sim.server import Server


@dataclass(frozen=True)
class Overlapped(Scheduler):
    """Another policy, blind to whoever came after the running iteration was launched. Simulate it without coasting."""

    policy: Scheduler

    def bind(self, server: Server) -> Scheduler:
        return _Blind(self.policy.bind(server), repr(self))

    def schedule(self, server: Server) -> Batch:
        return self.policy.schedule(server)


class _Blind(Scheduler):
    """The policy on one server; it remembers when it was last asked, which is when the last iteration was launched."""

    def __init__(self, policy: Scheduler, name: str) -> None:
        self.policy = policy
        self.name = name
        self.asked_at = float("-inf")

    def __repr__(self) -> str:
        return self.name

    def schedule(self, server: Server) -> Batch:
        batch = self.policy.schedule(_As(server, self.asked_at))  # type: ignore[arg-type]
        self.asked_at = server.now
        return batch if batch.tokens else self.policy.schedule(server)  # nothing ran: it was decided just now


class _Seen(list[Request]):
    """A waiting queue as policies read it."""

    @property
    def size(self) -> int:
        """How many wait."""
        return len(self)


class _As:
    """A server as it looked at an earlier moment: without the newcomers since."""

    def __init__(self, server: Server, moment: float) -> None:
        self._server = server
        self.waiting = _Seen(request for request in server.waiting if request.arrived_at <= moment)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)
