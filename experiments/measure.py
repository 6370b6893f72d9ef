"""How fast the simulator is: cases, each measured in CPU seconds beside SimPy's bare timeouts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from time import process_time
from typing import Any, NamedTuple

from simpy import Environment, Event

from costmodel import BatchShape, Profile, profile
from experiments.policy_cost import Cost, costs
from sim.batch import Batch
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from traces import SLO, Burst, Poisson, Trace, TraceRow, assign_slos, workload

POLICIES = ("vllm", "vllm-v1", "sarathi", "accelgen", "oracle")
PROFILE = "opt-13b@a100-80gb-vllm"
REFERENCE_BLOCKS, REFERENCE_SEQUENCES, REFERENCE_BUDGET = 7168, 128, 512
PROMISED = SLO(ttft=10.0, tbt=0.1875)
BATCHES = (16, 64, 256, 1024)
QUEUES = (1_000, 10_000, 100_000)
BACKLOGS = (250, 1_000, 4_000)


class Line(NamedTuple):
    """One measurement."""

    group: str
    name: str
    iterations_per_second: float
    """Per CPU second, like all rates here."""
    ratio: float
    """To SimPy's bare timeouts, measured right before and after."""
    requests_per_second: float
    iterations: int
    preemptions: int = 0


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    requests: int = 5_000
    timeouts: int = 200_000
    steps: int = 2_000
    queues: tuple[int, ...] = QUEUES
    batches: tuple[int, ...] = BATCHES
    backlogs: tuple[int, ...] = BACKLOGS
    rounds: int = 3
    million: int = 1_000_000
    points: int = 300
    rows: int = 1_000_000
    """Rows of the trace files whose reading is timed."""


QUICK = Scale(60, 2_000, 20, (50, 100), (4, 8), (16, 32, 64), 1, 200, 5, 500)


def bare_timeouts(number: int) -> float:
    """SimPy's timeouts per CPU second: one process that does nothing else."""
    environment = Environment()

    def wait() -> Iterator[Event]:
        for _ in range(number):
            yield environment.timeout(1.0)

    environment.process(wait())  # type: ignore[arg-type]
    began = process_time()
    environment.run()
    return number / max(process_time() - began, 1e-9)


class Enough(Exception):
    """Enough was measured."""


