"""The engine: SimPy moves the clock, schedulers decide, the cost model says how long it takes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from time import perf_counter
from typing import Protocol

from simpy import Event

from costmodel import BatchShape
from sim.batch import Batch
from sim.clock import Clock
from sim.coast import can_coast, coast, cross, goes_on, next_end
from sim.errors import PolicyFault, SchedulerError
from sim.faults import defined, guarded, rubbish, title
from sim.recorder import Entry
from sim.replica import Replica
from sim.request import Request
from sim.server import Server

STUCK_AFTER = 10_000
"""Batches in a row that move requests but compute nothing, so that no time passes, count as a livelock."""


class Watch(Protocol):
    """Sees every iteration; none is then skipped over."""

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None: ...
    def finished(self, server: Server, batch: Batch, end: float) -> None: ...


class Engine:
    """Runs servers on one clock."""

    def __init__(
        self,
        clock: Clock,
        servers: Sequence[Replica],
        watch: Watch | None = None,
        coast: bool = True,
        charge_scheduling: bool = False,
    ) -> None:
        self.clock = clock
        self.servers = servers
        self.watch = watch
        self.coast = coast and watch is None and not charge_scheduling
        """Whether steady batches are repeated without asking the scheduler."""
        self.charge_scheduling = charge_scheduling
        """Whether the measured time of ``schedule`` passes on the simulated clock, too."""
        self.alone = len(servers) == 1
        """Whether no router looks at a server while it computes."""
        self._sleeping: dict[Replica, Event] = {}

    def run(self, until: float | None = None) -> None:
        """Runs until nothing happens any more, or to the horizon ``until`` (seconds)."""
        for server in self.servers:
            self.clock.process(guarded(server.policy, self.serve(server)))
        self.clock.run(until)
        if until is None:
            for server in self.servers:
                _refuse_stranded(server)

    def deliver(self, request: Request, server: Replica) -> None:
        """A request reaches a server, which wakes up if it slept."""
        server.arrive(request)
        sleeper = self._sleeping.pop(server, None)
        if sleeper is not None:
            sleeper.succeed()

    def serve(self, server: Replica) -> Generator[Event, None, None]:
        """One server's life: decide, compute, account; sleep when there is nothing to do."""
        clock = self.clock
        empty = 0
        while True:
            if server.idle:
                server.rest()
                yield self._sleep(server)
            batch, seconds = self._decide(server)
            decided_at, known = server.now, len(server.recorder.ends)
            if not batch.tokens:
                empty = self._move_only(server, batch, seconds, empty)
                if not empty:
                    yield self._sleep(server)
                continue
            empty = 0
            steady = self.coast and batch.steady and can_coast(server)
            fits = steady and self._skip(server, batch)
            again = fits or not steady or server.now == decided_at
            while again:
                if fits and self.alone:
                    waiting = server.waiting.size
                    yield clock.at(next_end(server))
                    again = cross(server, batch, waiting) and self._skip(server, batch)
                    continue
                known = _tell(server, batch, known)
                shape = server.start(batch)
                if self.watch:
                    self.watch.started(server, batch, shape)
                duration = self._compute(server, batch, shape) + (seconds if self.charge_scheduling else 0.0)
                end = clock.now + duration
                entry = server.entry(batch, shape, seconds)
                if end < clock.peek():
                    clock.advance(end)
                else:
                    yield clock.at(end)
                left = self._complete(server, batch, entry, end, duration)
                known += 1
                again = fits = steady and goes_on(server, left) and self._skip(server, batch)
            _tell(server, batch, known)

    def _sleep(self, server: Replica) -> Event:
        event = self.clock.event()
        self._sleeping[server] = event
        return event

    def _decide(self, server: Replica) -> tuple[Batch, float]:
        server.now = self.clock.now
        server.prepare()
        began = perf_counter()
        batch = server.scheduler.schedule(server)
        seconds = perf_counter() - began
        if wrong := rubbish(batch, server):
            raise PolicyFault(f"policy {title(server.policy)}: {wrong}{defined(server.scheduler)}")
        return batch, seconds

    def _compute(self, server: Replica, batch: Batch, shape: BatchShape) -> float:
        """Seconds that a batch takes which has started; an engine with a device computes it here."""
        return server.cost_model.iteration_time(shape)

    def _move_only(self, server: Replica, batch: Batch, seconds: float, empty: int) -> int:
        """Applies a batch that computes nothing, in no time; returns how many came in a row, 0 if nothing moved."""
        if not batch.changes:
            return empty + 1 if server.start_nothing() else 0
        shape = server.start(batch)
        if self.watch:
            self.watch.started(server, batch, shape)
        self._complete(server, batch, server.entry(batch, shape, seconds), self.clock.now, 0.0)
        if empty >= STUCK_AFTER:
            raise SchedulerError(
                f"{server.scheduler!r} moved requests {STUCK_AFTER} times in a row without computing a token, at "
                f"t = {server.now:.6f} s with {server.waiting.size} waiting and "
                f"{server.free_blocks} free blocks: a livelock{defined(server.scheduler)}"
            )
        return empty + 1

    def _complete(self, server: Replica, batch: Batch, entry: Entry, end: float, duration: float) -> int:
        recorder = server.recorder
        left = server.finish(batch, end, len(recorder.ends))
        recorder.ends.append(end)
        recorder.free_blocks.append(entry[-2])
        recorder.entries.extend(entry)
        recorder.entries[-2] = server.free_blocks
        history = server.history
        history.iterations += 1
        history.seconds += duration
        if duration > history.longest_iteration:
            history.longest_iteration = duration
        server.scheduler.ended(server, batch)
        if self.watch:
            self.watch.finished(server, batch, end)
        return left

    def _skip(self, server: Replica, batch: Batch) -> bool:
        """Passes the iterations in which nothing can happen; returns whether the next repeats ``batch``, too."""
        seen = server.shortest > batch.room and server.waiting.size > server.arrived
        if not server.pool.size or (server.arrived and not seen) or server.now >= batch.until:
            return False
        again = coast(server, batch, self.clock.peek())
        if server.now > self.clock.now:
            self.clock.advance(server.now)
        return again


def _tell(server: Replica, batch: Batch, known: int) -> int:
    """Tells the scheduler of the iterations that it was not asked about; returns how many there are in all."""
    ends = server.recorder.ends
    if len(ends) > known:
        server.scheduler.repeated(server, batch, ends[known:])
    return len(ends)


def _refuse_stranded(server: Replica) -> None:
    """A server that still has requests when nothing will ever happen is the policy's fault."""
    if not server.idle:
        raise SchedulerError(
            f"{server.scheduler!r} returned an empty batch at t = {server.now:.6f} s although requests are there and "
            f"nothing else will happen: {server.waiting.size} waiting, {server.running_count} running, "
            f"{len(server.swapped)} swapped, {server.free_blocks} of {server.total_blocks} blocks free. "
            f"The first: {server.first_unfinished!r}{defined(server.scheduler)}"
        )
