"""The paper's workloads: their table, their mix, and that changing one thing changes only that."""

import numpy as np
import pytest

from traces import (
    PAPER_RATES,
    Burst,
    Constant,
    Fixed,
    Observed,
    Pair,
    SlosimError,
    Trace,
    assign_slos,
    mix,
    paper_mix,
    workload,
)

STORY = ("prompt_tokens", "output_tokens", "application_codes")


def same(one: Trace, other: Trace, *fields: str) -> bool:
    return all(np.array_equal(getattr(one, field), getattr(other, field)) for field in fields)


def test_the_mix_is_as_the_paper_describes_it() -> None:
    trace = paper_mix()
    labels = trace.application_labels()
    shares = [(labels == application).mean() for application in ("bookcorpus", "alpaca", "sharegpt")]
    assert len(trace) == 20_000
    assert shares == pytest.approx([0.35, 0.325, 0.325], abs=0.01)
    assert trace.summary()["rate"] == pytest.approx(8.0, rel=0.03)
    assert trace.summary()["gap_cv"] == pytest.approx(1.0, abs=0.03)
    assert (trace.ttft, trace.tbt, trace.jct) == (None, None, None)


def test_lengths_of_the_mix_average_to_those_of_its_parts() -> None:
    """0.35 x BookCorpus + 0.325 x Alpaca + 0.325 x ShareGPT, by the means of the measured sets and of the fits."""
    for fitted, outputs in ((False, 358.5), (True, 367.2)):
        traces = [paper_mix(seed=seed, fitted=fitted) for seed in range(8)]
        assert np.mean([trace.prompt_tokens.mean() for trace in traces]) == pytest.approx(740, rel=0.03)
        assert np.mean([trace.output_tokens.mean() for trace in traces]) == pytest.approx(outputs, rel=0.01)


@pytest.mark.parametrize("application", PAPER_RATES)
def test_applications_alone_come_at_the_papers_rates(application: str) -> None:
    trace = workload(application)
    assert len(trace) == {"alpaca": 52_000, "sharegpt": 90_000, "bookcorpus": 11_000}[application]
    assert trace.summary()["rate"] == pytest.approx(
        {"alpaca": 36, "sharegpt": 28, "bookcorpus": 1.2}[application], rel=0.03
    )
    assert set(trace.application_labels()) == {application}
    assert trace.name == application


def test_another_rate_changes_arrivals_only() -> None:
    slow, fast = paper_mix(3000, rate=1.0, seed=4), paper_mix(3000, rate=10.0, seed=4)
    assert same(slow, fast, *STORY)
    np.testing.assert_allclose(slow.arrived_at, fast.arrived_at * 10, rtol=1e-12)
    slow, fast = (assign_slos(trace, lambda tokens: 0.1 + tokens * 1e-4, seed=2) for trace in (slow, fast))
    assert same(slow, fast, "ttft", "tbt")


def test_another_process_changes_arrivals_only() -> None:
    assert same(paper_mix(500), paper_mix(500, arrivals=Burst()), *STORY)
    assert same(workload("alpaca", 500), workload("alpaca", 500, arrivals=Constant(3.0)), *STORY)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_longer_trace_begins_as_the_shorter_one(fitted: bool) -> None:
    short, long = paper_mix(700, seed=6, fitted=fitted), paper_mix(5000, seed=6, fitted=fitted)
    assert long.head(700).digest == short.digest
    assert workload("sharegpt", 900, fitted=fitted).head(50).digest == workload("sharegpt", 50, fitted=fitted).digest


def test_another_share_changes_only_the_requests_that_switch() -> None:
    few, many = paper_mix(5000, bookcorpus_share=0.1), paper_mix(5000, bookcorpus_share=0.3)
    stays = few.application_labels() == many.application_labels()
    assert 0.5 < stays.mean() < 1
    assert same(few[stays].with_arrivals(np.zeros(stays.sum())), many[stays], "prompt_tokens", "output_tokens")
    books = few.application_labels() == "bookcorpus"
    assert (many.application_labels()[books] == "bookcorpus").all()
    assert same(few, many, "arrived_at")


