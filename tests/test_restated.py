"""The policies against a naive restatement of the real engines' rules, step for step, on random workloads."""

from __future__ import annotations

import random

import pytest

from costmodel import BatchShape
from sim.batch import Batch
from sim.scheduler import Scheduler
from sim.schedulers.orca import Orca
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from tests.sim.restated import A, B, C, Rule, Step, orca, sarathi, story, vllm_v0, vllm_v1
from traces import Trace

Rows = list[tuple[float, int, int]]


class Written:
    """Writes the steps down and is the clock of the restatement."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.seconds = 0.0

    def iteration_time(self, shape: BatchShape) -> float:
        return self.seconds

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        tokens = dict.fromkeys(server.pool, 1) if server.decodes_now else {}
        tokens |= batch.prefills
        context = sum(request.kv_tokens + new for request, new in tokens.items())
        self.seconds = A + B * sum(tokens.values()) + C * context
        victims = [request.id for request in batch.preempted]
        self.steps.append((server.now, {r.id: new for r, new in tokens.items()}, victims, server.free_blocks))

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        pass


def workload(chance: random.Random) -> Rows:
    """Random arrivals on a grid that floats hold exactly, and random lengths."""
    longest, at, rows = chance.choice([60, 400, 1500]), 0.0, []
    for _ in range(chance.randint(5, 50)):
        at += round(chance.expovariate(chance.choice([2, 20, 200])) * 2**20) / 2**20
        rows.append((at, chance.randint(1, longest), chance.randint(1, chance.choice([3, 60, 200]))))
    return rows


def pair(kind: str, chance: random.Random, longest: int) -> tuple[Scheduler, Rule]:
    """A policy and the restatement of the same settings, for requests of ``longest`` tokens at most."""
    sequences = chance.choice([2, 8, 64])
    if kind == "orca":
        return Orca(sequences, longest), orca(sequences, longest)
    if kind == "vllm-v1":
        budget, threshold, reserve = chance.choice([8, 64, 512]), chance.choice([0, 0, 7, 100]), chance.random() < 0.6
        v1 = VllmV1(budget, sequences, long_prefill_token_threshold=threshold, reserve_full_prompt=reserve)
        return v1, vllm_v1(budget, sequences, threshold, reserve)
    if kind == "vllm":
        budget = chance.choice([2_000, 10_000])
        return Vllm(budget, sequences), vllm_v0(budget, sequences)
    chunk = max(sequences, chance.choice([16, 64, 512]))
    return Sarathi(chunk, sequences), sarathi(chunk, sequences)


@pytest.mark.parametrize("kind", ["vllm-v1", "vllm", "sarathi", "orca"])
def test_every_step_is_the_restatements(kind: str) -> None:
    victims = 0
    for seed in range(40):
        chance = random.Random(f"{kind} {seed}")
        rows, size = workload(chance), chance.choice([1, 4, 16, 32])
        longest = max(prompt + output for _, prompt, output in rows)
        largest = -(-longest // size)
        total = int(largest * chance.choice([1.1, 1.5, 2, 4])) + 2 + largest // 10
        policy, rule = pair(kind, chance, longest)
        written = Written()
        simulate(Trace.from_rows(rows), policy, written, kv_blocks=total, block_size=size, watch=written)
        assert written.steps == story(rule, rows, total, size), f"{policy}, seed {seed}"
        victims += sum(len(step[2]) for step in written.steps)
    assert victims > 50 or kind == "orca"
