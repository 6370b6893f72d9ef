"""The scheduler protocol: who computes how many tokens next."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sim.request import Request

if TYPE_CHECKING:
    from sim.batch import Batch
    from sim.server import Server


class Scheduler:
    """Decides before every iteration which tokens the GPU computes next.

    Only ``schedule`` must be written. Write a policy as a frozen dataclass: its fields are its parameters, and its
    ``repr`` is stored with every result. ``schedule`` reads the server and must not change it. A policy that remembers
    keeps its memory in the object that ``bind`` returns, and changes it in ``arrived``, ``ended`` and
    ``repeated`` only.
    """

    release_delay: int = 0
    """A finished request's blocks come back when so many further batches have started, each after its decision; 0: at
    once. For engines that learn of a finish later than the GPU."""

    def schedule(self, server: Server) -> Batch:
        """The decision for the next iteration: {request: tokens}, made with the verbs of ``server.new_batch``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to schedule")

    def priority(self, request: Request) -> Any:
        """Key of the waiting queue, smallest first; ties go by arrival. Asked when a request begins to wait."""
        return request.arrived_at

    def deadline(self, request: Request) -> float:
        """When a waiting request is moved to ``server.waiting.overdue`` (seconds); never, by default."""
        return float("inf")

    def epoch(self, server: Server) -> Hashable:
        """The waiting queue is sorted anew whenever this changes; for priorities that use the server's history."""
        return None

    def bind(self, server: Server) -> Scheduler:
        """The policy for one server, called once before the first iteration; by default the policy itself."""
        return self

    def arrived(self, request: Request) -> None:
        """Told of every request that reaches the server, when it does."""

    def ended(self, server: Server, batch: Batch) -> None:
        """Told of every batch that was applied, when its iteration has ended and the finished have left; ``batch.memo``
        is what ``schedule`` put there. Not told of iterations that ``hold`` let the engine repeat unasked."""

    def repeated(self, server: Server, batch: Batch, ends: Sequence[float]) -> None:
        """Told of those instead, together, before it is asked or told of anything but arrivals; ``ends`` is when each
        ended, seconds. Whoever finished has left."""

    def notes(self) -> Mapping[str, Sequence[float]]:
        """A table that it wrote for itself while it decided, as columns of one length: the result's `notes`."""
        return {}

    @property
    def first_come_first_served(self) -> bool:
        """Whether the waiting queue is in order of arrival, which costs constant time."""
        kind = type(self)
        return kind.priority is Scheduler.priority and kind.deadline is Scheduler.deadline
