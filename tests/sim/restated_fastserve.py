"""FastServe's rules restated on counts, naively, with lists of lists: written from its stated algorithms alone.

Nothing of the simulator is used. A step takes a + b x tokens + c x KV tokens + d x blocks swapped, powers of two, so
times are exact. ``Stuck`` says where the real engine would crash or wait for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

A, B, C, D = 2**-7, 2**-14, 2**-23, 2**-16
LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)


class Stuck(Exception):
    """The real engine crashes here, or goes nowhere."""


@dataclass(frozen=True)
class Rules:
    """The settings of a run."""

    policy: str = "sj-mlfq"
    sequences: int = 16
    tokens: int = 2048
    quantum: float = 0.01
    factor: int = 2
    threshold: float = 3.0
    period: int = 1000
    proactive: bool = True
    least: int = 0
    host: int = 5000
    total: int = 600
    size: int = 16


@dataclass(eq=False)
class Known:
    """A request, with its true output length."""

    name: Any
    at: float
    prompt: int
    output: int
    out: int = 0
    held: int = 0
    place: str = "none"
    level: int = 0
    process: float = 0.0
    stepped: float = 0.0

    @property
    def known(self) -> int:
        return self.prompt + self.out


@dataclass
class Step:
    """One step, as the recordings tell it."""

    start: float
    duration: float = 0.0
    batch: list[tuple[Any, int]] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    queues: list[int] = field(default_factory=list)
    preempted: list[Any] = field(default_factory=list)
    swapped_in: list[Any] = field(default_factory=list)
    swapped_out: list[Any] = field(default_factory=list)
    post_swapped_in: list[Any] = field(default_factory=list)
    post_swapped_out: list[Any] = field(default_factory=list)
    demoted: list[Any] = field(default_factory=list)
    promoted: list[Any] = field(default_factory=list)
    free_blocks: int = 0
    free_cpu_blocks: int = 0
    free_blocks_end: int = 0
    swap_n_blocks: int = 0
    waiting: int = 0


class Engine:
    """Block counts of both places, and the clock; the two kinds of scheduler are below."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.free = rules.total
        self.free_host = rules.host
        self.clock = 0.0
        self.step = Step(0.0)
        self.moved = 0
        self.before: list[Any] = []

    def blocks(self, tokens: int) -> int:
        return (tokens + self.rules.size - 1) // self.rules.size

    def swap_out(self, request: Known) -> None:
        if request.held > self.free_host:
            raise Stuck("the host is full")
        request.place = "host"
        self.free += request.held
        self.free_host -= request.held
        self.moved += request.held

    def swap_in(self, request: Known) -> None:
        request.place = "gpu"
        self.free -= request.held
        self.free_host += request.held
        self.moved += request.held
        if self.free < 0:
            raise Stuck("swapped in beyond the cache")

    def compute(self, batch: list[Known]) -> float:
        """Everybody gets the blocks and a token; returns how long it took."""
        ordered = [r for r in batch if r.out == 0] + [r for r in batch if r.out > 0]
        for request in ordered:
            more = self.blocks(request.known) - (request.held if request.place == "gpu" else 0)
            request.held += more
            request.place = "gpu"
            self.free -= more
        if self.free < 0:
            raise Stuck("the cache overflows")
        tokens = [(r.name, r.prompt if r.out == 0 else 1) for r in ordered]
        step = self.step
        step.batch, step.levels = tokens, [r.level for r in ordered]
        step.preempted = self.before + step.swapped_out
        step.free_blocks, step.free_cpu_blocks = self.free, self.free_host
        step.swap_n_blocks = self.moved
        context = sum(r.known for r in batch)
        seconds = A + B * sum(n for _, n in tokens) + C * context + D * self.moved
        step.duration = seconds
        self.moved = 0
        for request in batch:
            request.out += 1
        return seconds

    def leave(self, request: Known) -> None:
        self.free += request.held
        request.held = 0
        request.place = "none"


