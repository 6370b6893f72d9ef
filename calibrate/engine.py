"""The real engine: continuous batching on a device, driven by the simulator's own loop, schedulers and batches.

One loop, two drivers. `sim.engine.Engine` decides, accounts and tells the scheduler; here the batch that it started is
computed by a device, and the clock is a real one, so that arrivals come when they come. Output lengths are forced: a
request ends with its last token of the trace, whatever the model says. The result is a `RunResult` like any other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter, sleep
from typing import Any

from calibrate.session import Piece, Session, Step
from costmodel import BatchShape
from sim.batch import Batch
from sim.clock import Clock
from sim.engine import Engine
from sim.machine import Machine
from sim.predictor import Predictor, unknown
from sim.registry import scheduler as resolve
from sim.replica import Replica
from sim.request import Phase, Request
from sim.result import RunResult
from sim.router import RoundRobin
from sim.scheduler import Scheduler
from sim.server import Server
from sim.simulation import Progress, play, simulate
from traces import Trace


class WallClock(Clock):
    """A clock whose events happen when the time has come. `time` and `sleep` are a machine's, or a test's."""

    def __init__(self, time: Callable[[], float] = perf_counter, sleep: Callable[[float], None] = sleep) -> None:
        super().__init__()
        self._time = time
        self._sleep = sleep
        self._zero = time()

    def begin(self) -> None:
        """It is nought now."""
        self._zero = self._time()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning; ``now`` is the moment of the event that is being dealt with."""
        return self._time() - self._zero

    def step(self) -> None:
        """Waits for the next event and lets it happen; one that is due already happens at once, at its own time."""
        ahead = self.peek() - self.elapsed
        if 0 < ahead < float("inf"):
            self._sleep(ahead)
        super().step()


class StepMaker:
    """Turns batches into what a device is to do; remembers who computed last, to give up the caches of the finished."""

    def __init__(self) -> None:
        self._computing: list[Request] = []

    def step(self, server: Server, batch: Batch, computes: bool) -> Step:
        """Of a batch that has started, or (not `computes`) moves requests only."""
        released = [request.id for request in self._computing if request.phase is Phase.FINISHED]
        released += [request.id for request, swap in batch.preempted.items() if not swap]
        swapped_out = [request.id for request, swap in batch.preempted.items() if swap]
        computing = list(server.pool) if computes and server.decodes_now else []
        pieces = [Piece(request.id, request.kv_tokens, 1, True) for request in computing]
        pieces += [Piece(request.id, request.kv_tokens, tokens, False) for request, tokens in batch.prefills.items()]
        self._computing = [*computing, *batch.prefills]
        return Step(released, swapped_out, [request.id for request in batch.resumed], pieces)


class RealEngine(Engine):
    """The loop with a device in it. An iteration lasts from the end of the one before: deciding takes its time, too."""

    def __init__(self, clock: WallClock, server: Replica, session: Session) -> None:
        super().__init__(clock, [server], coast=False)
        self.session = session
        self.wall = clock
        self.device_seconds = 0.0
        """Of all iterations, what the session took; the rest is the loop's."""
        self._maker = StepMaker()

    def run(self, until: float | None = None) -> None:
        """Runs until all is done, or to the horizon; then the device holds nothing."""
        with _without_collector():
            self.wall.begin()
            try:
                super().run(until)
            finally:
                self.session.close()

    def _compute(self, server: Replica, batch: Batch, shape: BatchShape) -> float:
        step = self._maker.step(server, batch, computes=True)
        began = self.wall.elapsed
        self.session.run(step)
        ended = self.wall.elapsed
        self.device_seconds += ended - began
        return ended - self.wall.now

    def _move_only(self, server: Replica, batch: Batch, seconds: float, empty: int) -> int:
        if batch.changes:
            self.session.run(self._maker.step(server, batch, computes=False))
        return super()._move_only(server, batch, seconds, empty)


def serve(
    trace: Trace,
    scheduler: Scheduler | str,
    profile: Any,
    session: Session,
    *,
    kv_blocks: int | None = None,
    block_size: int | None = None,
    predictor: Predictor | None = None,
    seed: int = 0,
    horizon: float | None = None,
    warmup: float = 0.0,
    progress: Progress | None = None,
    clock: WallClock | None = None,
) -> RunResult:
    """Serves ``trace`` on the session's device in real time; arguments and errors as in `sim.simulation.simulate`.

    The profile is what policies are told of the machine; no time is taken from it. The device's cache must hold
    ``kv_blocks`` blocks. `about` tells the ``device`` and the ``device_seconds`` that it took in all.
    """
    machine = Machine.of(profile, kv_blocks, block_size)
    policy = resolve(scheduler)
    told: Predictor = getattr(policy, "predictor", unknown) if predictor is None else predictor
    engine = RealEngine(clock or WallClock(), Replica(0, policy, machine), session)
    result = play(trace, policy, engine, machine, told, seed, RoundRobin(), horizon, warmup, progress)
    return replace(
        result, about={**result.about, "device": repr(session.device), "device_seconds": engine.device_seconds}
    )


class Recording:
    """A watch that writes down what every simulated iteration would ask of a device."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._maker = StepMaker()

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        self.steps.append(self._maker.step(server, batch, computes=batch.tokens > 0))

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        """The next step gives the caches of the finished up."""


def record(trace: Trace, scheduler: Scheduler | str, profile: Any, **options: Any) -> tuple[RunResult, list[Step]]:
    """A simulation, and its steps for `calibrate.session.replay`: one for every row of its iterations."""
    recording = Recording()
    return simulate(trace, scheduler, profile, watch=recording, **options), recording.steps


@contextmanager
def _without_collector() -> Iterator[None]:
    """The garbage collector's pauses are none of the engine's."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
