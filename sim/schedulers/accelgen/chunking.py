"""How long a prompt's chunk is where it need not fill the batch (adaptive chunks, which the paper leaves open)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Literal

from costmodel import BatchShape
from sim.request import Request
from sim.schedulers.accelgen.budget import last_before
from sim.schedulers.accelgen.slack import deadline

if TYPE_CHECKING:
    from sim.schedulers.accelgen.decision import Decision

Chunking = Literal["fill", "time", "pace"]
LEAST = 64
"""Tokens below which a chunk is not cut for the sake of others: it would cost an iteration and bring nothing."""


def longest_chunk(decision: Decision, request: Request, room: int) -> int:
    """Tokens of at most ``room`` that the policy's ``chunking`` gives ``request`` now."""
    kind = decision.policy.chunking
    if kind == "fill" or room <= LEAST:
        return room
    return in_time(decision, request, room) if kind == "time" else paced(decision, request, room)


def in_time(decision: Decision, request: Request, room: int) -> int:
    """What the calibrated model says ends within the tightest SLO, this prompt's own context and the batch counted."""
    tightest = min(decision.tightest, decision.slo_of(request))
    if tightest == inf:
        return room
    batch, pool = decision.batch, decision.server.pool
    prompts = sum(batch.prefills.values())
    pairs = sum(tokens * (each.kv_tokens + tokens / 2) for each, tokens in batch.prefills.items())
    decodes, cached = batch.tokens - prompts, request.kv_tokens

    def late(tokens: int) -> bool:
        more = pairs + tokens * (cached + tokens / 2)
        sequences = decodes + len(batch.prefills) + 1
        shape = BatchShape(prompts + tokens, decodes, pool.context if decodes else 0, more, sequences)
        return decision.server.cost_model.iteration_time(shape) > tightest

    return max(LEAST, last_before(late, room, room + 1))


def paced(decision: Decision, request: Request, room: int) -> int:
    """What it must compute in each iteration to make its own deadline; all if it is late or has none."""
    left = deadline(request) - decision.slack.now
    if not 0 < left < inf:
        return room
    share = decision.slack.mean_iteration / left
    return max(LEAST, min(room, int(request.prefill_left * share) + 1))
