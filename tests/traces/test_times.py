"""Units of times, dates, starts and windows: by the numbers themselves, never by the size of hash blocks."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import SlosimError, Trace, load
from traces.errors import flags_in_hints
from traces.readers.headers import looks_like_time
from traces.readers.times import clock, unit_in_name

pytestmark = pytest.mark.filterwarnings("ignore::traces.TraceWarning")


def timed(path: Path, stamps: list[float], tokens: int = 7000, block: int | None = None) -> Path:
    """Rows of Mooncake's keys."""
    rows: list[dict[str, Any]] = [{"timestamp": at, "input_length": tokens, "output_length": 100} for at in stamps]
    for row in rows:
        row |= {} if block is None else {"hash_ids": list(range(-(-tokens // block)))}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("block", [None, 16, 64, 512])
@pytest.mark.parametrize(
    ("stamps", "unit"),
    [
        ([0, 1500, 3000], "ms"),
        ([0, 3, 7, 8], "s"),
        ([0.25, 1.75, 3.5], "s"),
        ([0, 27482, 61005], "ms"),
        ([0, 5_000_000, 15_000_000], "us"),
        ([0, 5_000_000_000, 15_000_000_000], "ns"),
        ([1767225600, 1767225603], "s"),
        ([1767225600.25, 1767225603.5], "s"),
        ([1767225600000, 1767225603052], "ms"),
        ([1767225600000000, 1767225603052000], "us"),
        ([1767225600000000000, 1767225603052000000], "ns"),
    ],
)
def test_the_unit_follows_from_the_stamps_whatever_the_blocks(
    tmp_path: Path, stamps: list[float], unit: str, block: int | None
) -> None:
    trace = load(timed(tmp_path / "t.jsonl", stamps, block=block))
    scale = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    assert trace.arrived_at.tolist() == [pytest.approx((at - stamps[0]) / scale, abs=1e-9) for at in stamps]
    assert trace.reading is not None
    assert (trace.reading.time_unit, trace.reading.first_arrival) == (unit, stamps[0])
    assert trace.reading.format == ("timed_trace" if unit == "s" else "mooncake")


def test_an_hour_of_mooncake_is_milliseconds(tmp_path: Path) -> None:
    """As the published trace: 23,608 requests of 8,000 tokens in 3,600,000 ms, here every fortieth of them."""
    stamps = [152 * 40 * at for at in range(590)]
    assert load(timed(tmp_path / "t.jsonl", list(stamps))).arrived_at[-1] == pytest.approx(3581.12)


@pytest.mark.parametrize("stamps", [[0, 10, 25, 40], [0.0, 27.4, 61.2], [0, 40, 90]])
def test_two_units_that_fit_are_asked_about(tmp_path: Path, stamps: list[float]) -> None:
    path = timed(tmp_path / "t.jsonl", stamps, tokens=300)
    with pytest.raises(
        SlosimError, match=r"the time unit is not clear \(as s .*; as ms .*time_unit='s' or time_unit='ms'"
    ):
        load(path)
    with flags_in_hints(), pytest.raises(SlosimError, match="say which: --time-unit s or --time-unit ms"):
        load(path)
    assert load(path, time_unit="ms").arrived_at[-1] == pytest.approx(stamps[-1] / 1000)
    assert load(path, time_unit="s").arrived_at[-1] == pytest.approx(stamps[-1])
    assert load(path, "mooncake").arrived_at[-1] == pytest.approx(stamps[-1] / 1000)
    assert load(path, "timed_trace").arrived_at[-1] == pytest.approx(stamps[-1])
    assert load(path, "mooncake", time_unit="s").arrived_at[-1] == pytest.approx(stamps[-1])


def test_only_units_that_are_possible_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="say which: time_unit='ms' or time_unit='us'"):
        load(timed(tmp_path / "t.jsonl", [0, 500_000, 1_500_000]))


def test_a_recording_of_most_of_a_year_is_none() -> None:
    """One request per 90 units is as plausible in seconds as in milliseconds, but not for 208 days."""
    stamps = np.arange(200_000) * 90
    assert clock(stamps, 5000.0 * len(stamps), None, "t", "here").unit == "ms"
    with pytest.raises(SlosimError, match="the time unit is not clear"):
        clock(stamps[:1000], 5000.0 * 1000, None, "t", "here")


def test_one_arrival_needs_no_unit(tmp_path: Path) -> None:
    assert load(timed(tmp_path / "t.jsonl", [17])).arrived_at.tolist() == [0.0]


def test_a_first_part_is_read_with_the_unit_of_the_whole(tmp_path: Path) -> None:
    """The first three rows alone would look like seconds."""
    path = timed(tmp_path / "t.jsonl", [0, 3, 7, *range(20_000, 4_000_000, 2000)])
    whole = load(path)
    assert whole.reading is not None
    assert whole.reading.time_unit == "ms"
    assert load(path, requests=3).arrived_at.tolist() == whole.arrived_at[:3].tolist() == [0.0, 0.003, 0.007]


def test_seconds_since_1970_contradict_milliseconds(tmp_path: Path) -> None:
    path = timed(tmp_path / "t.jsonl", [1767225600, 1767225603])
    with pytest.raises(SlosimError, match="look like s since 1970, but the format has ms; say which: time_unit='s' or"):
        load(path, "mooncake")
    assert load(path, "mooncake", time_unit="s").arrived_at.tolist() == [0.0, 3.0]


def test_milliseconds_since_1970_are_no_seconds_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("arrived_at,prompt_tokens,output_tokens\n1767225600000,1,1\n1767225603052,2,2\n")
    assert load(tmp_path / "a.csv").arrived_at.tolist() == [0.0, 3.052]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("arrival_ms", "ms"),
        ("timestamp_start_unix_ms", "ms"),
        ("arrival_time_ns", "ns"),
        ("arrivalTimeUs", "us"),
        ("start (s)", "s"),
        ("time_seconds", "s"),
        ("t_millis", "ms"),
        ("timestamp", None),
        ("arrivals", None),
        ("status", None),
    ],
)
def test_names_that_say_their_unit(name: str, unit: str | None) -> None:
    assert unit_in_name(name) == unit


@pytest.mark.parametrize(
    ("name", "time"),
    [
        *((name, True) for name in ("timestamp", "Time", "ts", "t", "arrival", "arrived", "arrival_ms", "start_time")),
        *((name, True) for name in ("created_at", "request_start_ns", "unix_ms", "submitTime", "date", "sent_at")),
        *(
            (name, False)
            for name in ("ttft_ms", "latency_ms", "e2e_ms", "duration", "end_time", "total_time", "status")
        ),
        *((name, False) for name in ("output_tokens", "prompt", "model", "type", "id", "slo_ttft", "deadline_us")),
    ],
)
def test_which_names_look_like_arrivals(name: str, time: bool) -> None:
    assert looks_like_time(name) == time


TABLE = "when,prompt_tokens,output_tokens\n{},10,5\n{},12,5\n"


@pytest.mark.parametrize(
    ("first", "second", "gap"),
    [
        ("2024-05-12T08:00:00.001163+08:00", "2024-05-12T00:00:01Z", 0.998837),
        ("2024-05-12 08:00:00 +0800", "2024-05-11T19:00:02-05:00", 2.0),
        ("2024-05-12 08:00:00+05:30", "2024-05-12 08:00:30+0530", 30.0),
        ("2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690", 4.314579),
        ("2024-02-28 23:59:59", "2024-03-01 00:00:00", 86_401.0),
        ("2024-05-12", "2024-05-13", 86_400.0),
        ("2024-05-12T08:00", "2024-05-12T08:01", 60.0),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "array"])
def test_dates_are_arrival_times(tmp_path: Path, first: str, second: str, gap: float, form: str) -> None:
    path = tmp_path / "t.data"
    rows = [{"when": stamp, "prompt_tokens": 10, "output_tokens": 5} for stamp in (first, second)]
    lines = "\n".join(map(json.dumps, rows))
    path.write_text({"csv": TABLE.format(first, second), "jsonl": lines, "array": json.dumps(rows)}[form])
    trace = load(path, columns={"arrived_at": "when"})
    assert trace.arrived_at.tolist() == [0.0, pytest.approx(gap, abs=1e-9)]
    assert trace.reading is not None
    assert trace.reading.time_unit == "dates"


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_parquet_are_arrival_times(tmp_path: Path, zone: str | None, unit: str) -> None:
    stamps = pd.to_datetime(["2024-05-12 08:00:00", "2024-05-12 08:00:03"]).tz_localize(zone).as_unit(unit)  # type: ignore[arg-type]
    frame = pd.DataFrame({"arrived_at": stamps, "prompt_tokens": [1, 2], "output_tokens": [3, 4]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").arrived_at.tolist() == [0.0, 3.0]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("2024-05-12T00:00:01", "'2024-05-12T00:00:01' is not a time such as .*all with a zone, or all without"),
        ("yesterday", "'yesterday' is not a time"),
        ("2024-02-30T00:00:01Z", "'2024-02-30T00:00:01Z' is not a time"),
        ("", "'' is not a time"),
    ],
)
def test_wrong_dates_are_told(tmp_path: Path, second: str, why: str) -> None:
    (tmp_path / "t.csv").write_text(TABLE.format("2024-05-12T00:00:00Z", second))
    with pytest.raises(SlosimError, match=f"t.csv, line 3, field when: {why}"):
        load(tmp_path / "t.csv", columns={"arrived_at": "when"})


def test_dates_have_no_unit_and_no_zero(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE.format("2024-05-12T00:00:00Z", "2024-05-12T00:00:01Z"))
    with pytest.raises(SlosimError, match="when holds dates, which have no unit: leave out time_unit='ms'"):
        load(tmp_path / "t.csv", columns={"arrived_at": "when"}, time_unit="ms")
    with pytest.raises(SlosimError, match="has dates, not times since a start: leave out keep_start=True"):
        load(tmp_path / "t.csv", columns={"arrived_at": "when"}, keep_start=True)
    with pytest.raises(SlosimError, match="time_unit='h': there is no such unit; known are s, ms, us, ns"):
        load(tmp_path / "t.csv", columns={"arrived_at": "when"}, time_unit="h")


# -- windows ---------------------------------------------------------------------------------------------------------


@given(
    gaps=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    start=st.none() | st.integers(0, 300),
    end=st.none() | st.integers(0, 300),
    first=st.sampled_from([0, 7, 5_270_400]),
)
def test_a_window_is_what_a_loop_over_the_rows_keeps(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], start: int | None, end: int | None, first: int
) -> None:
    times = [first + sum(gaps[:at]) for at in range(len(gaps))]
    path = tmp_path_factory.mktemp("w") / "t.csv"
    rows = "".join(f"{time},{at + 1},1\n" for at, time in enumerate(times))
    path.write_text(f"arrived_at,prompt_tokens,output_tokens\n{rows}")
    low, high = start or 0, float("inf") if end is None else end
    expected = [(time, at + 1) for at, time in enumerate(times) if low <= time - first < high]
    if not expected:
        with pytest.raises(SlosimError, match="no request arrives in the window"):
            load(path, start=start, end=end)
        return
    got = load(path, start=start, end=end)
    assert [(row.arrived_at, row.prompt_tokens) for row in got] == [(time - expected[0][0], n) for time, n in expected]


