"""The one door into the simulator."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from simpy import Event

from costmodel import CostModel
from sim.clock import ARRIVAL, Clock
from sim.engine import Engine, Watch
from sim.predictor import Predictor, unknown
from sim.recorder import NOT_ARRIVED, UNFINISHED, REQUEST
from sim.registry import scheduler as resolve
from sim.request import Request
from sim.router import RoundRobin, Router
from sim.scheduler import Scheduler
from sim.server import Server
from sim.tables import iteration_table, rejections, request_table, span_table
from traces import Trace
from traces.errors import SlosimError
from traces.rng import stream
from traces.types import SLO

Progress = Callable[[int, int, float], None]
"""Called now and then with requests done, requests in all, and the simulated time (seconds)."""


def simulate(
    trace: Trace,
    scheduler: Scheduler | str,
    profile: Any,
    *,
    kv_blocks: int | None = None,
    block_size: int | None = None,
    predictor: Predictor = unknown,
    seed: int = 0,
    replicas: int = 1,
    router: Router | None = None,
    horizon: float | None = None,
    warmup: float = 0.0,
    charge_scheduling: bool = False,
    watch: Watch | None = None,
    progress: Progress | None = None,
    coast: bool = True,
    plain: bool = False,
) -> Any:
    """Serves ``trace`` with ``scheduler`` on a machine described by ``profile``; the same inputs give the same story.

    ``profile`` is a profile or a bare cost model (then ``kv_blocks`` must be given); ``horizon`` stops the clock
    (seconds); ``warmup`` is the share of requests left out of the metrics; ``predictor`` is what policies learn of output
    lengths, drawn with ``seed``; ``coast=False`` and ``plain=True`` are the slow, obvious ways to the same story.
    Raises ``SlosimError`` on inputs that make no sense and ``SchedulerError`` if the policy breaks the protocol.
    """
    machine = Machine.of(profile, kv_blocks, block_size)
    policy = resolve(scheduler)
    if horizon is not None and not horizon > 0:
        raise SlosimError(f"the horizon must be a positive number of seconds, not {horizon}")
    clock = Clock()
    servers = [machine.server(number, policy, plain) for number in range(replicas)]
    engine = Engine(clock, servers, watch, coast and not plain, charge_scheduling)
    arrivals = Arrivals(trace, predictor(trace.output_tokens, stream(seed, "predictor")), engine, router or RoundRobin(), progress)
    clock.process(arrivals.process())
    began, cpu = perf_counter(), process_time()
    engine.run(horizon)
    about = {
        "scheduler": repr(policy), "profile": machine.name, "profile_digest": machine.digest, "kv_blocks": machine.kv_blocks,
        "block_size": machine.block_size, "predictor": repr(predictor), "seed": seed, "replicas": replicas,
        "router": repr(arrivals.router), "horizon": horizon, "warmup": warmup, "trace": trace.name, "trace_digest": trace.digest,
        "wall_seconds": perf_counter() - began, "cpu_seconds": process_time() - cpu,
    }  # fmt: skip
    arrivals.close(clock.now)
    from types import SimpleNamespace

    it, places = iteration_table(servers)
    return SimpleNamespace(requests=request_table(trace, servers), iterations=it, spans=span_table(servers, places), about=about, rejections=rejections(servers))


@dataclass(frozen=True)
class Machine:
    """What a simulation needs to know of the hardware: a cost model, a cache, and facts for the metrics."""

    cost_model: CostModel
    kv_blocks: int
    block_size: int
    pivot: tuple[int, float] | None = None
    profile: Any = None

    @staticmethod
    def of(profile: Any, kv_blocks: int | None, block_size: int | None) -> Machine:
        """Of a profile, or of a bare cost model whose cache size is then given."""
        size = 16 if block_size is None else block_size
        if size < 1:
            raise SlosimError(f"block_size must be at least 1 token, not {size}")
        model = getattr(profile, "cost_model", profile)
        if not callable(getattr(model, "iteration_time", None)):
            raise SlosimError(f"{profile!r} is neither a profile nor a cost model: it has no iteration_time(shape)")
        if kv_blocks is None:
            if model is profile:
                raise SlosimError("a bare cost model does not say how large the cache is: give kv_blocks")
            kv_blocks = int(profile.kv_blocks(size))
        if kv_blocks < 1:
            raise SlosimError(f"kv_blocks must be at least 1, not {kv_blocks}")
        pivot = getattr(profile, "pivot", None)
        return Machine(model, kv_blocks, size, None if pivot is None else (pivot.forward_size, pivot.time), None if model is profile else profile)

    @property
    def name(self) -> str:
        return repr(self.cost_model) if self.profile is None else self.profile.name

    @property
    def digest(self) -> str:
        return "" if self.profile is None else self.profile.digest

    def server(self, number: int, policy: Scheduler, plain: bool) -> Server:
        """A replica of this machine."""
        return Server(number, policy, self.cost_model, self.kv_blocks, self.block_size, self.pivot, plain)


class Arrivals:
    """Brings the rows of a trace to the servers, each at its time."""

    CHUNK = 4096
    """Rows made into Python objects at a time, and how often progress is told."""

    def __init__(
        self, trace: Trace, predictions: NDArray[np.float64] | None, engine: Engine, router: Router, progress: Progress | None
    ) -> None:
        self.trace = trace
        self.predictions = predictions
        self.engine = engine
        self.router = router
        self.progress = progress
        self.arrived = 0

    def process(self) -> Generator[Event, None, None]:
        """The SimPy process."""
        clock, engine, servers = self.engine.clock, self.engine, self.engine.servers
        only = servers[0] if len(servers) == 1 else None
        for first in range(0, len(self.trace), self.CHUNK):
            for request in self.requests(first, first + self.CHUNK):
                if request.arrived_at > clock.now:
                    yield clock.at(request.arrived_at, ARRIVAL)
                self.arrived += 1
                server = only or self.router.route(request, servers)
                if why := self._never_fits(request, server):
                    server.recorder.reject(request, why)
                else:
                    engine.deliver(request, server)
            self._report()

    def requests(self, first: int, stop: int) -> list[Request]:
        """Rows [first, stop) as requests."""
        part = self.trace[first:stop]
        predictions = [None] * len(part) if self.predictions is None else self.predictions[first:stop].tolist()
        rows = zip(part, predictions, strict=True)
        return [
            Request(first + i, row.arrived_at, row.prompt_tokens, row.output_tokens, row.slo, row.application, predicted)
            for i, (row, predicted) in enumerate(rows)
        ]

    def _never_fits(self, request: Request, server: Server) -> str:
        """Why the cache can never hold a request, or nothing. Its last output token is never written to the cache."""
        need = server.blocks_for(request.prompt_tokens + request._output_tokens - 1)
        if need <= server.total_blocks:
            return ""
        return f"it needs {need} KV blocks of {server.block_size} tokens; the cache has {server.total_blocks}"

    def _report(self) -> None:
        if self.progress:
            done = sum(len(server.recorder.requests) // len(REQUEST) for server in self.engine.servers)
            self.progress(done, len(self.trace), self.engine.clock.now)

    def close(self, now: float) -> None:
        """Writes down what the horizon cut off."""
        for server in self.engine.servers:
            for request in server.everyone():
                if request in server.pool:
                    server.recorder.span(request, server.pool.steps)
                server.recorder.request(request, float("nan"), UNFINISHED)
        for request in self.requests(self.arrived, len(self.trace)):
            self.engine.servers[0].recorder.request(request, float("nan"), NOT_ARRIVED)
