"""Recorded traffic in the formats of others, right and wrong."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from traces import SlosimError, Trace, TraceRow, load

pytestmark = pytest.mark.filterwarnings("ignore::traces.TraceWarning")

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
2024-05-10 00:00:01.009930Z,76,15
"""
BURST_2 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,Conversation log
150.5,GPT-4,100,20,120,API log
"""
BURST_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,1,0.7,ChatGPT,472,18,490,Conversation log
118,2,1.5,GPT-4,417,276,693,Conversation log
"""
VIDUR = """arrived_at,num_prefill_tokens,num_decode_tokens
0.5,100,20
0.25,300,40
"""
MOONCAKE = [
    {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": list(range(14))},
    {"timestamp": 27482, "input_length": 7322, "output_length": 490, "hash_ids": list(range(15))},
]
TIMED = [
    {"timestamp": 0.5, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 3]},
    {"timestamp": 2, "input_length": 16, "output_length": 6, "hash_ids": [1]},
]


def lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


CASES: list[tuple[str, str, list[tuple[float, int, int]]]] = [
    ("azure", AZURE_2023, [(0.0, 374, 44), (4.314579, 396, 109), (4.541877, 879, 55)]),
    ("azure", AZURE_2024, [(0.0, 2162, 5), (0.007405, 2399, 6), (1.0, 76, 15)]),
    ("burstgpt", BURST_2, [(0.0, 472, 18), (113.0, 417, 276), (145.5, 100, 20)]),
    ("burstgpt", BURST_3, [(0.0, 472, 18), (113.0, 417, 276)]),
    ("vidur", VIDUR, [(0.0, 300, 40), (0.25, 100, 20)]),
    ("vidur", "num_prefill_tokens,num_decode_tokens,pd_ratio\n7,8,0.9\n", [(0.0, 7, 8)]),
    ("mooncake", lines(MOONCAKE), [(0.0, 6758, 500), (27.482, 7322, 490)]),
    ("timed_trace", lines(TIMED), [(0.0, 40, 5), (1.5, 16, 6)]),
]


def close(trace: Trace, expected: list[tuple[float, int, int]]) -> bool:
    return [tuple(row)[:3] for row in trace] == [(pytest.approx(time, abs=1e-9), *tokens) for time, *tokens in expected]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_formats_are_found_and_read(
    tmp_path: Path, name: str, text: str, expected: list[tuple[float, int, int]], zipped: bool
) -> None:
    path = tmp_path / ("trace.data.gz" if zipped else "trace.data")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert close(load(path), expected)
    assert close(load(path, name), expected)
    assert load(path).name == "trace"


def test_burstgpt_models_are_applications_and_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "burst.csv"
    path.write_text(BURST_2)
    assert load(path).application_labels().tolist() == ["ChatGPT", "GPT-4", "GPT-4"]
    only = load(path, model="GPT-4")
    assert close(only, [(0.0, 417, 276), (32.5, 100, 20)])
    with pytest.raises(SlosimError, match=r"burst.csv: the file has no request of model 'GPT-5'"):
        load(path, model="GPT-5")
    with pytest.raises(SlosimError, match=r"burst.csv, line 3, field Response tokens: 0 is not a whole number"):
        load(path, skip_empty=False)


@pytest.mark.parametrize("length", ["-276", "nan", "0.5", "99999999999"])
def test_only_empty_requests_are_left_out_wrong_ones_are_told(tmp_path: Path, length: str) -> None:
    path = tmp_path / "burst.csv"
    path.write_text(BURST_2.replace("276,693", f"{length},693"))
    with pytest.raises(SlosimError, match=r"burst.csv, line 4, field Response tokens: \S+ is not a whole number"):
        load(path)


def test_requests_without_tokens_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(AZURE_2023 + "2023-11-16 18:16:00.0000000,10,0\n")
    with pytest.raises(SlosimError, match=r"azure.csv, line 5, field GeneratedTokens: 0 is not a whole number"):
        load(path)
    assert len(load(path, skip_empty=True)) == 3


