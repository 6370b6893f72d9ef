"""Pooled quantiles against the pooled values themselves, and how often the jackknife's interval covers the truth."""

from __future__ import annotations

from math import exp, isinf, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

from experiments.inputs import run
from experiments.replications import interval
from experiments.settings import scenario_of
from experiments.sweeps.quantiles import MIDDLES, Pool, Sketch, jackknifed, tails
from sim.statistic import Sample

VALUES = st.lists(st.floats(0, 100, allow_nan=False).map(lambda value: round(value, 3)), min_size=1, max_size=30)


def sketch(values: list[float]) -> Sketch:
    return Sketch.of(Sample.of(np.array(values)))


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_of_few_values_it_is_numpy_s_quantile_of_all(runs: list[list[float]], probability: float) -> None:
    everything = np.concatenate(runs)
    found = Pool([sketch(values) for values in runs]).quantile(probability)
    assert found == pytest.approx(np.quantile(everything, probability), rel=1e-9, abs=1e-9)


def test_of_many_values_it_comes_near() -> None:
    generator = np.random.default_rng(0)
    for scale in (0.0, 0.5, 1.0):  # runs alike, and runs of which some are far above the others
        runs = [generator.lognormal(scale * each, 0.7, 3000).tolist() for each in range(5)]
        found = Pool([sketch(values) for values in runs]).quantile(0.99)
        assert found == pytest.approx(np.quantile(np.concatenate(runs), 0.99), rel=0.01)


def test_a_sketch_is_short_and_weighs_as_much_as_its_sample() -> None:
    short = Sketch.of(Sample.of(np.arange(5000.0), np.full(5000, 3)))
    assert short.size == 15_000
    assert len(short.values) == len(MIDDLES)
    assert short.weights.sum() == pytest.approx(15_000)
    assert list(short.values) == sorted(short.values)


def test_of_nothing() -> None:
    nothing = Sketch.of(Sample.of(np.array([np.nan])))
    assert isnan(Pool([nothing]).quantile(0.99))
    assert isnan(jackknifed([nothing, nothing], 0.99).mean)
    assert isinf(jackknifed([sketch([1.0, 2.0])], 0.5).half), "one run says nothing about chance"
    assert isinf(jackknifed([sketch([1.0]), nothing], 0.5).half)


def test_the_jackknife_as_in_the_books() -> None:
    generator = np.random.default_rng(3)
    runs = [generator.exponential(1.0, 40) for _ in range(6)]
    found = jackknifed([sketch(values.tolist()) for values in runs], 0.9)
    whole = np.quantile(np.concatenate(runs), 0.9)
    without = [np.quantile(np.concatenate([*runs[:i], *runs[i + 1 :]]), 0.9) for i in range(6)]
    deviation = sqrt(5 / 6 * sum((each - np.mean(without)) ** 2 for each in without))  # Efron's formula
    assert found.mean == pytest.approx(whole, rel=1e-4)
    assert found.half == pytest.approx(stdtrit(5, 0.975) * deviation, rel=1e-3)


def test_it_covers_nearly_as_often_as_it_says_and_the_mean_of_p99s_does_not() -> None:
    """Replications that differ from each other, as those of a queue do: the pooled p99 of a mixture of lognormals."""
    generator = np.random.default_rng(5)
    truth = exp(sqrt(0.5**2 + 0.2**2) * ndtri(0.99))  # a lognormal whose location is normal is lognormal
    intervals = []
    for _ in range(100):
        locations = generator.normal(0.0, 0.2, 10)
        runs = [Sketch.of(Sample.of(generator.lognormal(location, 0.5, 2000))) for location in locations]
        intervals.append((jackknifed(runs, 0.99), interval([Pool([run]).quantile(0.99) for run in runs])))
    ours, naive = (
        np.mean([abs(one.mean - truth) <= one.half for one in each]) for each in zip(*intervals, strict=True)
    )
    assert 0.85 <= ours <= 0.99
    assert naive < 0.8


def test_a_run_s_tails_are_its_metrics_percentiles() -> None:
    scenario = scenario_of(defaults={"trace": {"requests": 40, "rate": 1.0}, "policies": ["vllm"]})
    result = run(scenario, "vllm")
    summary = result.summary()
    for name, short in tails(result).items():
        for percent in (50, 99):
            assert Pool([short]).quantile(percent / 100) == pytest.approx(summary[f"p{percent}_{name}"], rel=0.02)
