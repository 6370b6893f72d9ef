"""The JSON of a run against vLLM's own figures, and the way from a result against the way from what clients saw."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bench_json import bench_json, good_requests, metrics
from experiments.served import Output, Served, served, served_by
from sim.result import RunResult
from tests.sim.synthetic import made_up
from traces.errors import SlosimError

RENAMED = {"total_input": "total_input_tokens", "total_output": "total_output_tokens"}

results = st.builds(
    made_up, st.integers(0, 10**6), st.integers(0, 14), st.integers(0, 50), horizon=st.sampled_from((None, 3.0))
)


@pytest.fixture
def recorded(recordings: Path) -> dict[str, Any]:
    return json.loads((recordings / "vllm-bench-metrics.json").read_text("utf-8"))


def expected_keys(expected: dict[str, Any]) -> dict[str, float]:
    """vLLM's own attribute names as the keys that it writes: percentiles are pairs there."""
    flat = {}
    for name, value in expected.items():
        if name.startswith("percentiles_"):
            metric = name.removeprefix("percentiles_")
            flat |= {f"p{percent:g}_{metric}": number for percent, number in value}
        else:
            flat[RENAMED.get(name, name)] = value
    return flat


def outputs_of(recorded: dict[str, Any]) -> list[Output]:
    return [Output(**{name: row[name] for name in Output._fields}) for row in recorded["requests"]]


def test_figures_are_vllm_s_own(recorded: dict[str, Any]) -> None:
    run = served(outputs_of(recorded), recorded["duration"])
    percentiles = [percent for percent, _ in recorded["expected"]["percentiles_ttft_ms"]]
    found = metrics(run, good_requests(run, recorded["goodput"]), percentiles=percentiles)
    expected = expected_keys(recorded["expected"])
    assert len(expected) == 43, "all of vLLM's figures are compared"
    assert expected["max_concurrent_requests"] == 23, "by 1 s bins, as 0.33 had it; since then it is exact"
    expected["max_concurrent_requests"] = most_at_once(
        [(row["start_time"], row["start_time"] + row["latency"]) for row in recorded["requests"] if row["success"]]
    )
    assert expected["max_concurrent_requests"] == 12
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-12)


def most_at_once(intervals: list[tuple[float, float]]) -> int:
    """Brute force: at every start, count the intervals [start, end) that hold it."""
    return max((sum(begin <= at < end for begin, end in intervals) for at, _ in intervals), default=0)


moments = st.integers(0, 12).map(lambda quarter: quarter / 4)


@given(st.lists(st.tuples(moments, st.integers(1, 12).map(lambda quarter: quarter / 4)), max_size=12))
def test_the_peak_concurrency_is_exact(requests: list[tuple[float, float]]) -> None:
    run = served([Output(True, 1, 1, start, latency, latency) for start, latency in requests], 9.0)
    intervals = [(start, start + latency) for start, latency in requests]
    assert metrics(run)["max_concurrent_requests"] == most_at_once(intervals)


def test_requests_that_only_touch_are_not_concurrent() -> None:
    run = served([Output(True, 1, 1, float(start), 1.0, 1.0) for start in range(5)], 5.0)
    assert metrics(run)["max_concurrent_requests"] == 1


def seen_by_clients(result: RunResult) -> list[Output]:
    """What clients would have seen of a run, from the definitions of its tables."""
    rows = result.requests
    outputs = []
    for number in np.flatnonzero(result.arrived):
        times = result.token_times(int(number))
        start = float(rows["arrived_at"][number])
        success = bool(rows["status"][number] == 0)
        ttft, latency = (float(times[0]) - start, float(times[-1]) - start) if success else (0.0, 0.0)
        gaps = np.diff(times).tolist()
        outputs.append(Output(success, int(rows["prompt_tokens"][number]), len(times), start, latency, ttft, gaps))
    return outputs


@given(results)
def test_a_result_gives_what_its_clients_would_report(result: RunResult) -> None:
    run = served_by(result)
    again = served(seen_by_clients(result), run.duration)
    limits = {"ttft": 500.0, "tpot": 250.0, "e2el": 3000.0}
    found = metrics(run, good_requests(run, limits), percentiles=(50, 99.9))
    assert found == pytest.approx(metrics(again, good_requests(again, limits), percentiles=(50, 99.9)), rel=1e-9)
    assert set(found) >= {"p99.9_ttft_ms", "median_itl_ms", "std_e2el_ms", "mean_tpot_ms"}


def test_the_object_has_vllm_s_keys_and_is_json() -> None:
    result = made_up(4)
    written = bench_json(result, date="20260101-000000", model="opt-13b", request_rate=2.0, detailed=True)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    keys = """date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness
    max_concurrency duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput
    output_throughput total_token_throughput max_output_tokens_per_s max_concurrent_requests rtfx latencies queue_times
    input_lens output_lens ttfts itls start_times generated_texts errors"""
    assert set(keys.split()) <= set(written)
    assert {len(written[key]) for key in ("input_lens", "ttfts", "itls", "errors")} == {written["num_prompts"]}
    assert sum(
        len(gaps) + bool(gaps or ttft) for gaps, ttft in zip(written["itls"], written["ttfts"], strict=True)
    ) == sum(written["output_lens"])
    assert [error for error in written["errors"] if error] == ["made up"] * written["failed"]


def test_without_a_limit_the_rate_is_inf_and_nan_is_null() -> None:
    written = bench_json(made_up(0, requests=0, iterations=0))
    assert written["request_rate"] == "inf"
    assert written["mean_ttft_ms"] == written["request_throughput"] == written["max_concurrent_requests"] == 0
    json.dumps(written, allow_nan=False)


def test_goodput_is_by_the_trace_s_own_slos_or_by_limits_or_null() -> None:
    result = made_up(4)
    done = result.requests["status"] == 0
    own = (result.verdicts.met[done] == 1).sum()
    assert 0 < own < done.sum()
    duration = bench_json(result)["duration"]
    assert bench_json(result)["request_goodput"] == own / duration
    assert bench_json(result, goodput={"e2el": 1e9})["request_goodput"] == done.sum() / duration
    bare = dict(result.requests) | {name: np.full(len(result), np.inf) for name in ("slo_ttft", "slo_tbt", "slo_jct")}
    assert bench_json(RunResult(bare, result.iterations, result.spans, result.capacity))["request_goodput"] is None


@pytest.mark.parametrize("limits", [{"tbt": 1.0}, {"ttft": -1.0}, {"ttft": math.nan}])
def test_a_wrong_goal_is_named(limits: dict[str, float]) -> None:
    run = Served(0, 1.0, *(np.ones(1, np.int64),) * 2, *(np.ones(1),) * 3, None, np.ones(1), np.ones(1, np.int64))  # type: ignore[arg-type]
    with pytest.raises(SlosimError, match=r"goodput t\w+:.*expected one of ttft, tpot, e2el"):
        good_requests(run, limits)
