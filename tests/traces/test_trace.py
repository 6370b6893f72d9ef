"""The trace as a table: what it accepts, what it refuses in words, what it gives back."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import SLO, Poisson, SlosimError, Trace, TraceRow

TOKENS = st.integers(1, 100_000)
SECONDS = st.floats(0, 1e6) | st.integers(0, 10).map(float)
OBJECTIVE = st.floats(1e-3, 1e4) | st.just(math.inf)
ROWS = st.lists(
    st.builds(
        TraceRow, SECONDS, TOKENS, TOKENS, st.builds(SLO, OBJECTIVE, OBJECTIVE, OBJECTIVE), st.sampled_from("abc")
    )
)


def three() -> Trace:
    return Trace.from_rows(
        [
            TraceRow(0.0, 10, 1, SLO(ttft=1.0), "chat"),
            TraceRow(0.0, 20, 2, SLO(tbt=0.2), "code"),
            TraceRow(1.5, 30, 3, SLO(jct=9.0), "chat"),
        ],
        name="three",
    )


@given(ROWS)
def test_rows_come_back_in_order_of_arrival(rows: list[TraceRow]) -> None:
    trace = Trace.from_rows(rows, sort=True)
    expected = sorted(rows, key=lambda row: row.arrived_at)
    assert list(trace) == expected
    assert [trace[index] for index in range(len(trace))] == expected
    assert [trace[-1 - index] for index in range(len(trace))] == expected[::-1]


def test_rows_beyond_one_batch_keep_their_order() -> None:
    count = 150_000
    trace = Trace.from_rows((float(index), index + 1, 1) for index in range(count))
    assert len(trace) == count
    assert trace[70_000] == TraceRow(70_000.0, 70_001, 1)
    assert sum(row.prompt_tokens for row in trace) == count * (count + 1) // 2


def test_iteration_is_lazy() -> None:
    trace = Trace.from_columns(None, np.full(1_000_000, 7), np.full(1_000_000, 9))
    tracemalloc.start()
    row = next(iter(trace))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row == TraceRow(0.0, 7, 9)
    assert peak < 2_000_000


def test_ten_million_requests_take_sixteen_bytes_each() -> None:
    count = 10_000_000
    prompts, outputs = np.full(count, 100, np.int32), np.full(count, 200, np.int32)
    times = np.arange(count, dtype=float)
    tracemalloc.start()
    trace = Trace.from_columns(times, prompts, outputs)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000, "columns of the right type must not be copied"
    assert peak < 20 * count
    assert sum(column.nbytes for column in (trace.arrived_at, trace.prompt_tokens, trace.output_tokens)) == 16 * count
    assert trace[count // 2 :].arrived_at.base is not None, "a slice shares memory"


def test_columns_are_read_only_but_the_sources_are_not() -> None:
    prompts = np.array([1, 2], np.int32)
    trace = Trace.from_columns(None, prompts, [3, 4])
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt_tokens[0] = 5
    for part in (trace[:1], trace[[0]], trace.head(1), trace.clipped(prompt_tokens=1)):
        with pytest.raises(ValueError, match="read-only"):
            part.prompt_tokens[0] = 5
    prompts[0] = 5


def test_slices_masks_and_indices() -> None:
    trace = three()
    assert [row.prompt_tokens for row in trace[1:]] == [20, 30]
    assert [row.prompt_tokens for row in trace[trace.prompt_tokens != 20]] == [10, 30]
    assert [row.application for row in trace[[1, 2]]] == ["code", "chat"]
    assert [row.slo for row in trace[np.array([0, 2])]] == [SLO(ttft=1.0), SLO(jct=9.0)]
    assert trace[np.int64(2)].slo == SLO(jct=9.0)
    assert len(trace[[]]) == len(trace[5:]) == len(trace.head(-3)) == 0
    assert trace.head(2).applications == ("chat", "code")
    assert trace[:2].name == "three"


def test_ids_follow_their_requests() -> None:
    trace = Trace.from_columns([2.0, 1.0, 3.0], [1, 2, 3], [1, 1, 1], ids=["a", "b", "c"], sort=True)
    assert trace.ids == ["b", "a", "c"]
    assert trace[1:].ids == ["a", "c"]
    assert trace[np.array([True, False, True])].ids == ["b", "c"]


def test_an_order_against_time_is_refused() -> None:
    trace = three()
    with pytest.raises(IndexError):
        trace[3]
    for wrong in (slice(None, None, -1), [2, 0]):
        with pytest.raises(SlosimError, match=r"row 1, field arrived_at: 0\.0 comes before the previous 1\.5"):
            trace[wrong]


def test_sorting_is_stable() -> None:
    trace = Trace.from_columns([1.0, 0.0, 1.0, 0.0], [1, 2, 3, 4], [1, 1, 1, 1], sort=True)
    assert trace.prompt_tokens.tolist() == [2, 4, 1, 3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt_tokens": [5, 0]}, r"row 1, field prompt_tokens: 0 is not a whole number of tokens, at least 1"),
        ({"prompt_tokens": [5, 2.5]}, r"row 1, field prompt_tokens: 2.5 is not a whole"),
        ({"prompt_tokens": [5, math.nan]}, r"row 1, field prompt_tokens: nan is not a whole"),
        ({"prompt_tokens": [5, 2**31]}, r"row 1, field prompt_tokens: 2147483648 is not a whole"),
        ({"prompt_tokens": ["a", "b"]}, r"row 0, field prompt_tokens: expected numbers, got <U1 \(first: .*'a'"),
        (
            {"prompt_tokens": [[1], [2]]},
            r"prompt_tokens: expected one value per request, got an array of shape \(2, 1\)",
        ),
        ({"output_tokens": [-1, 1]}, r"row 0, field output_tokens: -1 is not"),
        ({"output_tokens": [1]}, r"equally long, but their lengths are: .*prompt_tokens 2, output_tokens 1"),
        ({"arrived_at": [0.0, math.inf]}, r"row 1, field arrived_at: inf is not seconds since the start, 0 or more"),
        ({"arrived_at": [-1.0, 0.0]}, r"row 0, field arrived_at: -1.0 is not"),
        ({"arrived_at": [1.0, 0.0]}, r"row 1, field arrived_at: 0.0 comes before .* or ask for sort=True"),
        ({"ttft": [0.0, 1.0]}, r"row 0, field ttft: 0.0 is not seconds above 0, or inf for no objective"),
        ({"jct": [1.0, math.nan]}, r"row 1, field jct: nan is not"),
        ({"application_codes": [0, 2], "applications": ("a", "b")}, r"application_codes: expected 0 to 1 for 2 labels"),
        ({"ids": ["a"]}, r"ids 1"),
    ],
)
def test_impossible_columns_are_refused_in_words(columns: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"arrived_at": [0.0, 1.0], "prompt_tokens": [5, 6], "output_tokens": [1, 2]}
    with pytest.raises(SlosimError, match=message):
        Trace.from_columns(**{**good, **columns})  # type: ignore[arg-type]


def test_whole_numbers_may_be_floats() -> None:
    assert Trace.from_columns(None, [3.0], [4.0])[0] == TraceRow(0.0, 3, 4)


def test_an_empty_trace_is_a_trace() -> None:
    for trace in (Trace.from_rows([]), Trace.from_columns([], [], [])):
        assert len(trace) == 0
        assert list(trace) == []
        assert math.isnan(trace.summary()["prompt_tokens_mean"])
        assert "0 requests" in trace.describe()


def test_with_arrivals_takes_times_or_a_process() -> None:
    trace = three()
    assert trace.with_arrivals([1.0, 2.0, 3.0]).arrived_at.tolist() == [1.0, 2.0, 3.0]
    moved = trace.with_arrivals(Poisson(2.0), seed=3)
    assert moved.arrived_at.tolist() == Poisson(2.0).times(3, seed=3).tolist()
    assert moved.prompt_tokens.tolist() == [10, 20, 30]
    with pytest.raises(SlosimError, match="requests 3, arrived_at 2"):
        trace.with_arrivals([1.0, 2.0])
    with pytest.raises(SlosimError, match="comes before"):
        trace.with_arrivals([1.0, 3.0, 2.0])


def test_with_slos_replaces_all_objectives() -> None:
    trace = three().with_slos(tbt=0.5, jct=[1.0, 2.0, math.inf])
    assert [row.slo for row in trace] == [SLO(tbt=0.5, jct=1.0), SLO(tbt=0.5, jct=2.0), SLO(tbt=0.5)]
    assert three().with_slos(ttft=math.inf).ttft is None
    with pytest.raises(SlosimError, match="tbt 2"):
        three().with_slos(tbt=[1.0, 2.0])


def test_labels_and_limits() -> None:
    trace = three().labelled("all").clipped(prompt_tokens=25, output_tokens=2)
    assert [tuple(row)[1:3] for row in trace] == [(10, 1), (20, 2), (25, 2)]
    assert trace.application_labels().tolist() == ["all"] * 3
    assert Trace.from_columns(None, [1], [1]).application_labels().tolist() == [""]
    assert [row.prompt_tokens for row in three().clipped(output_tokens=1)] == [10, 20, 30]
    for limit in (0, -3):
        with pytest.raises(SlosimError, match=f"prompt_tokens: cannot cut lengths to {limit}; give 1 or more"):
            three().clipped(prompt_tokens=limit)


def test_there_are_as_many_labels_as_a_code_can_tell() -> None:
    ones, labels = np.ones(2**15 + 1, int), [f"session {number:05}" for number in range(2**15 + 1)]
    trace = Trace.from_columns(None, ones[1:], ones[1:], application=labels[1:])
    assert trace.application_labels().tolist() == labels[1:]
    with pytest.raises(SlosimError, match=r"application: 32,769 different labels, at most 32,768 can be told apart"):
        Trace.from_columns(None, ones, ones, application=labels)


def test_the_digest_tells_what_the_requests_are() -> None:
    trace = three()
    assert len(trace.digest) == 64
    same = Trace.from_columns(
        [0.0, 0.0, 1.5],
        [10, 20, 30],
        [1, 2, 3],
        ttft=[1.0, math.inf, math.inf],
        tbt=[math.inf, 0.2, math.inf],
        jct=[math.inf, math.inf, 9.0],
        application_codes=[2, 0, 2],
        applications=("code", "unused", "chat"),
        name="another name",
    )
    assert same.digest == trace.digest == trace[:].digest
    different = [
        trace.head(2),
        trace.with_arrivals([0.0, 0.0, 1.6]),
        trace.with_slos(ttft=1.0),
        trace.with_slos(tbt=1.0),
        trace.labelled("chat"),
        trace.clipped(prompt_tokens=29),
        trace.clipped(output_tokens=2),
        Trace.from_columns([0.0, 0.0, 1.5], [10, 20, 30], [1, 2, 3]),
        Trace.from_columns([0.0, 0.0, 1.5], [10, 20, 30], [1, 2, 3], ids=["a", "b", "c"]),
    ]
    assert len({one.digest for one in [trace, *different]}) == len(different) + 1


def test_a_slice_without_objectives_has_the_digest_of_a_trace_without() -> None:
    part = three()[[1]].with_slos()
    full = three()
    assert full[[1]].with_slos().digest == part.digest
    without = Trace.from_rows([TraceRow(0.0, 1, 1), TraceRow(1.0, 1, 1, SLO(ttft=2.0))])
    assert without.head(1).digest == Trace.from_rows([TraceRow(0.0, 1, 1)]).digest


def test_the_summary_counts() -> None:
    summary = three().summary()
    assert summary["requests"] == 3
    assert summary["duration"] == 1.5
    assert summary["rate"] == pytest.approx(2 / 1.5)
    assert summary["gap_cv"] == pytest.approx(1.0)
    assert (summary["prompt_tokens_mean"], summary["prompt_tokens_p50"], summary["prompt_tokens_total"]) == (20, 20, 60)
    assert (summary["output_tokens_min"], summary["output_tokens_max"]) == (1, 3)


def test_the_description_reads() -> None:
    text = three().describe()
    assert text.startswith("three: 3 requests in 1.5 s, 1.33 requests/s, gap CV 1.00\n")
    assert "prompt tokens: mean 20, min 10, p50 20" in text
    assert "applications: chat 66.7%, code 33.3%" in text
    assert "objectives: ttft of 1, tbt of 1, jct of 1" in text
    plain = Trace.from_columns(None, [5], [6]).describe()
    assert plain.startswith("trace: 1 requests at once")
    assert plain.endswith("objectives: none")
    assert repr(three()) == "<Trace three: 3 requests>"
    assert repr(three().named("")) == "<Trace 3 requests>"


def test_pandas_has_the_columns() -> None:
    frame = three().to_pandas()
    assert frame.columns.tolist() == [
        *("arrived_at", "prompt_tokens", "output_tokens", "slo_ttft", "slo_tbt", "slo_jct", "application")
    ]
    assert frame["application"].tolist() == ["chat", "code", "chat"]
    assert frame["slo_jct"].tolist() == [math.inf, math.inf, 9.0]
    plain = Trace.from_columns(None, [5], [6]).to_pandas()
    assert plain.to_dict("list") == {"arrived_at": [0.0], "prompt_tokens": [5], "output_tokens": [6]}
