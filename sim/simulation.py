"""The one door into the simulator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import repeat
from math import inf
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simpy import Event

from sim.clock import ARRIVAL, Clock
from sim.engine import Engine, Watch
from sim.faults import blaming, guarded
from sim.limits import warn
from sim.machine import Machine
from sim.parameters import Count, Whole, sensible
from sim.predictor import Predictor, unknown
from sim.recorder import NOT_ARRIVED, REQUEST, UNFINISHED
from sim.registry import predictor as known_predictor
from sim.registry import router as known_router
from sim.registry import scheduler as resolve
from sim.replica import Replica
from sim.request import Request
from sim.result import RunResult
from sim.router import Router, routed
from sim.scheduler import Scheduler
from sim.tables import result_of
from traces import Trace
from traces.errors import SlosimError
from traces.rng import stream
from traces.types import SLO

REPORTS = 200
"""How often progress is told while requests arrive."""

Progress = Callable[[int, int, float], None]
"""Called now and then with requests done, requests in all, and the simulated time (seconds)."""


def simulate(
    trace: Trace,
    scheduler: Scheduler | str,
    profile: Any,
    *,
    kv_blocks: int | None = None,
    block_size: int | None = None,
    predictor: Predictor | None = None,
    seed: int = 0,
    replicas: int = 1,
    router: Router | str | None = None,
    max_model_len: int | None = None,
    horizon: float | None = None,
    warmup: float = 0.0,
    charge_scheduling: bool = False,
    watch: Watch | None = None,
    progress: Progress | None = None,
    coast: bool = True,
    plain: bool = False,
) -> RunResult:
    """Serves ``trace`` with ``scheduler`` on a machine described by ``profile``; the same inputs give the same story.

    ``profile`` is a profile, whose `Profile.cache` says what ``kv_blocks`` and ``block_size`` are unless given, or a
    bare cost model (then ``kv_blocks`` must be given); ``horizon`` stops the clock (seconds); ``warmup`` is the share
    of the arrivals' time left out of metrics; ``predictor`` is what policies learn of output lengths, drawn with
    ``seed``; ``router`` says which of the ``replicas`` serves a request (`sim.router`, a name or ``module:Class``);
    requests with more than ``max_model_len`` tokens, prompt and output, are rejected; ``coast=False`` and
    ``plain=True`` are slow, obvious ways to the same story.
    Warns (`LimitWarning`, kept in the result's `warnings`) of requests longer than the model's positions, of a cache
    that does not fit the GPU, and of iterations beyond what the profile was measured on.
    Raises ``SlosimError`` on inputs that make no sense and ``SchedulerError`` if the policy breaks the protocol.
    """
    machine = Machine.of(profile, kv_blocks, block_size)
    policy = resolve(scheduler)
    with blaming(policy):
        told: Predictor = getattr(policy, "predictor", unknown) if predictor is None else known_predictor(predictor)
    if horizon is not None and not horizon > 0:
        raise SlosimError(f"the horizon must be a positive number of seconds, not {horizon}")
    if not 0 <= warmup < 1:
        raise SlosimError(f"the warm-up must be a share of the arrivals' time, from 0 to less than 1, not {warmup}")
    if replicas < 1:
        raise SlosimError(f"there must be at least one replica, not {replicas}")
    sensible("replicas", replicas, Count), sensible("seed", seed, Whole)
    sensible("max_model_len", max_model_len, Count | None)
    way = known_router("round_robin" if router is None else router)
    clock = Clock()
    with blaming(policy):
        servers = [Replica(number, policy, machine, plain) for number in range(replicas)]
    engine = Engine(clock, servers, watch, coast and not plain, charge_scheduling)
    result = play(trace, policy, engine, machine, told, seed, way, horizon, warmup, progress, max_model_len)
    warn(result.about["cautions"])
    return result


def play(
    trace: Trace,
    policy: Scheduler,
    engine: Engine,
    machine: Machine,
    told: Predictor,
    seed: int,
    router: Router,
    horizon: float | None,
    warmup: float,
    progress: Progress | None,
    max_model_len: int | None = None,
) -> RunResult:
    """Serves a trace with an engine whose servers run ``policy``; all else as in ``simulate``."""
    clock, servers = engine.clock, engine.servers
    arrivals = Arrivals(trace, told(trace.output_tokens, stream(seed, "predictor")), engine, router, max_model_len)
    clock.process(guarded(policy, arrivals.process()))
    if progress:
        clock.process(arrivals.tell(progress))
    began, cpu = perf_counter(), process_time()
    engine.run(horizon)
    wall, cpu = perf_counter() - began, process_time() - cpu
    if progress:
        progress(arrivals.done(), len(trace), clock.now)
    arrivals.close()
    with blaming(policy):
        called = repr(policy)
    about = {
        "scheduler": called, "profile": machine.name, "profile_digest": machine.digest,
        "kv_blocks": machine.kv_blocks, "block_size": machine.block_size, "predictor": repr(told), "seed": seed,
        "replicas": len(servers), "router": repr(router), "max_model_len": max_model_len, "horizon": horizon,
        "warmup": warmup,
        "charge_scheduling": engine.charge_scheduling, "trace": trace.name, "trace_digest": trace.digest,
        "wall_seconds": wall, "cpu_seconds": cpu,
    }  # fmt: skip
    if trace.reading is not None:
        about["trace_reading"] = trace.reading.to_dict()
    with blaming(policy):
        return result_of(trace, servers, machine, about)


class Arrivals:
    """Brings the rows of a trace to the servers, each at its time."""

    CHUNK = 4096
    """Rows made into Python objects at a time."""

    def __init__(
        self,
        trace: Trace,
        predictions: NDArray[np.float64] | None,
        engine: Engine,
        router: Router,
        max_model_len: int | None = None,
    ) -> None:
        self.trace = trace
        self.predictions = predictions
        self.engine = engine
        self.router = router
        self.max_model_len = max_model_len
        self.arrived = 0

    def process(self) -> Generator[Event, None, None]:
        """The SimPy process."""
        clock, engine, replicas = self.engine.clock, self.engine, self.engine.servers
        only = replicas[0] if len(replicas) == 1 else None
        for first in range(0, len(self.trace), self.CHUNK):
            for request in self.requests(first, first + self.CHUNK):
                if request.arrived_at > clock.now:
                    yield clock.at(request.arrived_at, ARRIVAL)
                self.arrived += 1
                replica = only or replicas[routed(self.router, request, replicas)]
                if why := self._never_fits(request, replica):
                    replica.recorder.reject(request, why)
                else:
                    engine.deliver(request, replica)
            for replica in replicas:
                replica.recorder.compact()

    def requests(self, first: int, stop: int) -> list[Request]:
        """Rows [first, stop) as requests."""
        part = self.trace[first:stop]
        number = len(part)
        predictions = [None] * number if self.predictions is None else self.predictions[first:stop].tolist()
        objectives = (part.ttft, part.tbt, part.jct)
        slos: Iterable[SLO] = repeat(SLO(), number)
        if any(column is not None for column in objectives):
            slos = map(SLO, *([inf] * number if column is None else column.tolist() for column in objectives))
        return list(
            map(
                Request,
                range(first, first + number),
                part.arrived_at.tolist(),
                part.prompt_tokens.tolist(),
                part.output_tokens.tolist(),
                slos,
                part.application_labels().tolist(),
                predictions,
            )
        )

    def _never_fits(self, request: Request, replica: Replica) -> str:
        """Why a request can never be served, or nothing. Its last output token is never written to the cache."""
        tokens = request.prompt_tokens + request._output_tokens
        if self.max_model_len is not None and tokens > self.max_model_len:
            return f"its {tokens} tokens, prompt and output, exceed max_model_len = {self.max_model_len}"
        need = replica.blocks_for(request.prompt_tokens + request._output_tokens - 1)
        if need <= replica.total_blocks:
            return ""
        return f"it needs {need} KV blocks of {replica.block_size} tokens; the cache has {replica.total_blocks}"

    def tell(self, progress: Progress) -> Generator[Event, None, None]:
        """Another process: tells the progress as time passes, until nothing moves any more."""
        clock, total = self.engine.clock, len(self.trace)
        step = max(float(self.trace.arrived_at[-1]), 1.0) / REPORTS if total else 1.0
        iterations = -1
        while self.arrived < total or self._iterations() > iterations:
            iterations = self._iterations()
            yield clock.at(clock.now + step, ARRIVAL)
            progress(self.done(), total, clock.now)

    def done(self) -> int:
        """Requests that finished or were rejected."""
        return sum(len(replica.recorder.requests) // len(REQUEST) for replica in self.engine.servers)

    def _iterations(self) -> int:
        return sum(len(replica.recorder.ends) for replica in self.engine.servers)

    def close(self) -> None:
        """Writes down what the horizon cut off."""
        for server in self.engine.servers:
            for request in server.everyone():
                if request in server.pool:
                    server.recorder.span(request, server.pool.steps)
                server.recorder.request(request, float("nan"), UNFINISHED)
        for request in self.requests(self.arrived, len(self.trace)):
            self.engine.servers[0].recorder.request(request, float("nan"), NOT_ARRIVED)
