"""The vectorised metrics against the slow ones, on made-up results; and each definition on a case done by hand."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import BatchShape
from sim import lateness
from sim.metrics import request_columns
from sim.result import Capacity, RunResult
from tests.sim import reference
from tests.sim.synthetic import CAPACITY, made_up
from traces.errors import SlosimError

results = st.builds(
    made_up,
    st.integers(0, 10**6),
    st.integers(0, 14),
    st.integers(0, 50),
    st.integers(1, 2),
    given_up=st.booleans(),
    horizon=st.sampled_from((None, None, 1.0, 3.0, 6.0)),
    warmup=st.sampled_from((0.0, 0.0, 0.3, 0.5, 0.9)),
)


def same(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12) or (math.isnan(found) and math.isnan(expected))


def agree(found: dict[str, float], expected: dict[str, float]) -> None:
    assert {name: found[name] for name, value in expected.items() if not same(found[name], value)} == {}


@given(results)
def test_summary_is_what_counting_token_by_token_gives(result: RunResult) -> None:
    agree(result.summary(), reference.summary(result))


@given(results)
def test_groups_are_what_counting_token_by_token_gives(result: RunResult) -> None:
    for code, figures in enumerate(result.by_application().values()):
        chosen = set(np.flatnonzero(result.requests["application"] == code).tolist())
        agree(figures, reference.summary(result, chosen))


@given(results, st.sampled_from((0.25, 1.0, 0.7)))
def test_series_are_what_counting_token_by_token_gives(result: RunResult, window: float) -> None:
    found = result.series(window)
    total, good = reference.series(result, window)
    np.testing.assert_allclose(found.throughput, total, rtol=1e-12)
    np.testing.assert_allclose(found.goodput, good, rtol=1e-12)


@given(results)
def test_token_times_are_those_of_the_spans(result: RunResult) -> None:
    for number in range(len(result)):
        assert result.token_times(number).tolist() == reference.Life(result, number).times
    counted = result.tokens.generated(len(result))
    assert counted.tolist() == result.requests["generated"].tolist()


@given(results, st.integers(1, 5))
def test_late_gaps_are_the_same_in_small_portions(result: RunResult, portion: int) -> None:
    limits = np.asarray(result.requests["slo_tbt"])
    whole = lateness.late_gaps(result.tokens, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lateness, "PAIRS_AT_ONCE", portion)
        parts = lateness.late_gaps(result.tokens, limits)
    assert parts.of_request.tolist() == whole.of_request.tolist()
    assert parts.at_step.tolist() == whole.at_step.tolist()


@given(results)
def test_utilization_is_an_integral_over_time(result: RunResult) -> None:
    if not result.end > result.begin:
        return
    rows, figures = result.iterations, result.summary()
    size = rows["prefill_tokens"] + rows["decode_tokens"]
    blocks, tokens = CAPACITY.kv_blocks, CAPACITY.kv_blocks * CAPACITY.block_size
    shares = {
        "gpu_busy": (size > 0).astype(float),
        "pivot_utilization": np.minimum(size / CAPACITY.pivot_forward_size, 1),
        "kvc_used": rows["kv_tokens"] / tokens,
        "kvc_allocated_empty": (blocks - rows["free_blocks"]) / blocks - rows["kv_tokens"] / tokens,
    }
    for name, values in shares.items():
        integral = reference.time_share(result, list(values), result.begin, result.end)
        assert figures[name] * result.capacity.replicas == pytest.approx(integral, abs=1e-9), name
    assert figures["kvc_used"] + figures["kvc_allocated_empty"] + figures["kvc_unallocated"] == pytest.approx(1)


def by_hand(requests: dict[str, list[Any]], spans: list[tuple[int, int, int, int]], **about: Any) -> RunResult:
    """Iterations 0 to 5 end at 1, 2, 3, 5, 6 and 10 s; all but the first decode: step s ends iteration s + 1."""
    ends = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 10.0])
    number = len(requests["arrived_at"])
    columns = {name: np.full(number, np.inf) for name in ("slo_ttft", "slo_tbt", "slo_jct")}
    columns |= {name: np.full(number, np.nan) for name in ("admitted_at", "first_token_at", "finished_at")}
    whole = ("generated", "preemptions", "swaps", "recomputed_tokens", "status", "application")
    columns |= {name: np.zeros(number, np.int64) for name in whole}
    columns |= {name: np.array(values) for name, values in requests.items()}
    fields = ("prefill_tokens", "decode_tokens", "context_tokens", "sequences", "swapped_tokens", "kv_tokens")
    rows = {name: np.full(6, 10) for name in (*fields, "free_blocks", "waiting", "running")}
    rows |= {"start": np.concatenate([[0.0], ends[:-1]]), "end": ends, "server": np.zeros(6, np.int16)}
    rows |= {"attention_pairs": np.full(6, 50.0), "schedule_seconds": np.full(6, 0.001)}
    rows["decode_tokens"] = np.array([0, 10, 10, 10, 10, 10])
    names = ("request", "prefill_iteration", "first_step", "last_step")
    table = {name: np.array([span[at] for span in spans], np.int64) for at, name in enumerate(names)}
    table["server"] = np.zeros(len(spans), np.int64)
    return RunResult(columns, rows, table, Capacity(20, 16), about=about)


def test_each_definition_on_one_request() -> None:
    """Tokens at 1, 2, 3 s, then preempted, and recomputed for tokens at 6 and 10 s."""
    requests = {"arrived_at": [0.5], "output_tokens": [5], "generated": [5], "slo_ttft": [0.5], "slo_tbt": [1.0]}
    requests |= {"first_token_at": [1.0], "finished_at": [10.0], "admitted_at": [0.75]}
    result = by_hand(requests, [(0, 0, 0, 2), (0, 4, 4, 5)])
    assert result.token_times(0).tolist() == [1, 2, 3, 6, 10]
    figures = result.summary()
    seconds = 10 - 0.5
    agree(
        figures,
        {
            "mean_ttft": 0.5,
            "mean_tbt": 9 / 4,
            "max_tbt": 4.0,
            "p50_tbt": 2.0,
            "mean_tpot": 9 / 4,
            "mean_jct": 9.5,
            "mean_normalized_latency": 9.5 / 5,
            "mean_queue_time": 0.25,
            "token_throughput": 5 / seconds,
            "goodput": 3 / seconds,
            "request_throughput": 1 / seconds,
            "request_goodput": 0.0,
            "slo_attainment_tokens": 3 / 5,
            "slo_attainment_ttft": 1.0,
            "slo_attainment_tbt": 2 / 4,
            "slo_attainment_requests": 0.0,
            "slo_attainment_strict": 0.0,
            "slo_attainment_jct": math.nan,
            "makespan": seconds,
            "duration": seconds,
        },
    )


def test_tpot_stands_for_tbt_in_a_request_s_verdict() -> None:
    """Gaps 1, 1, 2, 1: their mean, 1.25 s, is within 1.5 s, and one token is late."""
    requests = {"arrived_at": [0.0], "output_tokens": [5], "generated": [5], "slo_tbt": [1.5]}
    requests |= {"first_token_at": [1.0], "finished_at": [6.0]}
    figures = by_hand(requests, [(0, 0, 0, 4)]).summary()
    assert figures["slo_attainment_requests"] == 1.0
    assert figures["slo_attainment_strict"] == 0.0
    assert figures["slo_attainment_tokens"] == 4 / 5


@pytest.mark.parametrize(("limit", "good"), [(9.5, 5), (9.0, 0)])
def test_tokens_of_a_jct_request_stand_or_fall_together(limit: float, good: int) -> None:
    requests = {"arrived_at": [0.5], "output_tokens": [5], "generated": [5], "slo_jct": [limit], "slo_ttft": [0.1]}
    requests |= {"first_token_at": [1.0], "finished_at": [10.0]}
    figures = by_hand(requests, [(0, 0, 0, 2), (0, 4, 4, 5)]).summary()
    assert figures["goodput"] == good / 9.5
    assert figures["slo_attainment_jct"] == (good > 0)
    assert figures["slo_attainment_requests"] == 0.0, "the TTFT was missed all the same"


def test_rejected_requests_missed_everything_that_was_promised() -> None:
    requests = {"arrived_at": [0.0, 0.5], "output_tokens": [3, 6], "generated": [3, 0], "status": [0, 1]}
    requests |= {"first_token_at": [1.0, math.nan], "finished_at": [3.0, math.nan], "slo_ttft": [9.0, 9.0]}
    figures = by_hand(requests, [(0, 0, 0, 2)]).summary()
    assert figures["slo_attainment_tokens"] == 3 / 9
    assert figures["slo_attainment_requests"] == figures["slo_attainment_strict"] == 1 / 2
    assert (figures["finished"], figures["rejections"], figures["requests"]) == (1, 1, 2)


def without_slos(result: RunResult, bare: np.ndarray[Any, Any]) -> RunResult:
    """The same run, but these requests (a mask) have no SLO."""
    limits = {name: np.where(bare, np.inf, result.requests[name]) for name in ("slo_ttft", "slo_tbt", "slo_jct")}
    return RunResult(
        dict(result.requests) | limits, result.iterations, result.spans, result.capacity, about=result.about
    )


@given(results, st.integers(1, 3))
def test_requests_without_an_slo_are_left_out(result: RunResult, every: int) -> None:
    mixed = without_slos(result, np.arange(len(result)) % every == 0)
    agree(mixed.summary(), reference.summary(mixed))
    _, good = reference.series(mixed, 0.7)
    np.testing.assert_allclose(mixed.series(0.7).goodput, good, rtol=1e-12)
    promised = np.isfinite([mixed.requests[f"slo_{name}"] for name in ("ttft", "tbt", "jct")]).any(axis=0)
    for name in ("met", "strict"):
        assert np.isnan(getattr(mixed.verdicts, name)[~promised]).all()
    assert not mixed.verdicts.good_tokens[~promised].any()


def test_without_any_slo_there_is_neither_attainment_nor_goodput() -> None:
    """Request 0 has all its tokens, request 1 was rejected: nothing was promised to either."""
    requests = {"arrived_at": [0.0, 0.5], "output_tokens": [3, 6], "generated": [3, 0], "status": [0, 1]}
    requests |= {"first_token_at": [1.0, math.nan], "finished_at": [3.0, math.nan]}
    result = by_hand(requests, [(0, 0, 0, 2)])
    figures = result.summary()
    judged = {name for name, value in figures.items() if name.startswith("slo_") or "goodput" in name}
    assert len(judged) == 8
    assert all(math.isnan(figures[name]) for name in judged)
    assert (figures["token_throughput"], figures["request_throughput"]) == (3 / 3.0, 1 / 3.0)
    assert np.isnan(result.series().goodput).all()
    assert result.by_slo_class()["none"]["finished"] == 1


def test_of_a_mixture_only_requests_with_an_slo_count() -> None:
    """0 has no SLO; 1 has tokens at 5 and 6 s, the first within 9 s: 2 good tokens, 1 good request in 6 s."""
    requests = {"arrived_at": [0.0, 0.0], "output_tokens": [3, 2], "generated": [3, 2], "status": [0, 0]}
    requests |= {"first_token_at": [1.0, 5.0], "finished_at": [3.0, 6.0], "slo_ttft": [math.inf, 9.0]}
    figures = by_hand(requests, [(0, 0, 0, 2), (1, 3, 3, 4)]).summary()
    assert figures["goodput"] == 2 / 6
    assert figures["request_goodput"] == 1 / 6
    assert figures["token_throughput"] == 5 / 6
    assert figures["slo_attainment_requests"] == figures["slo_attainment_tokens"] == 1.0


def test_who_is_given_up_after_some_tokens_missed_the_others() -> None:
    requests = {"arrived_at": [0.0], "output_tokens": [9], "generated": [3], "status": [1], "slo_tbt": [1.0]}
    result = by_hand(requests | {"first_token_at": [1.0], "finished_at": [math.nan]}, [(0, 0, 0, 2)])
    assert (result.verdicts.good_tokens.tolist(), result.verdicts.missed_tokens.tolist()) == ([3], [6])
    figures = result.summary()
    assert figures["slo_attainment_tokens"] == 3 / 9
    assert figures["slo_attainment_tbt"] == 2 / 8
    assert figures["slo_attainment_requests"] == 0


def test_a_horizon_counts_what_was_due_and_leaves_the_rest_open() -> None:
    """At 7 s: 0 has two tokens and owes those due at 4, 5 and 6 s; 1 waits in time; 2 waits too long; 3 never came."""
    requests = {"arrived_at": [0.0, 6.5, 1.0, 8.0], "output_tokens": [9, 4, 4, 4], "generated": [3, 0, 0, 0]}
    requests |= {"status": [2, 2, 2, 3], "slo_ttft": [2.0, 1.0, 5.0, 1.0], "slo_tbt": [1.0, 1.0, math.inf, 1.0]}
    requests |= {"first_token_at": [1.0] + [math.nan] * 3}
    result = by_hand(requests, [(0, 0, 0, 2)], horizon=7.0)
    figures = result.summary()
    assert result.verdicts.missed_tokens.tolist() == [3, 0, 1, 0]
    assert figures["slo_attainment_tokens"] == 3 / (3 + 3 + 1)
    assert figures["slo_attainment_tbt"] == 2 / (2 + 3)
    assert figures["slo_attainment_ttft"] == 1 / 2
    np.testing.assert_array_equal(result.verdicts.strict, [0, np.nan, 0, np.nan])
    np.testing.assert_array_equal(result.verdicts.met, [np.nan, np.nan, 0, np.nan])
    assert figures["duration"] == 7.0
    assert figures["token_throughput"] == 3 / 7
    assert (figures["unfinished"], figures["not_arrived"]) == (3, 1)


def test_a_warm_up_leaves_early_requests_out_and_early_tokens() -> None:
    """Arrivals from 0 to 4 s and a warm-up of half: requests from 2 s on are measured, and the time from then."""
    requests = {"arrived_at": [0.0, 2.0, 4.0], "output_tokens": [2, 2, 2], "generated": [2, 2, 2]}
    requests |= {"first_token_at": [1.0, 3.0, 6.0], "finished_at": [2.0, 5.0, 10.0], "slo_ttft": [0.1, 1.0, 1.0]}
    result = by_hand(requests, [(0, 0, 0, 1), (1, 2, 2, 3), (2, 4, 4, 5)], warmup=0.5)
    figures = result.summary()
    assert result.measured.tolist() == [False, True, True]
    assert figures["requests"] == 2
    assert figures["mean_ttft"] == (1 + 2) / 2
    assert figures["slo_attainment_tokens"] == 3 / 4
    assert figures["token_throughput"] == 5 / 8, "the last token of the first request came at 2 s"
    assert figures["goodput"] == 4 / 8
    assert figures["request_throughput"] == 3 / 8
    assert figures["mean_iteration_time"] == (1 + 2 + 1 + 4) / 4, "the one that starts as the warm-up ends is measured"
    assert figures["mean_forward_size"] == 10 + 10
    assert figures["mean_batch_size"] == 10
    assert figures["mean_schedule_seconds"] == pytest.approx(0.001)
    early = by_hand(requests | {"arrived_at": [0.0, 2.5, 5.0]}, [(0, 0, 0, 1), (1, 2, 2, 3), (2, 4, 4, 5)], warmup=0.5)
    assert early.summary()["request_throughput"] == 2 / 7.5, "the first request finished before"
    assert early.summary()["mean_iteration_time"] == (2 + 1 + 4) / 3


def one_token() -> RunResult:
    ends = {"first_token_at": [1.0], "finished_at": [1.0]}
    return by_hand({"arrived_at": [0.0], "output_tokens": [1], "generated": [1], **ends}, [(0, 0, 0, 0)])


def test_operations_are_those_of_equation_4() -> None:
    result = one_token()
    assert math.isnan(result.summary()["gpu_utilization"]), "no facts, no utilisation"
    known = RunResult(result.requests, result.iterations, result.spans, CAPACITY)
    assert CAPACITY.model is not None
    shape = BatchShape(10, 0, 10, 50.0, 10, 0)
    assert known.summary()["gpu_utilization"] == pytest.approx(CAPACITY.model.operations(shape) / 312e12, rel=1e-12)


def test_slo_classes_are_named_by_their_values_or_by_their_kinds() -> None:
    number = 20
    requests: dict[str, list[Any]] = {
        "arrived_at": [0.0] * number,
        "output_tokens": [1] * number,
        "generated": [1] * number,
    }
    requests |= {"first_token_at": [1.0] * number, "finished_at": [1.0] * number}
    spans = [(one, 0, 0, 0) for one in range(number)]
    few = requests | {"slo_ttft": [1.0] * 5 + [math.inf] * 15, "slo_tbt": [0.2] * 5 + [math.inf] * 15}
    table = by_hand(few, spans).by_slo_class()
    assert {name: row["requests"] for name, row in table.items()} == {"ttft 1 s, tbt 0.2 s": 5, "none": 15}
    many = requests | {
        "slo_ttft": [0.5 + one for one in range(18)] + [math.inf] * 2,
        "slo_jct": [math.inf] * 18 + [9.0] * 2,
    }
    table = by_hand(many, spans).by_slo_class()
    assert {name: row["requests"] for name, row in table.items()} == {"ttft": 18, "jct": 2}
    assert table["ttft"]["slo_attainment_ttft"] == 17 / 18


def test_without_applications_there_is_one_group() -> None:
    result = one_token()
    assert list(result.by_application()) == ["all"]
    assert result.by_application()["all"]["requests"] == 1


def test_nothing_at_all_gives_no_figures_and_no_error() -> None:
    figures = made_up(0, requests=0, iterations=0).summary()
    assert figures["requests"] == figures["iterations"] == 0
    assert math.isnan(figures["mean_ttft"])
    assert math.isnan(figures["token_throughput"])


def test_a_window_must_be_positive() -> None:
    with pytest.raises(SlosimError, match="window: expected a positive number of seconds, got 0"):
        made_up(0).series(0)


def test_queue_and_running_over_time_are_means_over_time() -> None:
    result = made_up(3, servers=2)
    found = result.series(1.0)
    for at in range(len(found.start) - 1):
        begin = float(found.start[at])
        expected = reference.time_share(result, list(result.iterations["waiting"]), begin, begin + 1)
        assert found.waiting[at] == pytest.approx(expected, abs=1e-9)


def test_a_pickled_result_leaves_behind_what_can_be_computed_again() -> None:
    result = made_up(5)
    before = len(pickle.dumps(result))
    summary = result.summary()
    assert len(pickle.dumps(result)) == before
    agree(pickle.loads(pickle.dumps(result)).summary(), summary)


def test_tables_for_people_and_files() -> None:
    result = made_up(5)
    tables = result.to_tables()
    assert list(tables) == ["requests", "iterations", "spans"]
    assert {len(column) for column in tables["requests"].values()} == {len(result)}
    frame = result.to_pandas()
    assert set(frame["application"]) <= {"chat", "code"}
    assert frame["ttft"].equals(frame["first_token_at"] - frame["arrived_at"])
    assert len(result.to_pandas("iterations")) == len(result.iterations["end"])
    assert repr(result).startswith("<RunResult MadeUp(): 12 requests, ")
    with pytest.raises(SlosimError, match="has no table 'notes'; it has requests, iterations, spans"):
        result.to_pandas("notes")


def test_the_columns_beside_the_raw_ones() -> None:
    requests = {"arrived_at": [0.0, 0.5], "output_tokens": [3, 2], "generated": [3, 2], "slo_tbt": [1.5, math.inf]}
    requests |= {"first_token_at": [1.0, 2.0], "finished_at": [5.0, 3.0], "slo_ttft": [2.0, 1.0], "slo_jct": [4.0, 9.0]}
    result = by_hand(requests, [(0, 0, 0, 1), (0, 3, 3, 4), (1, 1, 1, 2)])
    found, verdicts = request_columns(result), result.verdicts
    expected = {
        "good_tokens": verdicts.good_tokens, "missed_tokens": verdicts.missed_tokens, "late_gaps": verdicts.late_gaps,
        "met_ttft": verdicts.ttft, "met_jct": verdicts.jct, "met_slo": verdicts.met, "met_strict": verdicts.strict,
        "measured": result.measured, "ttft": [1.0, 1.5], "jct": [5.0, 2.5],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert found.keys() == {*result.requests, *expected, "tpot", "normalized_latency"}