class Stopwatch:
    """Notes the CPU time at which some iterations end, and stops the run after the last of them."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.seen = first, last, 0
        self.seconds = 0.0

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        """An iteration begins; nothing to note."""

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        """An iteration ends."""
        self.seen += 1
        if self.seen == self.first:
            self.seconds = -process_time()
        elif self.seen == self.last:
            self.seconds += process_time()
            raise Enough


class Bench:
    """Takes measurements, all on one machine and at one scale."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.machine: Profile = profile(PROFILE)

    def groups(self) -> dict[str, Callable[[], Iterator[Line | Cost]]]:
        """What can be measured, by name."""
        return {
            "light": self.light,
            "heavy": self.heavy,
            "reference": self.reference,
            "batch": self.by_batch,
            "queue": self.by_queue,
            "backlog": self.backlog,
        }

    # -- whole runs -----------------------------------------------------------------------------------------------

    def capacity(self, blocks: int | None = None) -> float:
        """Requests per second that vllm serves when all come at once."""
        trace = workload("sharegpt", requests=min(2_000, self.scale.requests), arrivals=Burst())
        return len(trace) / simulate(trace, "vllm", self.machine, **self._cache(blocks)).end

    def paper_blocks(self) -> int:
        """The paper's cache, in blocks of 16."""
        return self.machine.kv_blocks(16, kvc_bytes=self.machine.paper["kvc_bytes"])

    def _cache(self, blocks: int | None) -> dict[str, Any]:
        """A cache of this many blocks of 16 tokens; None: as many as fit the GPU's memory."""
        return {"kv_blocks": blocks or self.machine.kv_blocks(16), "block_size": 16}

    def light(self) -> Iterator[Line]:
        """ShareGPT with SLOs at 60 % of capacity, in the paper's cache and in all of the GPU's memory."""
        for cache, blocks in (("12 GB", self.paper_blocks()), ("49 GB", None)):
            rate = 0.6 * self.capacity(blocks)
            trace = self._promised(workload("sharegpt", requests=self.scale.requests, rate=rate))
            for policy in POLICIES:
                yield self._whole("light", f"{policy}, {cache} cache", policy, trace, blocks)

    def heavy(self) -> Iterator[Line]:
        """ShareGPT with SLOs at 150 % of capacity, in the paper's small cache; and without SLOs."""
        bare = workload("sharegpt", requests=self.scale.requests, rate=1.5 * self.capacity())
        trace = self._promised(bare)
        for policy in POLICIES:
            yield self._whole("heavy", policy, policy, trace, self.paper_blocks())
        for policy in ("vllm-v1", "accelgen"):
            yield self._whole("heavy", f"{policy}, no SLOs", policy, bare, self.paper_blocks())

    def reference(self) -> Iterator[Line]:
        """The case that other simulators were measured on: 6 requests/s, and all at once."""
        budget, sequences = REFERENCE_BUDGET, REFERENCE_SEQUENCES
        policies: dict[str, Scheduler] = {
            "vllm": Vllm(max_num_seqs=sequences),
            "vllm-v1": VllmV1(max_num_batched_tokens=budget, max_num_seqs=sequences),
            "sarathi": Sarathi(chunk_size=budget, max_num_seqs=sequences),
        }
        for when, arrivals in (("6/s", Poisson(6.0)), ("burst", Burst())):
            trace = workload("sharegpt", requests=self.scale.requests, arrivals=arrivals)
            for name, policy in policies.items():
                yield self._whole("reference", f"{name}, {when}", policy, trace, REFERENCE_BLOCKS)

    def _promised(self, trace: Trace) -> Trace:
        return assign_slos(trace, self.machine.prefill_time)

    def _whole(
        self, group: str, name: str, policy: Scheduler | str, trace: Trace, kv_blocks: int | None = None
    ) -> Line:
        bare = bare_timeouts(self.scale.timeouts)
        began = process_time()
        result: RunResult = simulate(trace, policy, self.machine, **self._cache(kv_blocks))
        seconds = process_time() - began
        bare = (bare + bare_timeouts(self.scale.timeouts)) / 2
        number = len(result.iterations["end"])
        preemptions = int(result.requests["preemptions"].sum())
        return Line(group, name, number / seconds, number / seconds / bare, len(trace) / seconds, number, preemptions)

    # -- single iterations, none skipped ------------------------------------------------------------------------------

    def by_batch(self) -> Iterator[Line]:
        """An iteration that asks the scheduler, against the requests that run."""
        for policy in ("vllm", "vllm-v1", "sarathi", "accelgen"):
            for size in self.scale.batches:
                many = {"vllm": ",max_num_seqs=2048", "vllm-v1": ",max_num_seqs=2048", "accelgen": ",pivot=2048"}
                wide = policy + many.get(policy, f",max_num_seqs=2048,chunk_size={2 * size}")
                rows, blocks = [TraceRow(0.0, 20, 3 * self.scale.steps, PROMISED)] * size, self.scale.steps // 4
                yield self._steps("batch", f"{policy}, {size} running", wide, Trace.from_rows(rows), blocks * size)

    def by_queue(self) -> Iterator[Line]:
        """An iteration that asks the scheduler, against the requests that wait."""
        for policy in ("vllm", "vllm-v1", "sarathi"):
            for size in self.scale.queues:
                trace = workload("sharegpt", requests=size, arrivals=Burst())
                yield self._steps("queue", f"{policy}, {size:,} waiting", f"{policy},max_num_seqs=64", trace)

    def _steps(self, group: str, name: str, policy: str, trace: Trace, kv_blocks: int | None = None) -> Line:
        steps = self.scale.steps
        watch = Stopwatch(steps // 4, steps // 4 + steps)
        bare = bare_timeouts(self.scale.timeouts)
        with suppress(Enough):
            simulate(trace, policy, self.machine, watch=watch, **self._cache(kv_blocks))
        rate = steps / max(watch.seconds, 1e-9)
        return Line(group, name, rate, rate / bare, float("nan"), steps)

    # -- every policy, the machine overloaded -----------------------------------------------------------------------

    def backlog(self) -> Iterator[Cost]:
        """Every built-in policy with ever more requests waiting, beside Sarathi."""
        yield from costs(self.scale.backlogs, self.scale.rounds, bare_timeouts(self.scale.timeouts))


def million(requests: int) -> dict[str, float]:
    """So many ShareGPT requests through vllm, in a process of its own: CPU seconds and peak memory of all of it."""
    program = f"from experiments.measure import million_here; million_here({requests})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def million_here(requests: int) -> None:
    """Simulates and prints what it took, as JSON."""
    from resource import RUSAGE_SELF, getrusage

    machine = profile(PROFILE)
    trace = workload("sharegpt", requests=requests, rate=0.6 * Bench(Scale()).capacity())
    began = process_time()
    result = simulate(trace, "vllm", machine, kv_blocks=machine.kv_blocks(16), block_size=16)
    seconds, told = process_time() - began, result.summary()
    usage = getrusage(RUSAGE_SELF)
    figures = {
        "requests": requests,
        "iterations": len(result.iterations["end"]),
        "simulate_cpu_seconds": seconds,
        "process_cpu_seconds": process_time(),
        "peak_memory_bytes": usage.ru_maxrss * 1024.0,
        "token_throughput": told["token_throughput"],
    }
    print(json.dumps(figures))
