"""The real engines' rules restated on counts, naively, request by request: written from their stated algorithms alone.

Nothing of the simulator is used. A step takes a + b x tokens + c x KV tokens, powers of two, so times are exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

A, B, C = 2**-7, 2**-14, 2**-23
Step = tuple[float, dict[int, int], list[int], int]
"""Start, tokens by request, preempted requests, blocks free while it runs."""


@dataclass(eq=False)
class Known:
    """A request, with its true output length."""

    id: int
    at: float
    prompt: int
    output: int
    out: int = 0
    computed: int = 0
    held: int = 0
    restarted: int = 0
    """Output tokens that became part of the prompt when it was last preempted."""

    @property
    def rest(self) -> int:
        """What is left of its prompt."""
        return max(0, self.prompt + self.restarted - self.computed)

    @property
    def known(self) -> int:
        return self.prompt + self.out


@dataclass
class Machine:
    """Queue, running list and free blocks of an engine."""

    total: int
    size: int
    free: int = 0
    clock: float = 0.0
    waiting: deque[Known] = field(default_factory=deque)
    running: list[Known] = field(default_factory=list)
    preempted: list[Known] = field(default_factory=list)

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.size)

    def grow(self, request: Known, tokens: int) -> None:
        more = max(0, self.blocks(tokens) - request.held)
        request.held += more
        self.free -= more

    def drop(self, request: Known) -> None:
        self.free += request.held
        request.held = 0
        self.preempted.append(request)


Rule = Callable[[Machine], list[tuple[Known, int]]]


def story(rule: Rule, rows: Iterable[tuple[float, int, int]], total: int, size: int) -> list[Step]:
    """All steps of a workload (arrival, prompt, output); every request must fit."""
    machine = Machine(total, size, total)
    coming = deque(Known(number, *row) for number, row in enumerate(rows))
    steps: list[Step] = []
    while coming or machine.waiting or machine.running:
        if not machine.waiting and not machine.running:
            machine.clock = max(machine.clock, coming[0].at)
        while coming and coming[0].at <= machine.clock:
            machine.waiting.append(coming.popleft())
        machine.preempted = []
        batch = rule(machine)
        steps.append((machine.clock, {r.id: n for r, n in batch}, [r.id for r in machine.preempted], machine.free))
        _compute(machine, batch)
    return steps


def _compute(machine: Machine, batch: list[tuple[Known, int]]) -> None:
    context = sum(request.computed + tokens for request, tokens in batch)
    machine.clock += A + B * sum(tokens for _, tokens in batch) + C * context if batch else 0.0
    for request, tokens in batch:
        request.computed += tokens
        if request.computed >= request.known:
            request.out += 1
            if request.out == request.output:
                machine.free += request.held
                machine.running.remove(request)


def vllm_v1(budget: int, sequences: int, threshold: int, reserve: bool) -> Rule:
    """vLLM V1: the running in order, the newest yields; then admissions, unless somebody was preempted."""

    def rule(machine: Machine) -> list[tuple[Known, int]]:
        batch, left, place = [], budget, 0
        most = threshold if threshold and len(machine.running) + len(machine.waiting) > 1 else 1 << 60
        while place < len(machine.running) and left:
            request = machine.running[place]
            tokens = min(request.known - request.computed, most, left)
            while machine.blocks(request.computed + tokens) - request.held > machine.free:
                victim = machine.running.pop()
                machine.drop(victim)
                victim.computed = 0
                machine.waiting.appendleft(victim)
                if victim is request:
                    return batch
            machine.grow(request, request.computed + tokens)
            batch.append((request, tokens))
            left, place = left - tokens, place + 1
        while not machine.preempted and machine.waiting and left and len(machine.running) < sequences:
            request = machine.waiting[0]
            tokens = min(request.known, most, left)
            if machine.blocks(request.known if reserve else tokens) > machine.free:
                break
            machine.waiting.popleft()
            machine.grow(request, tokens)
            machine.running.append(request)
            batch.append((request, tokens))
            left -= tokens
        return batch

    return rule


def _decode_each(machine: Machine, queue: deque[Known]) -> list[Known]:
    """Whoever gets a token, oldest first; each asks for a free block, and the newest not yet visited yields it."""
    served = []
    while queue:
        request = queue.popleft()
        while machine.free < 1 and request not in machine.preempted:
            machine.drop(queue.pop() if queue else request)
        if request not in machine.preempted:
            machine.grow(request, request.known)
            served.append(request)
    return served


def vllm_v0(budget: int, sequences: int) -> Rule:
    """vLLM V0: whole prompts first, in steps of their own."""

    def rule(machine: Machine) -> list[tuple[Known, int]]:
        batch: list[tuple[Known, int]] = []
        while machine.waiting and len(machine.running) < sequences:
            request = machine.waiting[0]
            room = machine.free - machine.blocks(request.known) >= machine.total // 100
            if not room or sum(tokens for _, tokens in batch) + request.known > budget:
                break
            machine.waiting.popleft()
            machine.grow(request, request.known)
            machine.running.append(request)
            batch.append((request, request.known))
        if batch:
            return batch
        machine.running = _decode_each(machine, deque(machine.running))
        for victim in machine.preempted:
            victim.computed = 0
        machine.waiting.extendleft(machine.preempted)
        return [(request, 1) for request in machine.running]

    return rule


def sarathi(chunk: int, sequences: int) -> Rule:
    """Sarathi-Serve: decodes, started prompts, then newcomers, even in a step that preempted, with the old rest."""

    def rule(machine: Machine) -> list[tuple[Known, int]]:
        left, batch, started, decodes = chunk, [], [], []
        queue = deque(machine.running)
        while queue:
            request = queue.popleft()
            if request.rest:
                started.append(request)
                continue
            while machine.free < 1 and request not in machine.preempted:
                machine.drop(queue.pop() if queue else request)
                machine.waiting.appendleft(machine.preempted[-1])
            if request not in machine.preempted:
                machine.grow(request, request.known)
                decodes.append(request)
        batch += [(request, 1) for request in decodes]
        left -= len(decodes)
        for request in started:
            tokens = min(request.rest, left)
            batch += [(request, tokens)] if tokens else []
            left -= tokens
        running = decodes + started
        while machine.waiting and len(running) < sequences:
            request = machine.waiting[0]
            tokens = min(request.rest, left)
            if machine.free - machine.blocks(request.known) < machine.total // 100 or not tokens:
                break
            machine.waiting.popleft()
            machine.grow(request, request.known)
            running.append(request)
            batch.append((request, tokens))
            left -= tokens
        for victim in machine.preempted:
            victim.computed, victim.restarted = 0, victim.out
        machine.running = running
        return batch

    return rule


def orca(sequences: int, length: int) -> Rule:
    """ORCA in Sarathi-Serve: everybody who runs, and whole prompts, each with room for ``length`` tokens."""

    def rule(machine: Machine) -> list[tuple[Known, int]]:
        batch = [(request, 1) for request in machine.running]
        while machine.waiting and len(machine.running) < sequences and machine.blocks(length) <= machine.free:
            request = machine.waiting.popleft()
            machine.grow(request, length)
            machine.running.append(request)
            batch.append((request, request.prompt))
        return batch

    return rule
