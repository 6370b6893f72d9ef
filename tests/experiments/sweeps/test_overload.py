"""Overload: what grows, and what real runs say far below and far above what a machine serves."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel import profile
from experiments.inputs import build, run
from experiments.settings import scenario_of
from experiments.sweeps.overload import growth, overloaded
from sim.simulation import simulate
from traces import SLO, Trace, TraceRow


def test_a_line_grows_and_noise_seldom_does() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0.0, 1.0, (1000, 16))
    covered = [growth(each + 2 * np.arange(16.0)) for each in noise]
    assert 0.93 <= np.mean([abs(rise.mean - 30) <= rise.half for rise in covered]) <= 0.97
    assert growth(np.arange(16.0)) == pytest.approx((15.0, 0.0), abs=1e-9)
    assert growth(np.full(16, 3.0)) == (0.0, 0.0)


@pytest.mark.parametrize("policy", ["vllm", "accelgen"])
def test_far_below_and_far_above_what_is_served(policy: str) -> None:
    """The paper's machine serves some 0.7 requests/s; a policy that favours newcomers hides nothing."""
    scenario = scenario_of(defaults={"trace": {"requests": 150, "rate": 1.0}, "policies": [policy]})
    said = {rate: overloaded(run(scenario, policy, build(scenario.at(rate)))) for rate in (0.1, 0.3, 4.0)}
    assert said == {0.1: False, 0.3: False, 4.0: True}


def test_of_few_requests_nothing_is_said() -> None:
    scenario = scenario_of(defaults={"trace": {"requests": 99, "rate": 50.0}, "policies": ["vllm"]})
    assert not overloaded(run(scenario, "vllm"))


def test_an_empty_system_that_fills_is_not_overloaded() -> None:
    """One request a second, each there for some 18 s: from then on as many leave as come."""
    trace = Trace.from_rows([TraceRow(float(second), 50, 600, SLO(), "") for second in range(100)])
    result = simulate(trace, "vllm", profile("opt-13b@a100-80gb-vllm"))
    assert 15 < result.summary()["mean_jct"] < 20
    assert not overloaded(result)
