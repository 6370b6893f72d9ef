"""One request's life in stages, each with what it took alone and what delayed it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from costmodel import CostModel
from sim.attribution.alone import Alone
from sim.attribution.causes import CAUSES, KV_WAIT, PAUSED, PREEMPTION, QUEUEING, Parts
from sim.attribution.course import Course
from sim.attribution.events import Events
from sim.attribution.first import first_tokens
from sim.attribution.later import LaterTokens
from sim.result import RunResult


class Stage(NamedTuple):
    """Part of a request's life; `alone` and the causes add up to its length. Seconds since the request's arrival."""

    what: str
    """waits, prompt, decodes, paused or preempted; the last two end with the token that ends the pause."""
    begin: float
    end: float
    tokens: int
    """Output tokens that came in it."""
    alone: float
    causes: dict[str, float]
    """Seconds of each cause that is not nought."""


def life(result: RunResult, cost_model: CostModel, request: int) -> list[Stage]:
    """The stages of one request (a row of the trace), from its arrival to its last token; none if it got no token.

    Raises SlosimError if the result does not hold the events that it takes.
    """
    rows = result.requests
    arrived, admitted, first = (float(rows[name][request]) for name in ("arrived_at", "admitted_at", "first_token_at"))
    if np.isnan(first):
        return []
    course = Course.of(result, cost_model)
    alone = Alone(cost_model, int((rows["prompt_tokens"] + rows["generated"]).max()))
    events = Events.of(result, course)
    whole = alone.prompts(rows["prompt_tokens"])
    delays = first_tokens(result, course, alone, events, whole)[:, request]
    waiting = np.isin(np.arange(len(CAUSES)), (QUEUEING, KV_WAIT))
    stages = [
        Stage("waits", 0.0, admitted - arrived, 0, 0.0, _named(np.where(waiting, delays, 0.0))),
        Stage("prompt", admitted - arrived, first - arrived, 1, float(whole[request]), _named(delays * ~waiting)),
    ]
    within, seams = LaterTokens.of(result, course, alone, events).stretches()
    for stretch in (within, seams):
        for row in np.flatnonzero(stretch.request == request).tolist():
            begin, end = (float(moment[row]) - arrived for moment in (stretch.begin, stretch.end))
            parts = stretch.parts[:, row]
            what = "decodes" if stretch is within else "paused" if parts[PAUSED] > parts[PREEMPTION] else "preempted"
            stages.append(Stage(what, begin, end, int(stretch.tokens[row]), float(stretch.alone[row]), _named(parts)))
    return sorted(stages, key=lambda stage: (stage.begin, stage.end))


def _named(parts: Parts) -> dict[str, float]:
    return {name: seconds for name, seconds in zip(CAUSES, parts.tolist(), strict=True) if abs(seconds) > 1e-9}