def test_seeds_change_everything() -> None:
    one, other = paper_mix(1000, seed=0), paper_mix(1000, seed=1)
    assert not any(same(one, other, field) for field in (*STORY, "arrived_at"))


def test_shares_may_be_extreme() -> None:
    assert set(paper_mix(200, bookcorpus_share=1.0).application_labels()) == {"bookcorpus"}
    only = paper_mix(200, bookcorpus_share=0.0, alpaca_share_of_rest=1.0)
    assert set(only.application_labels()) == {"alpaca"}


def test_prompts_can_be_cut() -> None:
    free, cut = paper_mix(2000), paper_mix(2000, max_prompt_tokens=2048)
    assert free.prompt_tokens.max() > 2048
    assert np.array_equal(cut.prompt_tokens, np.minimum(free.prompt_tokens, 2048))
    assert same(free, cut, "output_tokens", "arrived_at")
    assert workload("bookcorpus", 500, max_prompt_tokens=100).prompt_tokens.max() == 100


def test_own_lengths_take_the_place_of_an_application() -> None:
    own = Trace.from_columns(None, [11, 22], [1, 2])
    trace = paper_mix(2000, sources={"sharegpt": Observed(own), "bookcorpus": "bookcorpus_fit_2k"})
    labels = trace.application_labels()
    assert set(trace.prompt_tokens[labels == "sharegpt"].tolist()) == {11, 22}
    assert trace.prompt_tokens[labels == "bookcorpus"].max() == 2048
    alone = workload("alpaca", 100, source=Pair(Fixed(3), Fixed(4)))
    assert set(alone.prompt_tokens.tolist()) == {3}


def test_stratified_lengths_are_even_within_an_application() -> None:
    trace = paper_mix(4000, fitted=True, stratified=True)
    books = trace.prompt_tokens[trace.application_labels() == "bookcorpus"]
    assert (books.min(), books.max()) == (18, 100_000)


def test_any_applications_can_be_mixed() -> None:
    parts = {
        "chat": (3.0, Pair(Fixed(100), Fixed(200))),
        "code": (1.0, Pair(Fixed(900), Fixed(30))),
        "no": (0.0, Pair(Fixed(1), Fixed(1))),
    }
    trace = mix(parts, 8000, Constant(4.0), name="house")
    chat = trace.application_labels() == "chat"
    assert chat.mean() == pytest.approx(0.75, abs=0.02)
    assert set(trace.prompt_tokens[chat].tolist()) == {100}
    assert set(trace.output_tokens[~chat].tolist()) == {30}
    assert trace.name == "house"


PAIR = Pair(Fixed(1), Fixed(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: paper_mix(0), "requests: 0 is not 1 or more"),
        (lambda: paper_mix(bookcorpus_share=1.5), r"bookcorpus_share: 1\.5 is not a share from 0 to 1"),
        (lambda: paper_mix(alpaca_share_of_rest=-0.1), r"alpaca_share_of_rest: -0\.1 is not"),
        (lambda: paper_mix(10, rate=-8.0), r"rate: -8\.0 is not above 0"),
        (
            lambda: paper_mix(sources={"books": "alpaca"}),
            "no application is called 'books'; known are alpaca, sharegpt",
        ),
        (lambda: paper_mix(sources={"alpaca": "alpca"}), "did you mean 'alpaca'"),
        (lambda: workload("gpt"), "no application is called 'gpt'; known are alpaca, sharegpt, bookcorpus"),
        (lambda: mix({}, 5, Burst()), "weights of a mix"),
        (lambda: mix({"a": (-1.0, PAIR), "b": (2.0, PAIR)}, 5, Burst()), "weights of a mix"),
        (lambda: mix({"a": (0.0, PAIR)}, 5, Burst()), "weights of a mix"),
    ],
)
def test_impossible_workloads_say_so(make: object, message: str) -> None:
    with pytest.raises(SlosimError, match=message):
        make()  # type: ignore[operator]
