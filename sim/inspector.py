"""A scheduler that watches another one: every decision is asked for several times, recounted, and put into words."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.faults import rubbish
from sim.history import History
from sim.ledger import Ledger
from sim.recount import recount
from sim.request import Request
from sim.scheduler import Scheduler
from sim.server import Server

Picture = dict[str, object]
"""What can be seen, by name."""

VISIBLE = ("phase", "kv_tokens", "generated", "blocks", "prefill_left", "host_blocks", "_output_tokens")
REQUEST = (*(name for name in Request.__slots__ if not name.startswith("_")), *VISIBLE)
HISTORY = tuple(name for name in dir(History) if not name.startswith("__") and not callable(getattr(History, name)))
DECISION = tuple(
    name for name in Ledger.__slots__ if name not in ("server", "tokens_left", "blocks_left", "watermark", "memo")
)


@dataclass
class Progress:
    """How long ago anything came to an end."""

    patience: int
    gone: int = 0
    decisions: int = 0
    idle: int = 0

    def count(self, gone: int) -> bool:
        """One decision more, with so many requests gone by now; returns whether patience is at its end."""
        self.decisions += 1
        self.idle = self.idle + 1 if gone == self.gone else 0
        self.gone = gone
        return self.idle > self.patience


class Inspector(Scheduler):
    """Decides as ``policy`` does, and raises ``SchedulerError`` in words as soon as that breaks a rule."""

    def __init__(self, policy: Scheduler, progress: Progress) -> None:
        self.policy = policy
        self.progress = progress

    @property
    def inspected(self) -> Scheduler:
        """The policy whose faults are reported."""
        return self.policy

    def __repr__(self) -> str:
        return repr(self.policy)

    def bind(self, server: Server) -> Scheduler:
        return Inspector(self.policy.bind(server), self.progress)

    @property
    def first_come_first_served(self) -> bool:
        return self.policy.first_come_first_served

    def priority(self, request: Request) -> Any:
        return self._of(request, self.policy.priority)

    def deadline(self, request: Request) -> float:
        return float(self._of(request, self.policy.deadline))

    def epoch(self, server: Server) -> Hashable:
        return self.policy.epoch(server)

    @property
    def release_delay(self) -> int:  # type: ignore[override]
        return self.policy.release_delay

    def arrived(self, request: Request) -> None:
        self.policy.arrived(request)

    def ended(self, server: Server, batch: Batch) -> None:
        self.policy.ended(server, batch)

    def repeated(self, server: Server, batch: Batch, ends: Sequence[float]) -> None:
        self.policy.repeated(server, batch, ends)

    def schedule(self, server: Server) -> Batch:
        before = picture(server)
        batch = self._ask(server)
        if words := _unlike(before, picture(server)):
            raise SchedulerError(
                f"schedule changed the server: {words}. A policy reads the server and decides with the verbs of a batch"
            )
        self._ask_again(server, batch)
        for complaint in recount(batch, server):
            raise SchedulerError(complaint)
        self._still_alive(server, batch)
        return batch

    def _ask(self, server: Server) -> Batch:
        batch = self.policy.schedule(server)
        if wrong := rubbish(batch, server):
            raise SchedulerError(wrong)
        return batch

    def _ask_again(self, server: Server, batch: Batch) -> None:
        decision = decided(batch)
        if words := _unlike(decision, decided(self._ask(server))):
            raise SchedulerError(
                f"schedule is not deterministic: asked twice about the same server it decides differently: {words}. "
                "Seed what is random by what is seen, and keep no state"
            )
        with disguised(server.everyone()):
            other = decided(self._ask(server))
        if words := _unlike(decision, other):
            raise SchedulerError(
                "schedule looked at true output lengths: with other lengths, not yet visible, it decides differently: "
                f"{words}. Use request.predicted_output"
            )

    def _of(self, request: Request, ask: Callable[[Request], Any]) -> Any:
        answer, name = ask(request), ask.__name__
        if ask(request) != answer:
            raise SchedulerError(f"{name} is not deterministic: two answers for the same {request!r}")
        with disguised([request]):
            if ask(request) != answer:
                raise SchedulerError(f"{name} looked at the true output length of {request!r}: use predicted_output")
        return answer

    def _still_alive(self, server: Server, batch: Batch) -> None:
        oldest = server.first_unfinished
        stuck = self.progress.count(server.history.finished + len(server.recorder.rejections))
        passed = oldest is not None and self.progress.gone > oldest.id
        if not (batch.tokens or batch.changes or server.late_blocks):
            harm = "it starves for ever, though others that came later were served" if passed else "all hangs"
            raise SchedulerError(
                f"an empty batch although requests are there ({server.waiting.size} waiting, {server.running_count} "
                f"running, {len(server.swapped)} swapped; {server.free_blocks} blocks free). The oldest is {oldest!r}: "
                f"{harm}. Let something run, preempt, or reject"
            )
        if stuck:
            most = max(server.everyone(), key=lambda request: request.preemptions)
            raise SchedulerError(
                f"nobody finished in {self.progress.patience} decisions: requests starve for ever. The oldest is "
                f"{oldest!r}, the most often preempted {most!r} ({most.preemptions} times)"
            )


@contextmanager
def disguised(requests: list[Request]) -> Iterator[None]:
    """Gives requests other true output lengths for a while: all longer, in reverse order of length."""
    true = [request._output_tokens for request in requests]
    for request in requests:
        request._output_tokens = request.generated + 1_000_000 - request._output_tokens
    try:
        yield
    finally:
        for request, tokens in zip(requests, true, strict=True):
            request._output_tokens = tokens


def picture(server: Server) -> Picture:
    """All that can be seen of a server and its requests."""
    pool, history = server.pool, server.history
    seen: Picture = {name: getattr(server, name) for name in ("now", "free_blocks", "kv_tokens", "running_count")}
    seen |= {f"pool.{name}": getattr(pool, name) for name in ("steps", "size", "context", "blocks_needed")}
    seen |= {f"history.{name}": getattr(history, name) for name in HISTORY}
    for line in ("waiting", "prefilling", "decoding", "paused", "swapped"):
        seen[line] = [request.id for request in getattr(server, line)]
    seen["attributes of the server"] = sorted(vars(server))
    for request in server.everyone():
        seen |= {f"{name} of request {request.id}": getattr(request, name) for name in REQUEST}
    return seen


def decided(batch: Batch) -> Picture:
    """A decision as plain data; dictionaries of requests in their order."""
    return {name: _plain(getattr(batch, name)) for name in DECISION}


def _plain(value: Any) -> object:
    return [(request.id, what) for request, what in value.items()] if isinstance(value, dict) else value


def _unlike(one: Picture, other: Picture) -> str:
    """The first thing that differs, in words."""
    for name in [*one, *(other.keys() - one.keys())]:
        if one.get(name) != other.get(name):
            return f"{name} was {one.get(name)}, then {other.get(name)}"
    return ""
