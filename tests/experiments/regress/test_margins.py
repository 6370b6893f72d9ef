"""Margins and judgements, by hand and against what chance does at the stated level."""

from __future__ import annotations

from math import inf, log, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from experiments.regress.margins import Margin, judge
from traces.errors import SlosimError

TTFT = Margin.of_text("p99_ttft:+2%", "max")
GOODPUT = Margin.of_text("goodput:-1%", "min")


def test_margins_are_read() -> None:
    assert Margin("p99_ttft", "max", 0.02) == TTFT
    assert Margin("preemptions", "max", 5.0, relative=False) == Margin.of_text("preemptions:5", "max")
    assert str(Margin.of_text("slo_attainment_requests:-0.01", "min")) == "slo_attainment_requests -0.01"


@pytest.mark.parametrize(
    ("text", "way", "words"),
    [
        ("p99_ttft", "max", r"--max p99_ttft: say METRIC:\+2% or, in the metric's unit, METRIC:\+0.01"),
        ("p99_ttft:2", "max", r"2 seconds or 2 per cent\? write p99_ttft:\+2s or p99_ttft:\+2%"),
        ("mean_jct:-0.5", "min", r"write mean_jct:-0.5s or mean_jct:-0.5%"),
        ("mean_queue_time:1", "max", "1 seconds or 1 per cent"),
        (
            "slo_attainment_jct:-1",
            "min",
            r"a share from 0 to 1; write slo_attainment_jct:-1% .*jct:-0.01",
        ),
        ("preemptions:5s", "max", "preemptions is not in seconds"),
        ("p99_ttft:+nan", "max", "say METRIC"),
        ("p99_ttft:-2%", "max", r"say METRIC:\+2%"),
        ("goodput:+1%", "min", "say METRIC:-2%"),
        ("goodput:-100%", "min", "nothing falls by more than 100 %"),
    ],
)
def test_what_is_no_margin(text: str, way: str, words: str) -> None:
    with pytest.raises(SlosimError, match=words):
        Margin.of_text(text, way)  # type: ignore[arg-type]


def test_seconds_have_their_unit() -> None:
    assert Margin.of_text("p99_ttft:+0.05s", "max") == Margin("p99_ttft", "max", 0.05, relative=False)
    assert str(Margin("p99_ttft", "max", 0.05, relative=False)) == "p99_ttft +0.05s"
    assert Margin.of_text("p99_ttft:2%", "max") == Margin("p99_ttft", "max", 0.02)


def test_a_judgement_by_hand() -> None:
    """Log ratios 0.02, 0.04, 0.06: mean 0.04, standard error 0.02 / sqrt(3); t(2) at 95 % is 2.920."""
    baseline = [1.0, 2.0, 5.0]
    ours = [value * np.exp(ratio) for value, ratio in zip(baseline, (0.02, 0.04, 0.06), strict=True)]
    found = judge(TTFT, "here", ours, baseline, error=0.05)
    reach = 2.919986 * 0.02 / sqrt(3)
    assert found.change == pytest.approx(np.exp(0.04) - 1)
    assert (found.low, found.high) == pytest.approx((np.exp(0.04 - reach) - 1, np.exp(0.04 + reach) - 1), rel=1e-5)
    assert (found.verdict, found.seeds) == ("inconclusive", 3)
    power = (2.919986 + stats.t.ppf(0.8, 2)) * 0.02 / sqrt(3)
    assert found.detectable == pytest.approx(np.exp(log(1.02) + power) - 1, rel=1e-5)
    assert judge(TTFT, "here", ours, baseline, error=0.3).verdict == "fail"
    assert judge(Margin("p99_ttft", "max", 0.2), "here", ours, baseline, error=0.05).verdict == "pass"


def test_less_is_worse_for_a_minimum() -> None:
    fallen, baseline = [90.0, 91.0, 89.5], [100.0, 101.0, 99.0]
    found = judge(GOODPUT, "here", fallen, baseline)
    assert found.verdict == "fail"
    assert found.low <= found.change <= found.high < -0.01
    assert judge(GOODPUT, "here", baseline, fallen).verdict == "pass"
    own_unit = Margin("goodput", "min", 2.0, relative=False)
    assert judge(own_unit, "here", [99.0, 98.9], [100.0, 100.0], error=0.1).verdict == "pass"
    assert judge(own_unit, "here", [97.0, 97.1], [100.0, 100.0], error=0.1).verdict == "fail"


def test_equal_runs_pass_any_margin() -> None:
    assert judge(Margin("p99_ttft", "max", 0.0), "here", [1.0, 0.0], [1.0, 0.0]).verdict == "pass"


def test_one_seed_decides_nothing_unless_equal() -> None:
    found = judge(TTFT, "here", [9.0], [1.0])
    assert (found.verdict, found.low, found.high, found.detectable) == ("inconclusive", -inf, inf, inf)
    assert judge(TTFT, "here", [1.0], [1.0]).verdict == "pass"


def test_what_has_no_ratio_or_no_value_is_said() -> None:
    with pytest.raises(SlosimError, match=r"p99_ttft is 0 in the baseline and 1 now.*--max p99_ttft:\+0.01"):
        judge(TTFT, "here", [1.0, 1.0], [0.0, 1.0])
    with pytest.raises(SlosimError, match="p99_ttft is not defined in every run at here"):
        judge(TTFT, "here", [1.0, nan], [1.0, 1.0])


def test_changes_at_the_margin_fail_at_the_stated_rate() -> None:
    """4,000 gates at a level of 5 %, of changes that are exactly the margin: a fifth of a percent point of noise."""
    random = np.random.default_rng(5)
    ones = np.ones(8)
    ours = np.exp(log(1.02) + random.normal(0, 0.05, (4000, 8)))
    failed = sum(judge(TTFT, "", row, ones, 0.05).verdict == "fail" for row in ours) / 4000
    assert stats.binomtest(round(4000 * failed), 4000, 0.05).pvalue > 0.001


def test_the_detectable_change_is_found_with_its_probability() -> None:
    """Which is worked out from each gate's own spread, so on the average."""
    random = np.random.default_rng(6)
    ones = np.ones(16)
    error, spread = 0.01, 0.05
    found = [judge(TTFT, "", np.exp(random.normal(0, spread, 16)), ones, error).detectable for _ in range(500)]
    change = log(1 + float(np.median(found)))
    failed = [judge(TTFT, "", np.exp(random.normal(change, spread, 16)), ones, error).verdict for _ in range(1000)]
    assert np.mean([each == "fail" for each in failed]) == pytest.approx(0.8, abs=0.05)
