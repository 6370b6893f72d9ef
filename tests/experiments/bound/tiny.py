"""Tiny workloads on tiny machines, in whole seconds."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from costmodel import BatchShape, Calibrated, CostModel, Equation4, ModelFacts, WholeEngine
from costmodel.whole_engine import DecodeLine, PromptLine, PromptTable
from sim.machine import Machine
from traces import SLO, Trace, TraceRow

INF = float("inf")
UNIT = ModelFacts("unit", layers=1, hidden=1, heads=1, kv_heads=1, ffn=0, vocabulary=1, parameters=1)
"""Eight operations for a token's matrices, four for a pair."""
MODELS: tuple[CostModel, ...] = (
    Calibrated(per_token=1.0, weight_time=2.0, per_decode=1.0, host_time=1.0),
    Calibrated(per_token=1.0, per_pair=2.0, per_context_token=1.0, host_time=2.0),
    Calibrated(per_token=1.0, per_decode=6.0, host_time=1.0),
    WholeEngine(PromptLine(2.0, 1.0), (DecodeLine(1, 3.0, 0.0, 1.0),)),
    WholeEngine(PromptLine(3.0, 2.0), (DecodeLine(1, 2.0, 1.0, 0.0), DecodeLine(2, 3.0, 1.0, 1.0)), 1.0),
    WholeEngine(PromptTable((1, 2, 4), (2.0, 3.0, 7.0)), (DecodeLine(1, 2.0, 0.0, 1.0), DecodeLine(2, 1.0, 0.0, 2.0))),
    Equation4(UNIT, 4.0, whole_forward=True),
)


class Tiny(NamedTuple):
    """A workload and what serves it."""

    rows: list[TraceRow]
    machine: Machine

    @property
    def trace(self) -> Trace:
        return Trace.from_rows(self.rows)


def tiny(seed: int, requests: int = 2) -> Tiny:
    """At random; every request fits the cache, alone at least."""
    random = Random(seed)
    model, size = random.choice(MODELS), random.choice((1, 2))
    longest = 3 if requests < 3 else 2
    lengths = [(random.randint(1, 3), random.randint(1, longest)) for _ in range(requests)]
    times = [0, *sorted(random.choice((0, random.randrange(12))) for _ in lengths[1:])]
    alone = int(model.iteration_time(BatchShape(2, 0, 0, 2.0, 1)))
    rows = [
        TraceRow(float(time), prompt, output, _objectives(random, alone, output))
        for time, (prompt, output) in zip(times, lengths, strict=True)
    ]
    need = max(-(-(prompt + output - 1) // size) for prompt, output in lengths)
    return Tiny(rows, Machine(model, need + random.choice((0, 0, 1, 3)), size))


def _objectives(random: Random, alone: int, output: int) -> SLO:
    if random.random() < 0.25:
        return SLO(jct=float(random.randint(alone, (output + 2) * alone)))
    ttft = random.choice((INF, float(random.randint(alone - 1, 3 * alone))))
    return SLO(ttft=ttft, tbt=random.choice((INF, INF, float(random.randint(alone - 2, 2 * alone)))))
