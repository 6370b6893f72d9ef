"""The completed requests of a run, be it what clients of a real server saw or a simulated result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sim.recorder import FINISHED, NOT_ARRIVED
from sim.result import RunResult
from sim.statistic import Sample
from sim.tokens import Floats, Integers


class Output(NamedTuple):
    """What a client saw of one request; seconds."""

    success: bool
    prompt_len: int
    output_tokens: int
    start_time: float
    """When the request was sent."""
    latency: float
    """From then to the last token."""
    ttft: float
    itl: Sequence[float] = ()
    """Gaps between tokens."""


@dataclass(frozen=True, eq=False)
class Served:
    """The completed requests of a run, however it was recorded: one row each, seconds."""

    failed: int
    duration: float
    input_lens: Integers
    output_lens: Integers
    started: Floats
    ttft: Floats
    latency: Floats
    itl: Sample
    token_times: Floats
    """Moments at which tokens came, any order."""
    token_numbers: Integers
    """How many came at each."""

    @property
    def tpot(self) -> Floats:
        """Mean gap of each request; nan for those of one token."""
        later = np.where(self.output_lens > 1, self.output_lens - 1.0, np.nan)
        return np.asarray((self.latency - self.ttft) / later)


def served(outputs: Sequence[Output], duration: float) -> Served:
    """Of what clients saw; `duration` is the benchmark's, in seconds."""
    done = [output for output in outputs if output.success]
    times = [np.cumsum([output.start_time + output.ttft, *output.itl]) for output in done]
    gaps = [np.asarray(output.itl, np.float64) for output in done]
    at = np.concatenate([np.empty(0), *times])
    return Served(
        len(outputs) - len(done),
        duration,
        np.array([output.prompt_len for output in done], np.int64),
        np.array([output.output_tokens for output in done], np.int64),
        np.array([output.start_time for output in done], np.float64),
        np.array([output.ttft for output in done], np.float64),
        np.array([output.latency for output in done], np.float64),
        Sample.of(np.concatenate([np.empty(0), *gaps])),
        at,
        np.ones(len(at), np.int64),
    )


def served_by(result: RunResult) -> Served:
    """Of a simulated run: requests are sent when they arrive; those that came and did not finish failed."""
    rows = result.requests
    done = np.asarray(rows["status"] == FINISHED)
    arrived = np.asarray(rows["arrived_at"], np.float64)[done]
    tokens = result.tokens.only(done)
    finished = np.asarray(rows["finished_at"], np.float64)[done]
    return Served(
        int((rows["status"] != NOT_ARRIVED).sum() - done.sum()),
        float(finished.max(initial=result.first_arrival) - result.first_arrival),
        np.asarray(rows["prompt_tokens"], np.int64)[done],
        np.asarray(rows["generated"], np.int64)[done],
        arrived,
        np.asarray(rows["first_token_at"], np.float64)[done] - arrived,
        finished - arrived,
        Sample.of(*tokens.pooled_gaps()),
        *tokens.moments(),
    )
