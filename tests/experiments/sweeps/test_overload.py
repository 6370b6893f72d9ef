"""Overload: what grows, and what real runs say far below and far above what a machine serves."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.inputs import build, run
from experiments.settings import scenario_of
from experiments.sweeps.overload import grows, overloaded


def test_a_line_grows_and_noise_seldom_does() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0.0, 1.0, (1000, 16))
    assert 0.01 <= np.mean([grows(each) for each in noise]) <= 0.05, "half of the 5 % of a two-sided interval"
    assert all(grows(each) for each in noise + np.arange(16.0))
    assert not any(grows(each) for each in noise - np.arange(16.0))
    assert not grows(np.full(16, 3.0))


@pytest.mark.parametrize("policy", ["vllm", "accelgen"])
def test_far_below_and_far_above_what_is_served(policy: str) -> None:
    """The paper's machine serves some 0.7 requests/s; a policy that favours newcomers hides nothing."""
    scenario = scenario_of(defaults={"trace": {"requests": 150, "rate": 1.0}, "policies": [policy]})
    said = {rate: overloaded(run(scenario, policy, build(scenario.at(rate)))) for rate in (0.1, 0.3, 4.0)}
    assert said == {0.1: False, 0.3: False, 4.0: True}


def test_of_few_requests_nothing_is_said() -> None:
    scenario = scenario_of(defaults={"trace": {"requests": 99, "rate": 50.0}, "policies": ["vllm"]})
    assert not overloaded(run(scenario, "vllm"))
