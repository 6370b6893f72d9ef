"""Files in the shapes that public projects write, each against what is right for it; the rows are invented."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from traces import SlosimError, Trace, load
from traces.errors import flags_in_hints

CASES = Path(__file__).parent / "cases"


def read(name: str, **options: Any) -> tuple[Trace, str]:
    """The trace and all that was said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace = load(CASES / name, **options)
    assert len(caught) <= 1, "one warning says all"
    assert trace.reading is not None
    assert not caught or all(told in trace.reading.describe() for told in trace.reading.warnings())
    return trace, trace.reading.describe()


RIGHT: list[tuple[str, dict[str, Any], list[tuple[float, int, int]], list[str]]] = [
    (
        "a03_azure2025_multimodal.csv",
        {"skip_empty": True},
        [(0.0, 120, 10), (0.8, 4200, 50)],
        ["azure, times in dates", "1 of 3 rows left out: no tokens", "ignored: NumImages"],
    ),
    ("a04_azure_zero_generated.csv", {"skip_empty": True}, [(0.0, 1452, 3), (2.498837, 10, 38)], ["2 of 4 rows left"]),
    (
        "a05_azure_tz_plus8.csv",
        {},
        [(0.0, 1452, 3), (0.998837, 584, 3)],
        ["2024-05-12 00:00:00.001163"],
    ),
    ("a06_azure_excel.csv", {}, [(0.0, 374, 44), (4.314579, 396, 109)], ["azure"]),
    ("a09_azure_header_case.csv", {}, [(0.0, 374, 44), (4.314579, 396, 109)], ["azure"]),
    (
        "b01_burstgpt_v1_fails.csv",
        {},
        [(0.0, 472, 18), (113.0, 417, 276), (116.0, 100, 30)],
        ["2 of 5 rows left out: failed (no response tokens)", "first arrival at 5, taken as 0", "times in s"],
    ),
    (
        "b02_burstgpt_v2_session.csv",
        {},
        [(0.0, 472, 18), (5.5, 1087, 230), (30.0, 600, 40)],
        ["first arrival at 10454400", "Session ID", "1 of 4 rows left out"],
    ),
    ("c10_late_start.csv", {}, [(2.0 * at, 100, 20) for at in range(50)], ["first arrival at 5270400, taken as 0"]),
    ("c13_semicolon_decimal_comma.csv", {}, [(0.0, 10, 5), (0.5, 12, 5)], ["csv, times in s"]),
    (
        "c15_other_names.csv",
        {"columns": {"arrived_at": "arrival_time", "prompt_tokens": "input_tokens"}, "time_unit": "s"},
        [(0.0, 10, 5), (0.5, 12, 5)],
        ["times in s (as asked)"],
    ),
    (
        "c20_arrival_ms_name.csv",
        {"columns": "arrived_at=arrival_ms"},
        [(0.0, 10, 5), (0.5, 12, 5)],
        ["times in ms (the name arrival_ms says so)"],
    ),
    ("c20_arrival_ms_name.csv", {"columns": "arrived_at=none"}, [(0.0, 10, 5), (0.0, 12, 5)], ["no arrivals recorded"]),
    (
        "c21_timestamp_name.csv",
        {"columns": "arrived_at=timestamp", "time_unit": "ms"},
        [(0.0, 10, 5), (0.5, 12, 5)],
        ["times in ms"],
    ),
    (
        "d01_shards",
        {},
        [(0.0, 6758, 500), (0.0, 6758, 500), (3.052, 7322, 490), (3.052, 7322, 490)],
        ["2 files read as one trace: part-0.jsonl, part-1.jsonl", "skipped: README.txt"],
    ),
    (
        "m03_dynamo_ms_block16.jsonl",
        {},
        [(0.0, 600, 50), (1.5, 640, 50), (3.0, 700, 50)],
        ["mooncake, times in ms (whole stamps; as ms it is 0.67 requests/s with 697 tokens/s)", "ignored: hash_ids"],
    ),
    ("m05_aiperf_no_hash.jsonl", {"format": "mooncake"}, [(0.0, 300, 40), (1.0, 200, 40)], ["ms (the format says so)"]),
    (
        "m06_aiperf_sessions_delay.jsonl",
        {"skip_turns": True},
        [(0.0, 300, 40)],
        ["1 of 2 rows left out: later turns of sessions", "session_id"],
    ),
    ("m10_mooncake_array.json", {}, [(0.0, 6758, 500), (3.052, 7322, 490)], ["mooncake", "hash_ids"]),
    (
        "m11_mooncake_epoch_ms.jsonl",
        {},
        [(0.0, 6758, 500), (3.052, 7322, 490)],
        ["times in ms (timestamp counts from 1970: 13 digits)", "first arrival at 1767225600000, taken as 0"],
    ),
    (
        "m12_mooncake_unsorted_zero.jsonl",
        {"skip_empty": True},
        [(0.0, 7322, 490), (1.948, 6758, 500)],
        ["1 row out of order, sorted by arrival", "first arrival at 3052"],
    ),
    (
        "m15_weka.jsonl",
        {"columns": {"arrived_at": "t", "prompt_tokens": "in", "output_tokens": "out"}},
        [(0.0, 640, 100), (5.0, 1280, 80)],
        ["jsonl, times in s"],
    ),
    (
        "p03_baseten.parquet",
        {"columns": "arrived_at=timestamp_start_unix_ms,prompt_tokens=input_tokens"},
        [(0.0, 10, 3), (1.0, 20, 4)],
        ["times in ms", "ignored: prompt"],
    ),
    ("t01_requests_in.txt", {}, [(float(at), 100, 20) for at in range(50)], ["csv"]),
]


