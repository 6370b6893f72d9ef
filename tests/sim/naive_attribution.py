"""Delays split by somebody who stands beside the server and looks at every request in every iteration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from costmodel import BatchShape, CostModel, prompt
from sim.attribution import CAUSES
from sim.batch import Batch
from sim.result import RunResult
from sim.server import Server


@dataclass
class Seen:
    """One iteration, as the bystander sees it."""

    start: float
    shape: BatchShape
    free: int
    decoding: dict[int, int]
    """Context of each decode, the token being written included."""
    in_pool: set[int]
    chunks: dict[int, tuple[int, int]]
    """Tokens computed, and those cached before."""
    need: dict[int, int]
    """Free blocks that each newcomer took."""
    evicted: dict[int, bool]
    end: float = float("nan")


@dataclass
class Bystander:
    """Keeps what it sees, server by server."""

    seen: dict[int, list[Seen]] = field(default_factory=dict)

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        decodes = list(server.pool) if server.decodes_now else []
        need = {r.id: 0 if r in batch.hosts else n + batch.watermark for r, n in batch.admitted.items()}
        self.seen.setdefault(server.number, []).append(
            Seen(
                server.now,
                shape,
                server.free_blocks,
                {request.id: request.kv_tokens + 1 for request in decodes},
                {request.id for request in server.pool},
                {request.id: (tokens, request.kv_tokens) for request, tokens in batch.prefills.items()},
                need,
                {request.id: swap for request, swap in batch.preempted.items()},
            )
        )

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        self.seen[server.number][-1].end = end


@dataclass
class Life:
    """One request's delays so far."""

    cost: CostModel
    first: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))
    later: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))
    gaps: list[tuple[float, float, dict[str, float]]] = field(default_factory=list)
    """Each later token: seconds since the one before, what it takes alone, and the causes of the rest."""

    def time(self, *shape: Any) -> float:
        return self.cost.iteration_time(BatchShape(*shape)) if shape[0] or shape[1] else 0.0

    def batch(self, seen: Seen) -> float:
        return self.time(*seen.shape[:5], 0)

    def whole(self, seen: Seen) -> float:
        return self.time(*seen.shape)

    def wait(self, iterations: list[Seen], number: int, arrived: float) -> int:
        """Until it is admitted; returns the iteration in which that is."""
        now = arrived
        last = next(at for at, seen in enumerate(iterations) if number in seen.need)
        for seen in iterations[:last]:
            if seen.end > now:
                self.first["queueing"] += max(seen.start - now, 0.0)
                now = max(now, seen.start)
                self.first["kv_wait" if seen.free < iterations[last].need[number] else "queueing"] += seen.end - now
                now = seen.end
        self.first["queueing"] += iterations[last].start - now
        return last

    def prefill(self, iterations: list[Seen], number: int, begin: int, tokens: int) -> int:
        """Until its first token; returns the iteration that gave it."""
        attempt = dict.fromkeys(CAUSES, 0.0)
        since = now = iterations[begin].start
        out = done = alone = 0.0
        lost = False
        for at in range(begin, len(iterations)):
            seen = iterations[at]
            if number in seen.evicted:
                if seen.evicted[number] and not out:
                    attempt["chunk_stall"] += seen.start - now
                    out, now = seen.start, seen.start
                lost = lost or not seen.evicted[number]
            if number in seen.chunks:
                if lost:
                    self.first["preemption"] += seen.start - since
                    attempt, since, done, alone, out = dict.fromkeys(CAUSES, 0.0), seen.start, 0, 0.0, 0.0
                    now, lost = seen.start, False
                attempt["preemption" if out else "chunk_stall"] += seen.start - now
                out, now = 0.0, seen.end
                size, cached = seen.chunks[number]
                p, d, _, a, n, _ = seen.shape
                own, prompts = self.time(size, 0, 0, size * (cached + size / 2), 1, 0), self.time(p, 0, 0, a, n - d, 0)
                attempt["prefill_interference"] += prompts - own
                attempt["batch_slowdown"] += self.batch(seen) - prompts
                attempt["preemption"] += self.whole(seen) - self.batch(seen)
                attempt["beyond_model"] += seen.end - seen.start - self.whole(seen)
                alone += own
                done += size
                if done == tokens:
                    attempt["chunking"] = alone - self.cost.iteration_time(prompt(tokens))
                    self.first = {name: self.first[name] + attempt[name] for name in CAUSES}
                    return at
        raise AssertionError("it has a first token, but no prefill")

    def decode(self, iterations: list[Seen], number: int, begin: int, tokens: int, outputs: int) -> None:
        """The other tokens."""
        last = now = iterations[begin].end
        parts = dict.fromkeys(CAUSES, 0.0)
        evicted, made = False, 1
        for seen in iterations[begin + 1 :]:
            if made == outputs:
                return
            evicted = evicted or number in seen.evicted
            parts["preemption" if evicted and number not in seen.evicted else "paused"] += seen.start - now
            now = seen.end
            copies, beyond = self.whole(seen) - self.batch(seen), seen.end - seen.start - self.whole(seen)
            alone = self.time(0, 1, tokens + made, 0.0, 1, 0)
            again = number in seen.chunks and sum(seen.chunks[number]) == tokens + made
            if number in seen.decoding:
                assert seen.decoding[number] == tokens + made
                decodes = self.time(0, seen.shape.decode_tokens, seen.shape.context_tokens, 0.0, len(seen.decoding), 0)
                parts["batch_slowdown"] += decodes - alone
                parts["prefill_interference"] += self.batch(seen) - decodes
                parts["preemption"] += copies
                parts["beyond_model"] += beyond
            elif evicted:
                parts["preemption"] += seen.end - seen.start - (alone if again else 0.0)
            elif number in seen.in_pool and not seen.decoding:
                parts["prefill_interference"] += self.batch(seen)
                parts["preemption"] += copies
                parts["beyond_model"] += beyond
            else:
                parts["paused"] += seen.end - seen.start
            if number in seen.decoding or again:
                self.gaps.append((now - last, alone, parts))
                self.later = {name: self.later[name] + parts[name] for name in CAUSES}
                last, parts, evicted = now, dict.fromkeys(CAUSES, 0.0), False
                made += 1


def split(result: RunResult, bystander: Bystander, cost: CostModel) -> list[Life | None]:
    """Every request that got a first token."""
    rows = result.requests
    return [
        _life(result, bystander, number, cost) if rows["generated"][number] else None for number in range(len(result))
    ]


def _life(result: RunResult, bystander: Bystander, number: int, cost: CostModel) -> Life:
    rows, life = result.requests, Life(cost)
    iterations = next(each for each in bystander.seen.values() if any(number in seen.need for seen in each))
    tokens = int(rows["prompt_tokens"][number])
    admitted = life.wait(iterations, number, float(rows["arrived_at"][number]))
    begun = life.prefill(iterations, number, admitted, tokens)
    life.decode(iterations, number, begun, tokens, int(rows["generated"][number]))
    return life


def matrix(parts: dict[str, float]) -> np.ndarray:
    """In the order of the causes."""
    return np.array([parts[name] for name in CAUSES])