def test_timed_traces_may_have_another_unit(tmp_path: Path) -> None:
    path = tmp_path / "timed.jsonl"
    path.write_text(lines(TIMED))
    assert load(path, seconds=0.1).arrived_at.tolist() == [0.0, pytest.approx(0.15)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            AZURE_2023.replace("50.9951690", "50,9951690"),
            r"t.data, line 3: 4 fields, expected 3 as in the first line: .*50,9951690",
        ),
        (
            AZURE_2023.replace("2023-11-16 18:15:50.9951690", "yesterday"),
            r"t.data, line 3, field TIMESTAMP: 'yesterday' is not a time",
        ),
        (AZURE_2023.replace("2023-11-16 18:15:50.9951690", ""), r"t.data, line 3, field TIMESTAMP: '' is not a time"),
        (AZURE_2023.replace("396", "many"), r"t.data, line 3, field ContextTokens: 'many' is not a number"),
        (AZURE_2023.replace("396", "-396"), r"t.data, line 3, field ContextTokens: -396 is not a whole number"),
        (AZURE_2023.splitlines()[0], r"t.data: the file has no request"),
        (VIDUR.replace("0.25", "-0.25"), r"t.data, line 3, field arrived_at: -0.25 is not a time since the start"),
        (lines(MOONCAKE)[:-20], r"t.data, line 2: not JSON .*; is the file cut off\?"),
        (lines(MOONCAKE) + "[1]\n", r"t.data, line 3: expected a JSON object, got \[1\]"),
        (
            lines(MOONCAKE) + '\n{"timestamp": 1}',
            r"t.data, line 4, field input_length: missing; the line has timestamp",
        ),
        (
            lines([MOONCAKE[0], {**MOONCAKE[1], "input_length": "x"}]),
            r"t.data, line 2, field input_length: 'x' is not a n",
        ),
        (
            lines([MOONCAKE[0], {**MOONCAKE[1], "output_length": [3]}]),
            r"t.data, line 2, field output_length: \[3\] is not",
        ),
        (
            lines([MOONCAKE[0], {**MOONCAKE[1], "output_length": 10**400}]),
            r"t.data, line 2, field output_length: 10{59} is not a",
        ),
        ('{"a": 1}\n', r"t.data: none of the known formats \(.*\): its first keys are a; name one: format=..."),
        ("{", r"its first keys are none"),
    ],
)
def test_wrong_files_are_told_by_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.data"
    path.write_text(text)
    with pytest.raises(SlosimError, match=message):
        load(path)


def test_an_empty_json_lines_file(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("\n")
    with pytest.raises(SlosimError, match=r"t.jsonl: the file is empty; expected rows"):
        load(tmp_path / "t.jsonl", "mooncake")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"nothing.csv: no such file or folder"):
        load(tmp_path / "nothing.csv")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(AZURE_2023.encode() * 50)[:-40])
    with pytest.raises(SlosimError, match=r"cut.csv.gz: the gzip file is damaged or cut off"):
        load(cut, "azure")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(AZURE_2023.encode() + b"\xff\xfe,1,2\n")
    with pytest.raises(SlosimError, match=r"latin.csv: not UTF-8 text"):
        load(latin, "azure")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: load(path, "vidurr"), r"no format is called 'vidurr'; did you mean 'vidur'\? known are sharegpt"),
        (lambda path: load(path, "??"), r"no format is called '\?\?'; known are sharegpt"),
        (
            lambda path: load(path, skip_emty=True),
            r"vidur has no option 'skip_emty'; did you mean 'skip_empty'\? it has",
        ),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, call: Callable[[Path], Trace], message: str) -> None:
    path = tmp_path / "vidur.csv"
    path.write_text(VIDUR)
    with pytest.raises(SlosimError, match=message):
        call(path)


def test_lines_stay_right_beyond_one_batch(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    rows = ["num_prefill_tokens,num_decode_tokens", *["5,6"] * 120_000, "5,x"]
    path.write_text("\n".join(rows))
    with pytest.raises(SlosimError, match=r"long.csv, line 120002, field num_decode_tokens: 'x' is not a number"):
        load(path)
    path.write_text("\n".join(rows[:-1]))
    trace = load(path)
    assert len(trace) == 120_000
    assert trace[119_999] == TraceRow(0.0, 5, 6)
