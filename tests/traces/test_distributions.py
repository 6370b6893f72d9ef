"""Length distributions against their definitions, the paper's table and the real data."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from traces import (
    Distribution,
    Fixed,
    LogNormal,
    MostlyFixed,
    Observed,
    Pair,
    Quantiles,
    SlosimError,
    Trace,
    Uniform,
    lengths,
    lengths_names,
    load,
    workload,
)

EVEN = (np.arange(200_000) + 0.5) / 200_000
EVERY: list[Distribution] = [
    Fixed(7),
    Uniform(3, 9),
    MostlyFixed(2048, 0.9, 18),
    LogNormal(3.0, 1.0, 5, 300),
    Quantiles((1.0, 5.0, 9.0, 40.0), 10.0),
    lengths("alpaca").prompt,
    lengths("sharegpt_fit").output,
]
TABLE = {
    "alpaca_fit": (19.31, 9, 2470, 58.41, 13, 292),
    "sharegpt_fit": (161.31, 16, 3200, 337.97, 19, 991),
    "bookcorpus_fit_100k": (1952.30, 18, 100_000, 681.16, 32, 1041),
    "bookcorpus_fit": (1950.82, 18, 461_000, 681.16, 32, 1041),
    "bookcorpus_3k_5k": (4000.0, 3000, 5000, 681.16, 32, 1041),
    "bookcorpus_fit_2k": (1952.11, 18, 2048, 681.16, 32, 1041),
}
REAL = {"alpaca": (19.15, 5, 508, 58.45, 1, 1470), "sharegpt": (155.92, 4, 1994, 310.93, 4, 1930)}


@pytest.mark.parametrize("distribution", EVERY, ids=lambda one: type(one).__name__)
@given(shares=st.lists(st.floats(0, 1), min_size=2))
def test_quantiles_rise_from_the_shortest_to_the_longest(distribution: Distribution, shares: list[float]) -> None:
    tokens = distribution.quantile(np.array([0.0, *sorted(shares), 1.0]))
    assert tokens.dtype == np.int32
    assert (np.diff(tokens) >= 0).all()
    assert tokens[0] >= 1


def test_bounds_are_reached() -> None:
    ends = np.array([0.0, 1.0])
    assert Uniform(3, 9).quantile(ends).tolist() == [3, 9]
    assert LogNormal(3.0, 1.0, 5, 300).quantile(ends).tolist() == [5, 300]
    assert MostlyFixed(2048, 0.9, 18).quantile(ends).tolist() == [18, 2048]
    assert Quantiles((1.0, 5.0, 40.0), 7.0).quantile(ends).tolist() == [1, 40]


def test_uniform_lengths_are_equally_likely() -> None:
    values, counts = np.unique(Uniform(3, 9).quantile(EVEN), return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert counts.max() - counts.min() <= 1


def test_mostly_fixed_has_its_share() -> None:
    tokens = MostlyFixed(2048, 0.9056, 18).quantile(EVEN)
    assert (tokens == 2048).mean() == pytest.approx(0.9056, abs=1e-4)
    rest = tokens[tokens < 2048]
    assert (rest.min(), rest.max()) == (18, 2047)
    assert rest.mean() == pytest.approx((18 + 2047) / 2, rel=1e-3)


def test_log_normal_is_truncated_not_clipped() -> None:
    mu, sigma, low, high = 3.0, 1.0, 5, 300
    tokens = LogNormal(mu, sigma, low, high).quantile(EVEN)
    bounds = [(np.log(bound) - mu) / sigma for bound in (low, high)]
    exact = stats.truncnorm(*bounds, loc=mu, scale=sigma)
    mean = exact.expect(np.exp)
    assert tokens.mean() == pytest.approx(mean, rel=2e-3)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert np.quantile(tokens, share) == pytest.approx(np.exp(exact.ppf(share)), abs=0.6)
    assert (tokens == high).mean() < 1e-3


def test_quantile_tables_meet_the_measured_mean_by_bending_the_tail() -> None:
    table = Quantiles((0.0, 10.0, 20.0, 120.0), mean=(5 + 15 + 40) / 3)
    assert table.bend == pytest.approx(100 / 20 - 1)
    assert table.quantile(EVEN).mean() == pytest.approx(20.0, rel=1e-3)
    straight = Quantiles((0.0, 10.0, 20.0, 120.0), mean=1000.0)
    assert straight.bend == 1.0
    assert Quantiles((0.0, 10.0, 20.0, 120.0), mean=1.0).bend == 1.0
    assert straight.quantile(np.array([2.5 / 3])).tolist() == [70]


@pytest.mark.parametrize("name", TABLE)
def test_stratified_fits_hit_the_table(name: str) -> None:
    trace = workload(name.split("_")[0], source=name, stratified=True, seed=3)
    prompt_mean, shortest, longest, output_mean, least, most = TABLE[name]
    assert trace.prompt_tokens.mean() == pytest.approx(prompt_mean, rel=5e-4)
    assert trace.output_tokens.mean() == pytest.approx(output_mean, rel=2e-4)
    assert (trace.prompt_tokens.min(), trace.prompt_tokens.max()) == (shortest, longest)
    assert (trace.output_tokens.min(), trace.output_tokens.max()) == (least, most)


@pytest.mark.parametrize("name", TABLE)
def test_plain_fits_have_the_means_of_the_table(name: str) -> None:
    """On evenly spaced shares, so that no chance is left: the plain mu must give the mean without pinned requests."""
    pair = lengths(name)
    assert pair.prompt.quantile(EVEN).mean() == pytest.approx(TABLE[name][0], rel=2e-3)
    assert pair.output.quantile(EVEN).mean() == pytest.approx(TABLE[name][3], rel=2e-3)


@pytest.mark.parametrize("name", REAL)
def test_measured_lengths_have_the_measured_statistics(name: str) -> None:
    trace = workload(name, 100_000, seed=1, stratified=True)
    prompt_mean, shortest, longest, output_mean, least, most = REAL[name]
    assert trace.prompt_tokens.mean() == pytest.approx(prompt_mean, rel=2e-3)
    assert trace.output_tokens.mean() == pytest.approx(output_mean, rel=2e-3)
    assert (trace.prompt_tokens.min(), trace.prompt_tokens.max()) == (shortest, longest)
    assert (trace.output_tokens.min(), trace.output_tokens.max()) == (least, most)
    percentiles = {"alpaca": ((15, 31, 75), (43, 125, 268)), "sharegpt": ((32, 491, 1480), (266, 644, 1141))}[name]
    for column, expected in zip((trace.prompt_tokens, trace.output_tokens), percentiles, strict=True):
        assert np.percentile(column, (50, 90, 99)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("name", "correlation"), [("alpaca", -0.26), ("sharegpt", 0.10), ("alpaca_fit", 0.0)])
@pytest.mark.parametrize("stratified", [False, True])
def test_rank_correlation_is_the_measured_one(name: str, correlation: float, stratified: bool) -> None:
    trace = workload(name.split("_")[0], 60_000, source=name, stratified=stratified)
    found = stats.spearmanr(trace.prompt_tokens, trace.output_tokens).statistic
    assert found == pytest.approx(correlation, abs=0.02)


@pytest.mark.parametrize("rank_correlation", [-0.9, -0.3, 0.5, 0.95])
def test_the_copula_gives_the_rank_correlation_it_was_asked_for(rank_correlation: float) -> None:
    pair = Pair(LogNormal(6.0, 1.0, 1, 10**6), LogNormal(6.0, 0.5, 1, 10**6), rank_correlation)
    random = np.random.default_rng(0)
    prompts, outputs = pair.draw(random.random(50_000), random.random(50_000))
    assert stats.spearmanr(prompts, outputs).statistic == pytest.approx(rank_correlation, abs=0.015)


def test_stratification_of_a_few() -> None:
    pair = Pair(Uniform(1, 100), Fixed(1), stratified=True)
    assert pair.draw(np.array([0.3]), np.array([0.3]))[0].tolist() == [1]
    assert pair.draw(np.array([0.9, 0.2]), np.array([0.1, 0.2]))[0].tolist() == [100, 1]
    assert pair.draw(np.array([0.9, 0.2, 0.5]), np.array([0.1, 0.2, 0.3]))[0].tolist() == [100, 1, 51]


@pytest.mark.parametrize("rank_correlation", [-1.0, 1.0, 2.0, float("nan")])
def test_an_impossible_correlation_is_refused(rank_correlation: float) -> None:
    with pytest.raises(SlosimError, match="is not between -1 and 1"):
        Pair(Fixed(1), Fixed(1), rank_correlation).draw(np.array([0.5]), np.array([0.5]))


def test_observed_requests_keep_prompt_and_output_together() -> None:
    trace = Trace.from_columns(None, [10, 20, 30], [1, 2, 3])
    prompts, outputs = Observed(trace).draw(np.random.default_rng(0).random(3000), np.zeros(3000))
    assert (prompts == 10 * outputs).all()
    assert np.bincount(outputs)[1:] == pytest.approx([1000, 1000, 1000], abs=120)
    with pytest.raises(SlosimError, match="empty trace"):
        Observed(trace[:0]).draw(np.array([0.5]), np.array([0.5]))


def test_names_are_known_or_corrected() -> None:
    assert lengths_names() == sorted([*TABLE, *REAL])
    with pytest.raises(SlosimError, match=r"'alpacca'; did you mean 'alpaca'\? known are alpaca, alpaca_fit"):
        lengths("alpacca")
    with pytest.raises(SlosimError, match=r"'zzz'; known are alpaca"):
        lengths("zzz")


def test_quantiles_of_the_real_set_are_those_of_the_table(shared: Path) -> None:
    """The table that travels with the package against the data it was made from."""
    real = load(shared / "traces" / "alpaca.parquet")
    drawn = workload("alpaca", len(real), stratified=True)
    for field in ("prompt_tokens", "output_tokens"):
        ours, theirs = np.sort(getattr(drawn, field)), np.sort(getattr(real, field))
        assert stats.ks_2samp(ours, theirs).statistic < 0.05
        assert np.abs(ours - theirs).mean() < 0.02 * theirs.mean()
    real_correlation = stats.spearmanr(real.prompt_tokens, real.output_tokens).statistic
    assert stats.spearmanr(drawn.prompt_tokens, drawn.output_tokens).statistic == pytest.approx(
        real_correlation, abs=0.02
    )
