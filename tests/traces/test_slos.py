"""Objectives: the paper's rule to the number, and that nothing else moves them."""

import math

import numpy as np
import pytest

from traces import (
    SLO,
    Interactive,
    JobCompletion,
    Promised,
    SLORule,
    SlosimError,
    Trace,
    TraceRow,
    assign_slos,
    paper_mix,
)


def prefill(tokens: int) -> float:
    """A cost with steps and a curve, so that means over different lengths differ."""
    return 0.02 + 1e-4 * tokens + 1e-8 * tokens**2 + 0.005 * (tokens // 128)


def bucket_mean(tokens: int) -> float:
    low = (tokens - 1) // 512 * 512
    return float(np.mean([prefill(length) for length in range(low + 1, low + 513)]))


def test_first_token_objectives_are_the_buckets_mean_times_a_uniform_factor() -> None:
    trace = assign_slos(paper_mix(6000, max_prompt_tokens=5000), prefill, seed=3)
    assert trace.ttft is not None
    assert trace.jct is None
    factors = trace.ttft / [bucket_mean(tokens) for tokens in trace.prompt_tokens.tolist()]
    assert 0.5 <= factors.min() < 0.51
    assert 1.49 < factors.max() <= 1.5
    assert factors.mean() == pytest.approx(1.0, abs=0.015)
    assert np.quantile(factors, 0.25) == pytest.approx(0.75, abs=0.02)


def test_between_token_objectives_are_reading_speed_times_a_uniform_factor() -> None:
    trace = assign_slos(paper_mix(6000), prefill)
    assert trace.tbt is not None
    assert trace.tbt.min() == pytest.approx(0.1875 * 0.75, rel=1e-3)
    assert trace.tbt.max() == pytest.approx(0.1875 * 1.25, rel=1e-3)
    assert trace.tbt.mean() == pytest.approx(0.1875, rel=5e-3)
    assert np.corrcoef(trace.tbt, trace.ttft / trace.prompt_tokens)[0, 1] == pytest.approx(0.0, abs=0.05)  # type: ignore[operator]


def test_several_kinds_of_readers_share_a_workload() -> None:
    kinds = (0.05, 0.1875, 0.5)
    rows = Trace.from_columns(None, np.full(30_000, 100), np.full(30_000, 10))
    mixed = assign_slos(rows, prefill, rule=Interactive(tbt_mix=kinds))
    plain = assign_slos(rows, prefill)
    assert mixed.tbt is not None
    values, counts = np.unique(mixed.tbt, return_counts=True)
    assert values.tolist() == pytest.approx(kinds)
    assert counts == pytest.approx([10_000] * 3, rel=0.03)
    assert mixed.ttft is not None
    assert mixed.ttft.tolist() == plain.ttft.tolist(), "first tokens are as they were"  # type: ignore[union-attr]


@pytest.mark.parametrize("tokens", [1, 511, 512, 513, 1024, 1025])
def test_bucket_edges(tokens: int) -> None:
    exact = Interactive(ttft_factor=(1.0, 1.0), tbt_factor=(1.0, 1.0))
    trace = assign_slos(Trace.from_columns(None, [tokens], [5]), prefill, rule=exact)
    assert trace[0].slo.ttft == pytest.approx(bucket_mean(tokens))
    assert trace[0].slo[1:] == (0.1875, math.inf)


def test_bucket_means_over_the_traces_own_prompts() -> None:
    exact = Interactive(ttft_factor=(1.0, 1.0))
    trace = Trace.from_columns(None, [10, 30, 30, 600], [1, 1, 1, 1])
    ttft = assign_slos(trace, prefill, rule=exact, bucket_mean="trace").ttft
    short = (prefill(10) + 2 * prefill(30)) / 3
    assert ttft is not None
    assert ttft.tolist() == pytest.approx([short, short, short, prefill(600)])


def test_other_bucket_sizes() -> None:
    exact = Interactive(ttft_factor=(1.0, 1.0))
    trace = assign_slos(Trace.from_columns(None, [7, 8], [1, 1]), prefill, rule=exact, bucket=1)
    assert trace.ttft is not None
    assert trace.ttft.tolist() == [prefill(7), prefill(8)]


def test_job_completion_is_scale_times_the_time_alone() -> None:
    trace = Trace.from_columns(None, [100, 700], [50, 3])
    given = assign_slos(trace, prefill, rule=JobCompletion(scale=3.0, token_time=0.04)).jct
    assert given is not None
    assert given.tolist() == pytest.approx([3 * (bucket_mean(100) + 50 * 0.04), 3 * (bucket_mean(700) + 3 * 0.04)])
    default = assign_slos(trace, prefill, rule=JobCompletion()).jct
    assert default is not None
    assert default.tolist() == pytest.approx(
        [2 * (bucket_mean(100) + 50 * prefill(1)), 2 * (bucket_mean(700) + 3 * prefill(1))]
    )
    spread = assign_slos(paper_mix(3000), prefill, rule=JobCompletion(factor=(0.5, 1.5))).jct
    whole = assign_slos(paper_mix(3000), prefill, rule=JobCompletion()).jct
    assert spread is not None
    assert whole is not None
    assert (spread / whole).mean() == pytest.approx(1.0, abs=0.02)
    assert (spread / whole).min() == pytest.approx(0.5, abs=0.01)


def test_applications_have_rules_of_their_own() -> None:
    rules: dict[str, SLORule] = {"bookcorpus": JobCompletion(), "alpaca": Promised(ttft=2.5)}
    trace = assign_slos(paper_mix(500), prefill, per_application=rules)
    plain = assign_slos(paper_mix(500), prefill)
    for row, other in zip(trace, plain, strict=True):
        if row.application == "bookcorpus":
            assert row.slo[:2] == (math.inf, math.inf)
            assert row.slo.jct < math.inf
        elif row.application == "alpaca":
            assert row.slo == SLO(ttft=2.5)
        else:
            assert row.slo == other.slo


def test_factors_depend_on_nothing_but_their_seed() -> None:
    base = assign_slos(paper_mix(1000, rate=2.0), prefill, seed=5)
    longer = assign_slos(paper_mix(4000, rate=9.0), prefill, seed=5)
    assert longer.head(1000).with_arrivals(base.arrived_at).digest == base.digest
    exempt = assign_slos(paper_mix(1000), prefill, seed=5, per_application={"alpaca": Promised()})
    kept = exempt.application_labels() != "alpaca"
    assert exempt.ttft is not None
    assert base.ttft is not None
    assert exempt.ttft[kept].tolist() == base.ttft[kept].tolist()
    other = assign_slos(paper_mix(1000), prefill, seed=6)
    assert other.tbt is not None
    assert base.tbt is not None
    assert not np.intersect1d(other.tbt, base.tbt).size


def test_fixed_objectives_need_no_prefill_time() -> None:
    def never(tokens: int) -> float:
        raise AssertionError(f"asked for {tokens}")

    trace = assign_slos(paper_mix(50), never, rule=Promised(ttft=0.5, tbt=0.05))
    assert {row.slo for row in trace} == {SLO(0.5, 0.05)}
    assert assign_slos(paper_mix(50), never, rule=Promised()).ttft is None


def test_old_objectives_are_replaced() -> None:
    trace = Trace.from_rows([TraceRow(0.0, 1, 1, SLO(jct=1.0))])
    assert assign_slos(trace, prefill, rule=Promised(ttft=3.0))[0].slo == SLO(ttft=3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"per_application": {"chat": Promised()}},
            "no application is called 'chat'; the trace has alpaca, sharegpt, bookc",
        ),
        ({"bucket": 0}, "bucket 0"),
        ({"bucket_mean": "median"}, "bucket_mean 'median'"),
        ({"prefill_time": lambda tokens: -1.0}, "row 0, field ttft: .* is not seconds above 0"),
    ],
)
def test_impossible_rules_say_so(options: dict[str, object], message: str) -> None:
    with pytest.raises(SlosimError, match=message):
        assign_slos(paper_mix(20), **{"prefill_time": prefill, **options})  # type: ignore[arg-type]


def test_a_trace_without_labels_has_no_application() -> None:
    with pytest.raises(SlosimError, match="'chat'; the trace has none: this trace has no labels"):
        assign_slos(Trace.from_columns(None, [1], [1]), prefill, per_application={"chat": Promised()})