def test_windows_by_dates(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2024-05-12 08:{minute:02}:00+00:00,{minute + 1},1\n" for minute in range(10)
    )
    (tmp_path / "a.csv").write_text(text)
    for start, end in (("2024-05-12T08:03", "2024-05-12T08:05"), ("2024-05-12T10:03+02:00", "300"), (180.0, 300.0)):
        trace = load(tmp_path / "a.csv", start=start, end=end)
        assert trace.prompt_tokens.tolist() == [4, 5]
        assert trace.arrived_at.tolist() == [0.0, 60.0]
        assert trace.reading is not None
        assert "2 of 10 requests, from 180 s to 300 s after the first arrival" in trace.reading.describe()
    with pytest.raises(SlosimError, match="start='soon': 'soon' is neither seconds nor a date such as"):
        load(tmp_path / "a.csv", start="soon")
    (tmp_path / "b.csv").write_text(text.replace("+00:00", ""))
    with pytest.raises(SlosimError, match="the dates of the file have no zone"):
        load(tmp_path / "b.csv", start="2024-05-12T10:03+02:00")


def test_windows_by_dates_of_stamps_since_1970(tmp_path: Path) -> None:
    path = timed(tmp_path / "t.jsonl", [1767225600000, 1767225603052])
    assert load(path, start="2026-01-01T00:00:01").prompt_tokens.tolist() == [7000]


def test_no_window_without_arrivals(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt_tokens,output_tokens\n1,2\n")
    with pytest.raises(SlosimError, match="records no arrivals"):
        load(tmp_path / "a.csv", start=1.0)


def test_a_window_with_the_zero_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("arrived_at,prompt_tokens,output_tokens\n100,1,1\n160,2,2\n")
    assert load(tmp_path / "a.csv", start=30, keep_start=True).arrived_at.tolist() == [160.0]


def test_a_window_takes_its_requests_from_behind_the_first_ones(tmp_path: Path) -> None:
    rows = "".join(f"{at},{at + 1},1\n" for at in range(100))
    (tmp_path / "a.csv").write_text(f"arrived_at,prompt_tokens,output_tokens\n{rows}")
    trace: Trace = load(tmp_path / "a.csv", start=50, requests=3)
    assert trace.prompt_tokens.tolist() == [51, 52, 53]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path / "a.csv", start=50, requests=3)
