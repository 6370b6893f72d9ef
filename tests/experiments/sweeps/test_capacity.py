"""Capacity: searches against thresholds that are known, and the command against direct simulations."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isinf
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from costmodel import profile
from experiments.cli import main
from experiments.inputs import build
from experiments.replications import Interval
from experiments.settings import scenario_of
from experiments.sweeps import running
from experiments.sweeps.capacities import capacity, groups, warnings
from experiments.sweeps.capacity import FURTHEST, Search, Target
from experiments.sweeps.plan import points_of
from experiments.sweeps.store import Record
from experiments.sweeps.work import Answer, Task, run_point
from sim.simulation import simulate
from traces import assign_slos, workload
from traces.errors import SlosimError

TABLE: dict[str, Any] = {"policies": ["vllm"], "trace": {"requests": 5}}
RECORD = Record("0" * 16, 0.0, False, {}, {})


def searched(threshold: float, start: float = 1.0, tolerance: float = 0.01, seed: int = 0) -> Search:
    """A search where the target is kept up to a rate."""
    [point] = points_of(TABLE | {"trace": {"requests": 5, "seed": seed}})
    search = Search(point, start, tolerance)
    while not search.done:
        assert search.left > 0
        search.told(RECORD, search.point.rate <= threshold)  # type: ignore[operator]
    assert search.left == 0
    return search


@given(st.floats(0.02, 50.0), st.floats(0.05, 20.0), st.sampled_from([0.1, 0.01, 0.001]))
def test_the_bracket_holds_the_threshold_and_is_narrow(threshold: float, start: float, tolerance: float) -> None:
    search = searched(threshold, start, tolerance)
    assert search.answered
    assert search.low <= threshold < search.high
    assert search.high / search.low <= 1 + tolerance + 2e-3, "four digits of a rate are 0.1 %"
    octaves = abs(np.log2(threshold / start))
    assert search.runs <= octaves + 3 + np.ceil(np.log2(np.log(2) / np.log(1 + tolerance)))


def test_ten_runs_find_a_capacity_to_one_per_cent() -> None:
    assert searched(0.6).runs == 9


def test_there_may_be_no_such_rate() -> None:
    never, always = searched(0.0), searched(float("inf"))
    assert (never.hopeless, never.answered, never.low) == (True, False, 0.0)
    assert (always.unbounded, always.answered) == (True, False)
    assert never.high <= 1 / FURTHEST
    assert isinf(always.high)


def searched_by(metric: Callable[[float], float], target: Target, start: float = 1.0) -> Search:
    """A search of a target for a metric that is a function of the rate."""
    [point] = points_of(TABLE)
    search = Search(point, start)
    while not search.done:
        summary = {target.metric: metric(search.rate)}
        search.told(RECORD, target.met(summary), target.short(summary))
        assert search.runs < 60
    return search


@given(st.floats(0.02, 50.0), st.floats(0.05, 20.0))
def test_a_target_that_rises_with_the_rate_has_a_crossing_too(threshold: float, start: float) -> None:
    """Throughput grows with the rate: the target is kept from the threshold on."""
    search = searched_by(lambda rate: 200 * rate, Target("throughput", True, 200 * threshold), start)
    assert search.answered
    assert search.rising
    assert search.high < threshold <= search.low <= search.high * 1.012


@given(st.floats(0.02, 50.0), st.floats(1.02, 8.0), st.floats(0.05, 20.0))
def test_of_a_hump_the_upper_end_is_found(top: float, width: float, start: float) -> None:
    """Goodput rises and falls, and exceeds the target from top / width to top * width only."""
    assume(start / FURTHEST < top / width < top * width < start * FURTHEST / 2)
    search = searched_by(lambda rate: -abs(np.log(rate / top)), Target("goodput", True, -np.log(width)), start)
    assert search.answered
    assert not search.rising
    assert search.low <= top * width < search.high <= search.low * 1.012


def test_no_rate_is_said_only_of_both_ends_that_were_tried() -> None:
    never = searched_by(lambda rate: 0.3, Target("goodput", True, 0.5))
    assert never.hopeless
    assert never.ends[0] <= 1.0001 / FURTHEST < FURTHEST <= never.ends[1]
    always = searched_by(lambda rate: 0.3, Target("goodput", False, 0.5))
    assert always.unbounded
    assert always.ends[0] <= 1.0001 / FURTHEST < FURTHEST <= always.ends[1]
    told = " ".join(warnings(groups([never])))
    assert "1 of 1 seeds keep the target at no rate that was tried, from 0.0009765 to 1024 requests/s" in told
    told = " ".join(warnings(groups([always])))
    assert "at any rate that was tried, from 0.0009765 to 1024 requests/s" in told
    rising = searched_by(lambda rate: rate, Target("throughput", True, 5.0))
    assert "keep the target from the rate shown on, up to the highest tried (1024)" in " ".join(
        warnings(groups([rising]))
    )


def test_what_no_run_has_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["capacity", "-p", "vllm", "--seeds", "1", "-o", str(tmp_path), "--set", 'slos.rule="none"', *WORDS]
    assert main([*words, "--target", "goodput>=1"]) == 1
    assert "goodput is not defined at any rate tried: no request has such an SLO" in capsys.readouterr().out


def test_a_throughput_is_reached_from_some_rate_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["capacity", "-p", "vllm", "--seeds", "1", "--tolerance", "0.1", "-o", str(tmp_path)]
    words += ["--trace", "alpaca", "--requests", "60", "--executor", "serial", "--target", "token_throughput>=300"]
    assert main(words) == 0
    [found] = json.loads((tmp_path / "capacity.json").read_text())["capacities"]
    [seed] = found["seeds"]
    assert seed["rising"]
    assert seed["lost_at"] < seed["kept_at"] <= 1.11 * seed["lost_at"]
    machine = profile("opt-13b@a100-80gb-vllm")
    lost, kept = (
        simulate(workload("alpaca", 60, seed[end], 0), "vllm", machine).summary()["token_throughput"]
        for end in ("lost_at", "kept_at")
    )
    assert lost < 300 <= kept


def test_targets() -> None:
    assert Target.of_text("p99_ttft <= 2.5") == Target("p99_ttft", False, 2.5)
    attained = Target.of_text("slo_attainment_requests>=0.99")
    summary = {"slo_attainment_requests": 0.99, "p99_ttft": float("nan")}
    assert attained.met(summary)
    assert not attained.met(summary | {"slo_attainment_requests": 0.9899})
    assert not Target.of_text("p99_ttft<=2").met(summary), "what cannot be measured is not kept"
    with pytest.raises(SlosimError, match="did you mean 'slo_attainment_requests'"):
        Target.of_text("slo_atainment_request>=1").met(summary)
    for wrong in ("goodput", "goodput=5", "goodput>=high", "mean_jct<=nan", "mean_jct<=inf", "p99_ttft<=-1"):
        with pytest.raises(SlosimError, match="write METRIC>=VALUE"):
            Target.of_text(wrong)
    with pytest.raises(SlosimError, match=r"slo_attainment_jct is a share from 0 to 1; write 0\.99"):
        Target.of_text("slo_attainment_jct>=99")


def test_all_rates_see_the_same_requests_only_nearer() -> None:
    scenario = scenario_of(defaults={"trace": {"requests": 30, "rate": 1.0}})
    slow, fast = (build(scenario.at(rate, 3)).trace for rate in (0.5, 2.0))
    np.testing.assert_allclose(slow.arrived_at, 4 * fast.arrived_at)
    for column in ("prompt_tokens", "output_tokens", "ttft", "tbt"):
        np.testing.assert_array_equal(getattr(slow, column), getattr(fast, column))


def test_the_mean_over_seeds_and_what_is_said_of_it() -> None:
    searches = [searched(threshold, seed=seed) for seed, threshold in enumerate((0.5, 0.6, 0.7))]
    found = capacity(searches)
    assert found.mean == pytest.approx(0.6, rel=0.01)
    assert found.half == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=0.05)
    [(place, grouped)] = groups(searches[::-1]).items()
    assert place == ((), "vllm")
    assert [search.start.seed for search in grouped] == [0, 1, 2]
    assert "the capacity is not known to 10%" in " ".join(warnings(groups(searches)))
    for search in searches[:2]:
        search.kept[search.low] = RECORD._replace(overloaded=True)
    assert "the queue still grew when the last request came (2 of 3 seeds)" in " ".join(warnings(groups(searches)))
    some = groups([*searches, searched(0.0, seed=3), searched(float("inf"), seed=4)])
    told = " ".join(warnings(some))
    assert "1 of 5 seeds keep the target at no rate" in told
    assert "1 of 5 seeds keep the target at any rate" in told
    assert str(capacity(next(iter(some.values())))) == str(Interval(float("nan"), float("inf")))
    assert "one seed says nothing" in " ".join(warnings(groups(searches[:1])))


WORDS = ["--target", "p99_ttft<=0.1", "--trace", "alpaca", "--requests", "60", "--executor", "serial", "--start", "64"]
SMALL = ["--kv-blocks", "100"]


def test_the_command_against_direct_simulations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["capacity", "-p", "vllm", "-p", "sarathi", "--seeds", "2", "--tolerance", "0.05", "-o", str(tmp_path)]
    assert main([*words, *WORDS, *SMALL]) == 0
    told = capsys.readouterr().out
    assert "Highest rate with p99_ttft <= 0.1, requests/s" in told
    content = json.loads((tmp_path / "capacity.json").read_text())
    assert content["provenance"]["run"]["asked"]["targets"] == ["p99_ttft <= 0.1"]
    machine = profile("opt-13b@a100-80gb-vllm")
    for found in content["capacities"]:
        for one in found["seeds"]:
            assert one["lost_at"] <= one["kept_at"] * 1.051
            kept, lost = (
                simulate(
                    assign_slos(workload("alpaca", 60, rate, one["seed"]), machine.prefill_time, one["seed"]),
                    found["policy"],
                    machine,
                    kv_blocks=100,
                    block_size=32,
                ).summary()["p99_ttft"]
                for rate in (one["kept_at"], one["lost_at"])
            )
            assert kept <= 0.1 < lost
        assert found["mean"] == pytest.approx(np.mean([one["kept_at"] for one in found["seeds"]]))
    runs = sum(one["runs"] for found in content["capacities"] for one in found["seeds"])
    assert len(pandas.read_parquet(tmp_path / "points.parquet")) == runs == len(list((tmp_path / "points").iterdir()))


def test_a_rerun_simulates_nothing_and_a_grid_has_a_capacity_for_each_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.toml"
    file.write_text("rates = [7.0]\nseeds = 1\npolicies = ['vllm']\n[grid]\ncache.kv_blocks = [80, 100]\n")
    words = ["capacity", str(file), "--tolerance", "0.1", "-o", str(tmp_path / "out")]
    assert main([*words, *WORDS]) == 0
    assert "cache.kv_blocks=100, vllm" in capsys.readouterr().out
    ran: list[str] = []

    def noted(task: Task) -> Answer:
        ran.append(task.key)
        return run_point(task)

    monkeypatch.setattr(running, "run_point", noted)
    assert main([*words, *WORDS]) == 0
    assert not ran
    failed = Answer('{"key": "0", "error": "no such luck"}\n', failed=True)
    monkeypatch.setattr(running, "run_point", lambda task: failed)
    assert main([*words, *WORDS, "--seed", "9"]) == 1
    assert "1 of 1 seeds FAILED, such as: no such luck" in capsys.readouterr().out


def test_an_interrupt_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def interrupted(task: Task) -> Answer:
        ran.append(task.key)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return run_point(task)

    monkeypatch.setattr(running, "run_point", interrupted)
    assert main(["capacity", "-p", "vllm", "--seeds", "1", "-o", str(tmp_path), *WORDS]) == 130
    assert "0 of 1 searches are finished, 2 runs are kept" in " ".join(capsys.readouterr().out.split())
    assert len(list((tmp_path / "points").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tolerance", "1"], "--tolerance 1: write a share between 0 and 1"),
        (["--start", "1e9"], "--start 1e+09: write requests/s from"),
        (["-p", "v"], "no scheduler"),
        (["--target", "mean_jtc<=3"], "--target mean_jtc <= 3: 'mean_jtc' is not a metric; did you mean 'mean_jct'?"),
        (["--trace", "shargpt"], "shargpt: no such file or folder; did you mean 'sharegpt'?"),
        (["--model", "opt-13"], "there is no model 'opt-13'; did you mean 'opt-13b'?"),
    ],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "-o", str(tmp_path), "--seeds", "1", *WORDS, *words]) == 2
    assert said in capsys.readouterr().err