class Mlfq(Engine):
    """Queues as plain lists, the front first."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.queues: list[list[Known]] = []
        self.iteration = 0

    def queue(self, level: int) -> list[Known]:
        while len(self.queues) <= level:
            self.queues.append([])
        return self.queues[level]

    def push_front(self, request: Known) -> None:
        self.queue(request.level).insert(0, request)

    def quantum(self, level: int) -> float:
        return float(self.rules.quantum * pow(self.rules.factor, level))

    def prefill_time(self, tokens: int) -> float:
        times = [A + (B + C) * length for length in LENGTHS]
        if tokens <= LENGTHS[0]:
            return times[0]
        for n in range(1, len(LENGTHS)):
            if tokens <= LENGTHS[n]:
                share = (tokens - LENGTHS[n - 1]) / (LENGTHS[n] - LENGTHS[n - 1])
                return times[n - 1] + share * (times[n] - times[n - 1])
        return times[-1]

    def add(self, request: Known) -> None:
        if self.rules.policy == "sj-mlfq":
            while self.quantum(request.level) < self.prefill_time(request.prompt):
                request.level += 1
        self.queue(request.level).append(request)

    def best(self) -> list[Known] | None:
        return next((queue for queue in self.queues if queue), None)

    def fits(self, batch: list[Known], request: Known) -> bool:
        prompts = sum(r.prompt for r in batch if r.out == 0)
        cost = request.prompt if request.out == 0 else 1
        return prompts + cost <= self.rules.tokens and len(batch) < self.rules.sequences

    def next_batch(self) -> list[Known]:
        batch: list[Known] = []
        aside: list[Known] = []
        while (queue := self.best()) is not None:
            request = queue.pop(0)
            if request.out == 0 and self.free_host / self.rules.host < 0.1:
                aside.append(request)
            elif self.fits(batch, request):
                batch.append(request)
            else:
                queue.insert(0, request)
                break
        for request in aside:
            self.push_front(request)
        batch, back = self.reserve(batch, self.step.swapped_in, self.step.swapped_out)
        for request in reversed(back):
            self.push_front(request)
        self.iteration += 1
        if self.iteration % self.rules.period == 0:
            self.promote()
        self.step.queues = [len(queue) for queue in self.queues]
        self.step.waiting = sum(self.step.queues)
        return batch

    def promote(self) -> None:
        starved: list[Known] = []
        for queue in self.queues:
            late = [r for r in queue if self.clock - r.stepped >= self.rules.threshold]
            starved += late
            queue[:] = [r for r in queue if r not in late]
        self.step.promoted = sorted(r.name for r in starved if r.level)
        for request in starved:
            request.level = 0
            self.push_front(request)

    def reserve(self, pinned: list[Known], ins: list[Any], outs: list[Any]) -> tuple[list[Known], list[Known]]:
        rules = self.rules
        spare = max(rules.sequences, rules.least) if rules.proactive else 0
        need = sum(self.blocks(r.known) - (r.held if r.place == "gpu" else 0) for r in pinned)
        short = spare + need - self.free
        out_needed = short > 0
        pinned, back = list(pinned), []
        if out_needed:
            for request in [r for queue in reversed(self.queues) for r in reversed(queue)]:
                if short > 0 and request.place == "gpu":
                    short -= request.held
                    self.swap_out(request)
                    outs.append(request.name)
            while short > 0 and pinned:
                request = pinned.pop()
                back.append(request)
                short -= self.blocks(request.known)
                if request.place == "gpu":
                    self.swap_out(request)
                    outs.append(request.name)
            if short > 0:
                raise Stuck("there is not room for the spare blocks")
        for request in pinned:
            if request.place == "host":
                self.swap_in(request)
                ins.append(request.name)
        if not out_needed and rules.proactive:
            for request in [r for queue in self.queues for r in queue][: rules.sequences]:
                if request.place == "host" and self.free >= spare + need + request.held:
                    self.swap_in(request)
                    ins.append(request.name)
        return pinned, back

    def finish(self, batch: list[Known], start: float) -> None:
        demoted = set()
        for request in batch:
            request.stepped = self.clock
            request.process += self.clock - start
            if request.out >= request.output:
                continue
            if request.process > self.quantum(request.level):
                request.level += 1
                request.process = 0.0
                demoted.add(request.name)
            self.push_front(request)
        self.step.demoted = [name for name, _ in self.step.batch if name in demoted]
        for request in batch:
            if request.out >= request.output:
                self.leave(request)
        _, back = self.reserve([], self.step.post_swapped_in, self.step.post_swapped_out)
        assert not back

    @property
    def busy(self) -> bool:
        return any(self.queues)


class Fcfs(Engine):
    """A batch that persists; the swapped come before the new."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.batch: list[Known] = []
        self.swapped: list[Known] = []
        self.queue: list[Known] = []

    def add(self, request: Known) -> None:
        self.queue.append(request)

    def needed(self, batch: list[Known]) -> int:
        return sum(self.blocks(r.known) for r in batch)

    def next_batch(self) -> list[Known]:
        rules, batch = self.rules, self.batch
        while self.needed(batch) > rules.total:
            request = batch.pop()
            self.swapped.append(request)
            self.swap_out(request)
            self.step.swapped_out.append(request.name)
        while self.swapped or self.queue:
            line = self.swapped or self.queue
            request = line[0]
            inputs = sum(r.prompt if r.out == 0 else 1 for r in [*batch, request])
            if len(batch) >= rules.sequences or inputs > rules.tokens or self.needed([*batch, request]) > rules.total:
                break
            line.pop(0)
            batch.append(request)
            if request.place == "host":
                self.swap_in(request)
                self.step.swapped_in.append(request.name)
        self.step.waiting = len(self.queue)
        self.batch[:] = [r for r in batch if r.out == 0] + [r for r in batch if r.out > 0]
        return list(self.batch)

    def finish(self, batch: list[Known], start: float) -> None:
        for request in batch:
            if request.out >= request.output:
                self.leave(request)
        self.batch = [r for r in batch if r.out < r.output]

    @property
    def busy(self) -> bool:
        return bool(self.batch or self.swapped or self.queue)


def story(rules: Rules, rows: Iterable[tuple[Any, float, int, int]]) -> list[Step]:
    """All steps of a workload (name, arrival, prompt, output). Raises ``Stuck`` where the real engine would be."""
    engine = Fcfs(rules) if rules.policy == "fcfs" else Mlfq(rules)
    coming = [Known(*row) for row in rows]
    steps: list[Step] = []
    while coming or engine.busy:
        if not engine.busy:
            engine.clock = max(engine.clock, coming[0].at)
        while coming and coming[0].at <= engine.clock:
            engine.add(coming.pop(0))
        engine.step = Step(start := engine.clock)
        batch = engine.next_batch()
        if not batch:
            raise Stuck("nobody can run")
        engine.clock += engine.compute(batch)
        engine.finish(batch, start)
        engine.step.free_blocks_end = engine.free
        engine.before = engine.step.post_swapped_out
        steps.append(engine.step)
    return steps
