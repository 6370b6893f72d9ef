"""The cost of policies with a backlog: what is divided by what, shown with policies whose work is known."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import pytest

from experiments import policy_cost
from experiments.inputs import Inputs
from experiments.policy_cost import MODES, Stretch, cost, costs, growth, overloaded, stretches, verdict
from sim.batch import Batch
from sim.registry import BUILT_IN
from sim.schedulers.sarathi import Sarathi
from sim.server import Server

BACKLOGS = (40, 160, 640)


class Clock:
    """CPU time that only the policies below spend."""

    now = 0.0


@dataclass(frozen=True)
class Working(Sarathi):
    """Sarathi, but each decision takes so many seconds as requests wait, to some power."""

    power: int = 0

    def schedule(self, server: Server) -> Batch:
        Clock.now += server.waiting.size**self.power
        return super().schedule(server)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return overloaded(max(BACKLOGS))


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_cost, "process_time", lambda: Clock.now)


def test_the_workload_is_the_main_job_s(inputs: Inputs) -> None:
    assert (inputs.kv_blocks, inputs.block_size, inputs.profile.name) == (457, 32, "opt-13b@a100-80gb-vllm")
    assert len(inputs.trace) / inputs.trace.arrived_at[-1] == pytest.approx(8.0, rel=0.1)
    assert inputs.trace.ttft is not None
    assert np.isfinite(inputs.trace.ttft).all()


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_cost_is_that_of_the_backlog_it_is_named_after(inputs: Inputs, power: int) -> None:
    found = [stretch.each for stretch in stretches(inputs, Working(power=power), False, BACKLOGS)]
    for each, backlog in zip(found, BACKLOGS, strict=True):
        assert (backlog / 1.25) ** power <= 1.02 * each
        assert each <= 1.02 * (1.25 * backlog) ** power
    grown = growth(BACKLOGS, found)
    assert grown == pytest.approx(power, abs=0.05)
    assert (verdict(1.0, grown) == "PASS") == (power < 2)


@pytest.mark.usefixtures("_clock")
def test_iterations_that_are_not_asked_for_count_as_iterations(inputs: Inputs) -> None:
    asked, coasted = (stretches(inputs, Working(), coast, BACKLOGS) for coast in (False, True))
    assert [each.iterations for each in asked] == [each.iterations for each in coasted]
    assert all(few.seconds < many.seconds / 3 for few, many in zip(coasted, asked, strict=True))


def test_a_stretch_lies_between_two_marks() -> None:
    waiting, iterations = np.array([0, 7, 8, 12, 13, 9, 20]), np.array([0, 5, 9, 20, 29, 40, 50])
    cpu = np.array([0.0, 1.0, 2.0, 3.5, 4.0, 9.0, 9.5])
    assert policy_cost._stretch(cpu, iterations, waiting, 10) == Stretch(2.0, 20)
    assert policy_cost._stretch(cpu, iterations, waiting, 17).iterations == 0
    assert np.isnan(policy_cost._stretch(cpu, iterations, waiting, 17).each)


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [[Stretch(1.0, 10), Stretch(6.0, 10)], [Stretch(1.0, 10), Stretch(40.0, 10)], [Stretch(2.0, 10)] * 2]
    sarathi = [[Stretch(1.0, 10), Stretch(3.0, 10)], [Stretch(1.0, 10), Stretch(10.0, 10)], [Stretch(2.0, 10)] * 2]
    found = cost("mine", (100, 400), rounds, sarathi, bare=5.0)
    assert (found.lowest, found.times_sarathi, found.highest) == (1.0, 2.0, 4.0)
    assert found.microseconds == pytest.approx({100: 1e5, 400: 6e5})
    assert found.iterations == 30
    assert found.ratio == pytest.approx(1 / 0.6 / 5)
    assert found.growth == pytest.approx(np.log(6) / np.log(4))
    assert found.verdict == "over: grows as n^1.3"


def test_verdicts() -> None:
    assert verdict(3.0, 1.04) == "PASS"
    assert verdict(1.0, 1.06) == "over: grows as n^1.1"
    assert verdict(3.1, 0.2) == "over: 3.1x"
    assert verdict(7.0, 1.5) == "over: 7.0x, grows as n^1.5"
    assert verdict(1.0, growth((1, 2, 4), (1.0, nan, 2.0))) == "over: so many never waited"


def test_every_built_in_policy_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "later", BUILT_IN["sarathi"])
    found = list(costs((16, 32, 64), 1, 1e6))
    assert [each.name for each in found] == [f"{name}, {mode}" for mode in MODES for name in BUILT_IN]
    for each in found:
        assert each.name.split(",")[0] != "sarathi" or each.times_sarathi == 1.0
        assert each.iterations > 0
