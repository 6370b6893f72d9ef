"""Who yields the cache: the paper's choices, and those it leaves to future work (preemption by length and SLO)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sim.request import Request

if TYPE_CHECKING:
    from sim.schedulers.accelgen.slack import Slack

Victim = Literal["deferrable", "loosest", "longest", "largest", "newest"]
"""Who goes first: the largest remaining time (the paper's for the urgent); the loosest SLO of the next token; the most
output still to come by the prediction, so that who is nearly finished stays; the most cache; the newest (vLLM's)."""


def reluctance(slack: Slack, request: Request, victim: Victim) -> tuple[float, int]:
    """The key by which the victim is the greatest; ties go to the newest."""
    if victim == "deferrable":
        return slack.remaining(request), request.id
    if victim == "loosest":
        return slack.iteration_slo(request), request.id
    if victim == "longest":
        return slack.outputs_left(request) + request.prefill_left, request.id
    if victim == "largest":
        return request.blocks, request.id
    return 0.0, request.id
