"""Arrival processes: their means and spreads, and the promise that another rate is the same story at another pace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import Arrivals, Burst, Constant, Gamma, Poisson, Replay, SlosimError, Trace, time_scaled

PROCESSES: list[Arrivals] = [
    Poisson(8.0),
    Gamma(8.0, 0.25),
    Gamma(8.0, 4.0),
    Gamma(8.0, float("inf")),
    Constant(8.0),
    Burst(3.0),
    Replay(np.arange(500.0)),
    Replay(np.arange(500.0), rate=3.0),
]


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_times_never_decrease_and_begin_alike_however_many(process: Arrivals) -> None:
    times = process.times(400, seed=5)
    assert len(times) == 400
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert process.times(100, seed=5).tolist() == times[:100].tolist()
    assert len(process.times(0)) == 0


@pytest.mark.parametrize("burstiness", [0.1, 0.5, 1.0, 3.0])
def test_gamma_gaps_have_the_mean_and_the_spread_of_their_definition(burstiness: float) -> None:
    count, rate = 200_000, 5.0
    gaps = np.diff(Gamma(rate, burstiness).times(count, seed=1), prepend=0.0)
    spread = 1 / np.sqrt(burstiness)
    assert gaps.mean() == pytest.approx(1 / rate, rel=5 * spread / np.sqrt(count))
    assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.03)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(Poisson(2.0).times(100_000, seed=4), prepend=0.0)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert (gaps < -np.log(1 - share) / 2.0).mean() == pytest.approx(share, abs=0.005)
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0.0, abs=0.02)
    assert Gamma(2.0, 1.0).times(10, seed=4).tolist() == Poisson(2.0).times(10, seed=4).tolist()


@given(st.floats(0.1, 1000), st.floats(0.2, 5))
def test_another_rate_is_the_same_story_at_another_pace(rate: float, burstiness: float) -> None:
    one, other = Gamma(1.0, burstiness).times(50, seed=9), Gamma(rate, burstiness).times(50, seed=9)
    np.testing.assert_allclose(other * rate, one, rtol=1e-12)


def test_seeds_differ() -> None:
    assert Poisson(1.0).times(5, seed=0).tolist() != Poisson(1.0).times(5, seed=1).tolist()


@pytest.mark.parametrize("process", [Gamma(4.0, 0.3, rescale=True), Poisson(4.0, rescale=True)])
def test_rescaling_fixes_the_span_as_the_vllm_benchmark_does(process: Gamma | Poisson) -> None:
    times = process.times(1000, seed=2)
    assert times[-1] == pytest.approx(1000 / 4.0, rel=1e-12)
    free = type(process)(**{**{k: getattr(process, k) for k in process.__slots__}, "rescale": False}).times(
        1000, seed=2
    )
    np.testing.assert_allclose(times / times[-1], free / free[-1], rtol=1e-12)
    assert len(process.times(0)) == 0


def test_constant_and_infinite_burstiness_and_infinite_rate() -> None:
    assert Constant(4.0).times(3).tolist() == [0.25, 0.5, 0.75]
    assert Gamma(4.0, float("inf")).times(3).tolist() == [0.25, 0.5, 0.75]
    assert Poisson(float("inf")).times(3).tolist() == [0.0, 0.0, 0.0]
    assert Burst(2.0).times(3).tolist() == [2.0, 2.0, 2.0]


def test_replay_keeps_gaps_and_scales_them_alike() -> None:
    recorded = [5.0, 6.0, 6.5, 9.0]
    assert Replay(recorded).times(3).tolist() == [0.0, 1.0, 1.5]
    scaled = Replay(recorded, rate=1.5).times(4)
    assert scaled.tolist() == [0.0, 0.5, 0.75, 2.0]
    assert 3 / scaled[-1] == 1.5


def test_a_trace_at_another_rate_keeps_its_bursts() -> None:
    trace = Trace.from_columns([1.0, 1.0, 2.0, 5.0], [1, 2, 3, 4], [1, 1, 1, 1])
    faster = time_scaled(trace, 6.0)
    assert faster.arrived_at.tolist() == [0.0, 0.0, 0.125, 0.5]
    assert faster.summary()["rate"] == pytest.approx(6.0)
    assert faster.summary()["gap_cv"] == pytest.approx(trace.summary()["gap_cv"])


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (Poisson(0.0), r"rate: 0\.0 is not above 0"),
        (Constant(float("nan")), "rate: nan is not above 0"),
        (Gamma(1.0, -1.0), r"burstiness: -1\.0 is not above 0"),
        (Replay([0.0, 1.0]), "cannot replay 9 arrivals: only 2 were recorded"),
        (Replay(np.zeros(9), rate=1.0), "all come at once"),
        (Replay(np.arange(9.0), rate=-1.0), r"rate: -1\.0 is not above 0"),
    ],
    ids=repr,
)
def test_impossible_processes_say_so(process: Arrivals, message: str) -> None:
    with pytest.raises(SlosimError, match=message):
        process.times(9)
