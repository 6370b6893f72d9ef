"""Fidelity end to end: on a make-believe device, where every error is known, and on a tiny real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from calibrate.engine import WallClock
from calibrate.session import Session
from costmodel import Calibrated, ModelFacts, Profile
from experiments.cli import main
from experiments.fidelity.calibrating import Effort, calibrate
from experiments.fidelity.judging import METRICS, Beside, Case, iteration_errors, pairs
from experiments.fidelity.report import text, write_report
from experiments.fidelity.rig import OptRig, ProcessorTime
from experiments.fidelity.running import Fidelity
from experiments.scenario import Scenario
from sim.clock import ITERATION_END
from tests.calibrate.test_engine import Hands, MakeBelieve
from traces import Trace

MACHINE = Calibrated(
    per_token=2e-4, weight_time=4e-3, sharpness=1.8, per_pair=2e-7, per_context_token=2e-6, per_decode=1e-4,
    host_time=0.0, per_swapped_token=1e-5,
)  # fmt: skip
FACTS = ModelFacts("make-believe", 2, 64, 4, 4, 256, 1009, 500_000)
LITTLE = Effort(crowds=(1, 4, 12), chunks=(32, 128), output=10, passes=1, requests=20, resamples=2)
SCENARIO = Scenario(
    trace={"source": "sharegpt", "max_prompt_tokens": 200},
    policies=["vllm", "sarathi,chunk_size=64"],
    cache={"kv_blocks": 600, "block_size": 4},
)


class Loaded(WallClock):
    """A clock on which the end of an iteration takes time, as what a loop does then would."""

    def __init__(self, hands: Hands, seconds: float) -> None:
        super().__init__(hands.time, hands.sleep)
        self.hands, self.seconds = hands, seconds

    def advance(self, time: float) -> None:
        self.hands.seconds += self.seconds
        super().advance(time)

    def at(self, time: float, priority: int = ITERATION_END, then: Any = None) -> Any:
        self.hands.seconds += self.seconds * (priority == ITERATION_END)
        return super().at(time, priority, then)


@dataclass
class MakeBelieveRig:
    """A machine whose time is known; it may turn slower, and its host may take time of its own."""

    slower: float = 1.0
    host: float = 0.0
    facts: ModelFacts = FACTS
    hands: Hands = field(default_factory=Hands)

    def iteration_time(self, shape: Any) -> float:
        return self.slower * MACHINE.iteration_time(shape)

    per_swapped_token = MACHINE.per_swapped_token

    def clock(self) -> WallClock:
        return Loaded(self.hands, self.host)

    def session(self, prompts: Mapping[int, Sequence[int]]) -> Session:
        return Session(MakeBelieve(self.hands, 600, self), prompts)  # type: ignore[arg-type]

    def seconds(self) -> float:
        return self.hands.seconds


def experiment(rig: Any, folder: Path, **options: Any) -> Fidelity:
    out = Console(file=StringIO(), width=120)
    options = {"seconds": 10.0, "max_output": 12, "effort": LITTLE} | options
    return Fidelity(SCENARIO, rig, folder, out, **options)


def said(fidelity: Fidelity) -> str:
    assert isinstance(fidelity.out.file, StringIO)
    return fidelity.out.file.getvalue()


def test_a_machine_that_keeps_its_word_is_predicted(tmp_path: Path) -> None:
    fidelity = experiment(MakeBelieveRig(), tmp_path)
    cases = fidelity.run()
    assert [(case.load, case.policy) for case in cases] == [
        (load, policy) for load in (0.7, 1.05) for policy in ("vllm", "sarathi,chunk_size=64")
    ]
    for case in cases:
        assert len(case.real) == 2
        for line in case.lines():
            assert line.spread == 0, "the same twice"
            assert abs(line.error) < 0.02, line
    assert {pair.verdict for pair in pairs(cases)} <= {"same", "not settled"}
    assert all(abs(errors["bias"]) < 0.01 for errors in fidelity.open_loop.values())


@pytest.mark.parametrize("slower", [1.1, 1 / 1.1])
def test_a_bias_is_seen(slower: float, tmp_path: Path) -> None:
    rig = MakeBelieveRig()
    fidelity = experiment(rig, tmp_path, loads=(0.7,), rounds=1)
    fidelity.run()
    before = {case.policy: _tbt(case).error for case in fidelity.cases()}
    rig.slower = slower
    fidelity.more(3)
    for case in fidelity.cases():
        assert len(case.real) == 4
        assert _tbt(case).error - before[case.policy] < -0.05 if slower > 1 else _tbt(case).error > 0.05
        assert not _tbt(case).within or len(set(case.real[0])) > 1
    rig.slower = 1.0


def _tbt(case: Case) -> Beside:
    return next(line for line in case.lines() if line.metric.key == "mean_tbt")


def test_what_the_loop_takes_is_calibrated_too(tmp_path: Path) -> None:
    trace = Trace.from_rows([(0.0, 20 + n, 5 + n % 7) for n in range(20)])
    plain, loaded = (calibrate(MakeBelieveRig(host=host), trace, 600, 4, LITTLE) for host in (0.0, 2e-3))
    assert plain.profile.cost_model.host_time == pytest.approx(0.0, abs=1e-9)
    assert loaded.profile.cost_model.host_time == pytest.approx(2e-3, rel=0.1)  # less where the machine was idle then
    fidelity = experiment(MakeBelieveRig(host=2e-3), tmp_path, loads=(0.7,), rounds=1)
    for case in fidelity.run():
        assert abs(_tbt(case).error) < 0.03


def test_recalibrating_follows_a_machine_that_drifts(tmp_path: Path) -> None:
    rig = MakeBelieveRig()
    fidelity = experiment(rig, tmp_path, loads=(0.7,), rounds=1, recalibrate=True)
    fidelity.run()
    rig.slower = 1.5
    fidelity.more(1)
    assert len(fidelity.calibrations) == 2
    for case in fidelity.cases():
        first, second = (run["mean_tbt"] for run in case.real)
        assert second > 1.2 * first
        assert case.predicted[1]["mean_tbt"] == pytest.approx(second, rel=0.02)


def test_a_profile_that_was_measured_before_gets_only_the_loop(tmp_path: Path) -> None:
    told = {"measured_on": "-", "what": "-", "by": "-", "licence": "-", "prior": False}
    fidelity = experiment(
        MakeBelieveRig(host=2e-3), tmp_path, loads=(0.7,), rounds=1, given=Profile("known", MACHINE, provenance=told)
    )
    for case in fidelity.run():
        assert abs(_tbt(case).error) < 0.02
    assert fidelity.profile.cost_model == replace(MACHINE, host_time=pytest.approx(2e-3, rel=0.1))
    assert all(abs(errors["bias"]) < 1e-6 for errors in fidelity.open_loop.values())
    assert "the engine's loop adds 1.9" in said(fidelity) or "the engine's loop adds 1.8" in said(fidelity)


def test_files_and_tables(tmp_path: Path) -> None:
    fidelity = experiment(MakeBelieveRig(), tmp_path, loads=(0.7,), rounds=2)
    cases = fidelity.run()
    told = write_report(fidelity, cases)
    assert "the schedulers' order" in told
    assert "load 0.7" in told
    assert (tmp_path / "table.txt").read_text() == told == text(fidelity, cases)
    numbers = json.loads((tmp_path / "fidelity.json").read_text())
    assert numbers["cases"][0]["metrics"]["mean_tbt"]["error"] == pytest.approx(_tbt(cases[0]).error)
    assert (tmp_path / "fidelity.png").stat().st_size > 10_000
    for name in ("predicted-1", "real-1", "real-2"):
        assert (tmp_path / "load-0.7" / "vllm" / name / "requests.parquet").exists()
    assert "about 0 s left" in said(fidelity)


def test_an_interrupt_leaves_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fidelity = experiment(MakeBelieveRig(), tmp_path, loads=(0.7,), rounds=2)
    real, calls = fidelity._serve, []

    def serve(place: Any) -> str:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(place)
        return real(place)

    monkeypatch.setattr(fidelity, "_serve", serve)
    with pytest.raises(KeyboardInterrupt):
        fidelity.run()
    assert [len(case.real) for case in fidelity.cases()] == [2, 1]
    assert "3 real runs are finished" in said(fidelity)


def summary(**values: float) -> dict[str, float]:
    return {metric.key: values.get(metric.key, 1.0) for metric in METRICS}


def test_who_is_ahead_is_settled_only_without_overlap() -> None:
    def case(policy: str, predicted: float, *real: float) -> Case:
        runs = tuple(summary(mean_jct=value) for value in real)
        return Case(1.0, 1.0, policy, (summary(mean_jct=predicted),), runs, {})

    def verdict(*cases: Case) -> str:
        return next(pair.verdict for pair in pairs(cases) if pair.metric.key == "mean_jct")

    assert verdict(case("a", 1.0, 2.0, 2.1), case("b", 1.5, 3.0, 3.1)) == "same"
    assert verdict(case("a", 1.6, 2.0, 2.1), case("b", 1.5, 3.0, 3.1)) == "different"
    assert verdict(case("a", 1.0, 2.0, 3.05), case("b", 1.5, 3.0, 3.1)) == "not settled"
    assert verdict(case("a", 1.0, 2.0), case("b", 1.5, 3.0)) == "not settled", "one run says nothing of the next"


def test_errors_of_iterations() -> None:
    found = iteration_errors(np.array([1.1, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    assert found["median"] == pytest.approx(0.1)
    assert found["bias"] == pytest.approx(6.1 / 7 - 1)


def test_processor_time_waits_in_no_time() -> None:
    own = ProcessorTime()
    before = own.seconds()
    own.wait(100.0)
    assert 100.0 <= own.seconds() - before < 101.0


def test_the_command_line_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["fidelity", "--clock", "processor", "--device", "cuda"]) == 2
    assert "--clock wall" in capsys.readouterr().err


TOLERANCES = {"mean_tbt": log(1.5), "mean_jct": log(1.5), "token_throughput": log(1.15)}
"""Of a machine that others use, at the edge of its capacity: there the queue multiplies an error of service times."""
MOST_ROUNDS = 7


@pytest.mark.slow
def test_a_real_engine_on_a_cpu(tmp_path: Path) -> None:
    """Rounds are added until the median over all of them is near enough: noise averages out, a bias does not. What is
    calibrated with reaches the batches that overload makes."""
    pytest.importorskip("torch")
    rig = OptRig.of("opt-tiny", blocks=600, block_size=4, positions=256, processor_time=True)
    effort = Effort(crowds=(1, 4, 12, 24), chunks=(64,), output=8, passes=2, requests=24, resamples=2)
    fidelity = experiment(rig, tmp_path, seconds=1.0, rounds=1, recalibrate=True, effort=effort)
    with company():
        fidelity.run()
        while misses(fidelity.cases()) and len(fidelity.calibrations) < MOST_ROUNDS:
            fidelity.more(1)
    assert not misses(fidelity.cases()), text(fidelity, fidelity.cases())
    assert {case.load for case in fidelity.cases()} == {0.7, 1.05}
    assert all(case.real[0]["finished"] > 0 and case.real[0]["unfinished"] == 0 for case in fidelity.cases())


def misses(cases: Sequence[Case]) -> list[Beside]:
    """What is predicted too far off, by the median over the rounds of predicted over real."""
    lines = (line for case in cases for line in case.lines() if line.metric.key in TOLERANCES)
    return [line for line in lines if not abs(log(1 + line.error)) < TOLERANCES[line.metric.key]]


@pytest.mark.parametrize("slower", [1.2, 1 / 1.2])
def test_a_bias_is_a_miss(slower: float, tmp_path: Path) -> None:
    """What is demanded of the real engine tells a profile that is wrong by a fifth from a right one."""
    rig = MakeBelieveRig()
    fidelity = experiment(rig, tmp_path, rounds=1)
    assert not misses(fidelity.run())
    rig.slower = slower
    assert misses(fidelity.more(2))


@contextmanager
def company() -> Iterator[None]:
    """Conditions that do not change: this thread keeps to a core, and those beside it, which share what it computes
    with, are always busy, with others' work or with nothing at all. As threads of one core may count as cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    own, *beside = sorted(before)[:4]
    idle = "import os\nos.sched_setaffinity(0, {{{}}})\nos.nice(19)\nwhile os.getppid() == {}: sum(range(10**5))"
    workers = [subprocess.Popen([sys.executable, "-c", idle.format(core, os.getpid())]) for core in beside]
    os.sched_setaffinity(0, {own})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        for worker in workers:
            worker.kill()
            worker.wait()