@pytest.mark.parametrize(("name", "options", "expected", "said"), RIGHT)
def test_public_shapes_are_read_as_what_they_are(
    name: str, options: dict[str, Any], expected: list[tuple[float, int, int]], said: list[str]
) -> None:
    trace, told = read(name, **options)
    assert [tuple(row)[:3] for row in trace] == [(pytest.approx(time, abs=1e-9), *tokens) for time, *tokens in expected]
    assert [part for part in said if part not in told] == [], told


SKIP = "--set trace.reader.skip_empty=true"
WRONG = [
    (
        "a03_azure2025_multimodal.csv",
        "line 4, field GeneratedTokens: 0 is not a whole",
        SKIP,
    ),
    (
        "a04_azure_zero_generated.csv",
        "line 4, field ContextTokens: 0 is not a whole",
        SKIP,
    ),
    ("b06_burstgpt_all_failed.csv", "all 1 requests failed (no response tokens)", ""),
    ("c11_extra_cols_dup_header.csv", "line 1: two columns are called prompt_tokens", ""),
    ("c12_zero_output.csv", "line 3, field output_tokens: 0 is not a whole", SKIP),
    (
        "c15_other_names.csv",
        "its first line is 'arrival_time,input_tokens,output_tokens'",
        "--columns arrived_at=arrival_time,prompt_tokens=input_tokens,output_tokens=output_tokens",
    ),
    (
        "c20_arrival_ms_name.csv",
        "arrival_ms looks like arrival times",
        "arrived_at=arrival_ms --time-unit ms",
    ),
    ("c21_timestamp_name.csv", "the column timestamp looks like arrival times", "--columns arrived_at=timestamp"),
    ("m06_aiperf_sessions_delay.jsonl", "line 2: a later turn of a session, 2000", "trace.reader.skip_turns=true"),
    ("m12_mooncake_unsorted_zero.jsonl", "line 3, field output_length: 0", SKIP),
    (
        "m15_weka.jsonl",
        "first keys are id, t, in, out",
        "--columns arrived_at=t,prompt_tokens=in,output_tokens=out",
    ),
    ("m22_mooncake_negative_float.jsonl", "line 1, field input_length: 6758.5 is not a whole number", ""),
    (
        "p03_baseten.parquet",
        "no column prompt_tokens",
        "arrived_at=timestamp_start_unix_ms,prompt_tokens=input_tokens,output_tokens=output_tokens --time-unit ms",
    ),
]


@pytest.mark.parametrize(("name", "wrong", "hint"), WRONG)
def test_public_shapes_are_refused_in_one_line_with_the_way_out(name: str, wrong: str, hint: str) -> None:
    with flags_in_hints(), pytest.raises(SlosimError) as caught:
        load(CASES / name)
    message = str(caught.value)
    assert wrong in message
    assert hint in message
    assert "\n" not in message
