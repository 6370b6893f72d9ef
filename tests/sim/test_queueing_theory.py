"""A server of one request at a time is an M/G/1 queue: waits agree with Pollaczek and Khinchine, and with Lindley.

A batch of one, one-token prompts and one second per token make a request's service time its output length: constant
gives M/D/1, geometric in steps much shorter than the mean gives M/M/1, and a mixture gives M/G/1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pytest
from scipy.stats import t as student

from costmodel import BatchShape
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.simulation import simulate
from traces import Trace

REPLICATIONS, REQUESTS, WARMUP = 10, 2500, 250
SECONDS, MEAN = 0.001, 200


@dataclass(frozen=True)
class Clockwork:
    """Every iteration takes the same time."""

    seconds: float = SECONDS

    def iteration_time(self, shape: BatchShape) -> float:
        return self.seconds

    def decode_line(self, sequences: int) -> tuple[float, float]:
        return self.seconds, 0.0


def lengths(kind: str, random: np.random.Generator, number: int) -> np.ndarray:
    """Service times in tokens."""
    if kind == "constant":
        return np.full(number, MEAN)
    if kind == "exponential":
        return random.geometric(1 / MEAN, number)
    return random.choice([50, 800], number, p=[0.8, 0.2])


SECOND_MOMENTS = {"constant": MEAN**2, "exponential": 2 * MEAN**2, "mixture": 0.8 * 50**2 + 0.2 * 800**2}
"""Of the service time, in tokens."""


def pollaczek_khinchine(kind: str, utilization: float) -> float:
    """Mean wait in seconds: lambda E[S^2] / (2 (1 - rho))."""
    return utilization / MEAN * SECOND_MOMENTS[kind] * SECONDS / (2 * (1 - utilization))


def served(kind: str, utilization: float, seed: int, number: int = REQUESTS) -> tuple[Trace, np.ndarray]:
    """A trace and the wait of each request in it, seconds."""
    random = np.random.default_rng([seed, 7])
    tokens = lengths(kind, random, number)
    rate = utilization / (MEAN * SECONDS)
    arrivals = np.cumsum(random.exponential(1 / rate, number))
    trace = Trace.from_columns(arrivals, np.ones(number, np.int32), tokens)
    policy = VllmV1(max_num_seqs=1) if seed % 2 else Vllm(max_num_seqs=1)
    result = simulate(trace, policy, Clockwork(), kv_blocks=1000)
    return trace, result.requests["admitted_at"] - arrivals


@pytest.mark.parametrize("utilization", [0.3, 0.7])
@pytest.mark.parametrize("kind", SECOND_MOMENTS)
def test_mean_wait_is_pollaczek_khinchine(kind: str, utilization: float) -> None:
    """The 99.9 % t interval of independent replications holds the theory's mean, and is narrow enough to mean it."""
    means = np.array([served(kind, utilization, seed)[1][WARMUP:].mean() for seed in range(REPLICATIONS)])
    expected = pollaczek_khinchine(kind, utilization)
    half = student.ppf(0.9995, REPLICATIONS - 1) * means.std(ddof=1) / sqrt(REPLICATIONS)
    assert abs(means.mean() - expected) < half
    assert half < 0.3 * expected


def test_times_in_the_system_are_exponential() -> None:
    """M/M/1: time in the system has rate mu - lambda; its quantiles within the spread of the replications."""
    quantiles = [0.5, 0.9, 0.95]
    found = []
    for seed in range(REPLICATIONS):
        trace, waits = served("exponential", 0.5, seed)
        found.append(np.quantile((waits + trace.output_tokens * SECONDS)[WARMUP:], quantiles))
    expected = -np.log1p(-np.array(quantiles)) * MEAN * SECONDS / (1 - 0.5)
    half = student.ppf(0.9995, REPLICATIONS - 1) * np.std(found, axis=0, ddof=1) / sqrt(REPLICATIONS)
    assert (abs(np.mean(found, axis=0) - expected) < half + SECONDS).all()
    assert (half < 0.25 * expected).all()


def test_every_wait_is_lindley() -> None:
    """Request by request: wait + service - gap, or nothing."""
    trace, waits = served("mixture", 0.9, 3, 2000)
    service, expected = trace.output_tokens * SECONDS, [0.0]
    for gap, length in zip(np.diff(trace.arrived_at), service, strict=False):
        expected.append(max(0.0, expected[-1] + length - gap))
    assert waits == pytest.approx(expected, abs=1e-8)


def test_the_server_is_busy_as_often_as_offered() -> None:
    trace, _ = served("exponential", 0.6, 5)
    result = simulate(trace, Vllm(max_num_seqs=1), Clockwork(), kv_blocks=1000)
    busy = (result.iterations["end"] - result.iterations["start"]).sum()
    assert busy == pytest.approx(trace.output_tokens.sum() * SECONDS)
    assert busy / result.end == pytest.approx(0.6, rel=0.05)


@pytest.mark.parametrize("places", [2, 5])
def test_batches_are_processor_sharing_without_loss(places: int) -> None:
    """With room for ``places`` at once at no extra cost it is M/D/places: waits are Kiefer and Wolfowitz's."""
    random = np.random.default_rng(11)
    arrivals = np.floor(np.cumsum(random.exponential(0.2 / places / 0.9, 500)) / SECONDS) * SECONDS
    trace = Trace.from_columns(arrivals, np.ones(500, np.int32), np.full(500, 20))
    requests = simulate(trace, VllmV1(max_num_seqs=places), Clockwork(), kv_blocks=10_000).requests
    free = np.zeros(places)
    for arrived, admitted in zip(arrivals, requests["admitted_at"], strict=True):
        begins = max(arrived, free[0])
        assert begins - 1e-9 <= admitted <= begins + SECONDS + 1e-9, "iterations are not interrupted"
        free[0] = admitted + 20 * SECONDS
        free.sort()
