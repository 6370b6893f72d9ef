"""Results of benchmarks and workloads of other simulators: arrivals, lengths and failures, against rows by hand."""

from __future__ import annotations

import json
import marshal
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

from traces import SlosimError, Trace, load

CASES = Path(__file__).parent / "cases"
Rows = list[tuple[float, int, int]]


def read(path: Path, format: str | None = None, **options: Any) -> tuple[Rows, str, Trace]:
    """The requests, all that was said about the file, and the trace."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace = load(path, format, **options)
    assert len(caught) <= 1, "one warning says all"
    assert trace.reading is not None
    assert trace.reading.kept == len(trace), "what is read and what is left out make the file"
    columns = (trace.arrived_at, trace.prompt_tokens, trace.output_tokens)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return [(round(at, 6), prompt, output) for at, prompt, output in rows], trace.reading.describe(), trace


def saved(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def refusal(path: Path, format: str | None = None, **options: Any) -> str:
    with pytest.raises(SlosimError) as caught:
        load(path, format, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


RIGHT: list[tuple[str, Rows, list[str]]] = [
    (
        "r01_vllm_bench.json",
        [(0.0, 100, 20), (0.759359, 200, 30), (1.18543, 300, 40)],
        ["vllm_bench, times in s", "1 of 4 rows left out: failed", "first arrival at 353399.725848632, taken as 0"],
    ),
    (
        "r02_sglang_bench.jsonl",
        [(0.0, 100, 20), (0.0, 200, 30), (0.0, 300, 40)],
        ["no arrivals recorded", "its request_rate was 4.0"],
    ),
    (
        "r04_aiperf_profile_export.jsonl",
        [(0.0, 550, 9)],
        ["times in ns", "1 of 2 rows left out: failed (RequestCancellationError)", "1759813207532900363"],
    ),
    ("r08_llmservingsim.jsonl", [(0.0, 1472, 133), (1.097477, 27369, 1626)], ["times in ns"]),
    (
        "r11_blis_tracev2.csv",
        [(0.0, 512, 128)],
        ["times in us (r11_blis_tracev2.yaml says so)", "1 of 2 rows left out: failed (timeout)"],
    ),
    ("r11_blis_tracev2.yaml", [(0.0, 512, 128)], ["blis, times in us", "failed (timeout)"]),
    ("r15_servegen_requests.jsonl", [(0.0, 512, 128), (0.38, 300, 64)], ["servegen, times in s"]),
]


@pytest.mark.parametrize(("name", "right", "told"), RIGHT, ids=[name for name, _, _ in RIGHT])
def test_each_case_gives_what_is_right(name: str, right: Rows, told: list[str]) -> None:
    rows, said, _ = read(CASES / name)
    assert rows == right
    for words in told:
        assert words in said


# -- vLLM and SGLang -------------------------------------------------------------------------------------------------


def bench(**fields: Any) -> dict[str, Any]:
    lists = {"input_lens": [5, 6], "output_lens": [7, 8], "start_times": [3.5, 2.0], "errors": ["", ""]}
    return {"request_rate": 2.0, "duration": 3.0, "completed": 2, "total_input_tokens": 11, **lists, **fields}


def test_a_result_is_sorted_by_arrival(tmp_path: Path) -> None:
    rows, _, trace = read(saved(tmp_path / "x.json", bench()))
    assert rows == [(0.0, 6, 8), (1.5, 5, 7)]
    assert trace.ids == ["1", "0"]
    assert read(tmp_path / "x.json", keep_start=True)[0] == [(2.0, 6, 8), (3.5, 5, 7)]


def test_failures_are_left_out_and_counted(tmp_path: Path) -> None:
    rows, said, _ = read(saved(tmp_path / "x.json", bench(errors=["timeout", ""])))
    assert rows == [(0.0, 6, 8)]
    assert "1 of 2 rows left out: failed" in said
    rows, said, _ = read(saved(tmp_path / "y.json", bench(output_lens=[0, 8])))
    assert rows == [(0.0, 6, 8)]
    assert "1 of 2 rows left out: no output tokens" in said
    told = refusal(saved(tmp_path / "z.json", bench(errors=["a", "b"])))
    assert "no request is left of 2: 2 failed" in told


WRONG = [
    (bench(start_times=[1.0]), r"lists have different lengths (input_lens 2, output_lens 2, start_times 1, errors 2)"),
    (bench(input_lens=[5, -6]), "request 2, prompt tokens: -6 is not a whole number of tokens"),
    (bench(input_lens=[5, 6.5]), "request 2, prompt tokens: 6.5 is not"),
    (bench(input_lens=[5, None]), "request 2, prompt tokens: null is not"),
    (bench(input_lens=[5, True]), "request 2, prompt tokens: True is not"),
    (bench(output_lens=[7, "8"]), "request 2, output tokens: 8 is not"),
    (bench(output_lens=[7, float("nan")]), "request 2, output tokens: nan is not"),
    (bench(output_lens=[7, float("inf")]), "request 2, output tokens: inf is not"),
    (bench(start_times=[1.0, -2.0]), "request 2, time of arrival: -2.0 is not a time"),
    (bench(start_times=[1.0, float("nan")]), "request 2, time of arrival: nan is not"),
    (bench(start_times=[1.0, 10**25]), "request 2, time of arrival: 10000000000000000000000000 is not"),
    (bench(start_times=[1.0, None]), "no time of arrival for 1 of 2 requests"),
    (bench(input_lens={"a": 1}), "field input_lens: expected a list"),
    (bench(input_lens=[], output_lens=[], start_times=[], errors=[]), "no request is left of 0"),
]


@pytest.mark.parametrize(("result", "told"), WRONG, ids=[told for _, told in WRONG])
def test_impossible_values_are_named(tmp_path: Path, result: dict[str, Any], told: str) -> None:
    assert told in refusal(saved(tmp_path / "x.json", result))


def test_a_result_without_details_says_what_to_do(tmp_path: Path) -> None:
    result = {key: value for key, value in bench().items() if key not in ("input_lens", "output_lens", "start_times")}
    told = refusal(saved(tmp_path / "x.json", result))
    assert "no input_lens, the lengths of each request; save the result with --save-detailed" in told


def test_several_results_in_a_file_need_a_choice(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jsonl", bench(request_rate=1.0), bench(request_rate=2.0, input_lens=[50, 60]))
    told = refusal(path)
    assert "2 results (of rate 1.0, rate 2.0); choose one, such as run=1" in told
    assert read(path, run=2)[0] == [(0.0, 60, 8), (1.5, 50, 7)]
    for run in (0, 3, -1, True):
        assert "the file has 2 results" in refusal(path, run=run)


def test_our_own_bench_json_is_a_workload(tmp_path: Path) -> None:
    from costmodel import profile
    from experiments.bench_json import bench_json
    from sim.simulation import simulate

    trace = Trace.from_rows([(0.0, 50, 4), (0.25, 60, 5), (0.5, 70, 1)])
    result = simulate(trace, "vllm", profile("opt-13b@a100-80gb-vllm"))
    path = saved(tmp_path / "bench.json", bench_json(result, detailed=True))
    assert read(path)[0] == [(0.0, 50, 4), (0.25, 60, 5), (0.5, 70, 1)]


# -- AIPerf ----------------------------------------------------------------------------------------------------------


def exported(start: int, **fields: Any) -> dict[str, Any]:
    metrics = {"input_sequence_length": {"value": 11, "unit": "tokens"}, "output_sequence_length": {"value": 3.0}}
    metadata = {"session_num": 0, "request_start_ns": start, "was_cancelled": False} | fields.pop("metadata", {})
    return {"metadata": metadata, "metrics": metrics, "error": None, **fields}


def test_aiperf_counts_failures_by_kind_and_keeps_nanoseconds(tmp_path: Path) -> None:
    epoch = 1_759_813_207_532_900_363
    path = saved(
        tmp_path / "profile_export.jsonl",
        exported(epoch + 2_000_000_001),
        exported(epoch, error={"code": 500, "type": "HTTPError", "message": "x"}, metrics={}),
        exported(epoch, metadata={"was_cancelled": True}),
        exported(epoch, metadata={"benchmark_phase": "warmup"}),
        exported(epoch, metadata={"turn_index": 2}),
        exported(epoch, metrics={"input_sequence_length": {"value": 4}, "output_token_count": {"value": 6}}),
        exported(epoch, metrics={"input_sequence_length": {"value": 4}}),
    )
    rows, said, trace = read(path)
    assert rows == [(0.0, 11, 3), (0.0, 4, 6), (2.0, 11, 3)]
    assert trace.arrived_at[-1] == pytest.approx(2.000000001, abs=1e-15)
    for reason in ("failed (HTTPError)", "failed (cancelled)", "warm-up", "no output tokens"):
        assert f"1 of 7 rows left out: {reason}" in said
    assert "1 request replayed at recorded times, not as a closed loop: later calls of sessions" in said


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"data": [{"session_id": "a", "payloads": [{"messages": []}]}]}], "the inputs of an AIPerf run"),
        ([{"request_throughput": {"unit": "r/s", "avg": 2.0}, "input_config": {}}], "the summary of an AIPerf run"),
        ([{"resourceSpans": []}], "OpenTelemetry spans"),
        ([{"trace_id": "a", "span_id": "b", "attributes": {}}], "OpenTelemetry spans"),
        ([{"results_ttft_s_mean": 1.0}], "a summary of LLMPerf"),
        ([{"custom_id": "a", "body": {"messages": []}}], "a batch of OpenAI requests"),
        ([{"nbformat": 4, "cells": []}], "a notebook"),
    ],
)
def test_what_is_known_and_not_read_is_named(tmp_path: Path, rows: list[Any], told: str) -> None:
    assert told in refusal(saved(tmp_path / "x.json", *rows))


# -- GuideLLM --------------------------------------------------------------------------------------------------------


def guided(*requests: dict[str, Any], **groups: Any) -> dict[str, Any]:
    held = {"successful": list(requests), "errored": [], "incomplete": [], "total": None, **groups}
    return {"type_": "generative_benchmark", "config": {"strategy": {"type_": "constant"}}, "requests": held}


def test_guidellm_of_several_versions(tmp_path: Path) -> None:
    new = {"request_id": "a", "request_start_time": 1760000001.5, "prompt_tokens": 9, "output_tokens": 4}
    old = {"start_time": 1760000000.0, "prompt_tokens": 8, "output_tokens": 3}
    bare = {
        "info": {"timings": {"request_start": 1760000002.0}},
        "input_metrics": {"total_tokens": 7},
        "output_metrics": {"total_tokens": 2},
    }
    report = {"metadata": {}, "benchmarks": [guided(new, old, bare, errored=[{}, {}], incomplete=[{}])]}
    rows, said, _ = read(saved(tmp_path / "benchmarks.json", report))
    assert rows == [(0.0, 8, 3), (1.5, 9, 4), (2.0, 7, 2)]
    assert "2 of 6 rows left out: failed" in said
    assert "1 of 6 rows left out: incomplete at the end of the run" in said


def test_guidellm_of_a_sweep_needs_a_choice(tmp_path: Path) -> None:
    one = {"request_start_time": 1760000001.5, "prompt_tokens": 9, "output_tokens": 4}
    path = saved(tmp_path / "x.json", {"benchmarks": [guided(one), guided(one, one)]})
    assert "2 results (of constant, constant); choose one" in refusal(path)
    assert len(read(path, run=2)[0]) == 2
    empty = saved(tmp_path / "y.json", {"benchmarks": [{"type_": "x", "requests": None}]})
    assert "no requests; save the report with all of them" in refusal(empty)


# -- LLMPerf, inference-perf, LLMServingSim --------------------------------------------------------------------------


def test_llmperf(tmp_path: Path) -> None:
    row = {"error_code": None, "ttft_s": 0.1, "number_input_tokens": 266, "number_output_tokens": 86}
    path = tmp_path / "x_individual_responses.json"
    path.write_text(json.dumps([row, {**row, "error_code": 429}, row]))
    rows, said, _ = read(path)
    assert rows == [(0.0, 266, 86)] * 2
    assert "llmperf, no arrivals recorded; 1 of 3 rows left out: failed (429)" in said
    assert read(saved(tmp_path / "y.json", {**row, "start_time": 1760448728.0}, {**row, "start_time": 1760448727.5}))[
        0
    ] == [(0.0, 266, 86), (0.5, 266, 86)]


def test_inference_perf(tmp_path: Path) -> None:
    info = {"input_tokens": 12, "output_tokens": 5}
    row = {"start_time": 100.5, "end_time": 101.0, "info": info, "error": None}
    rows, said, _ = read(
        saved(tmp_path / "x.json", row, {**row, "error": {"error_type": "Timeout"}, "start_time": 1.0})
    )
    assert rows == [(0.0, 12, 5)]
    assert "1 of 2 rows left out: failed (Timeout)" in said


def test_llmservingsim_sessions_are_not_read_as_independent_requests(tmp_path: Path) -> None:
    flat = {"input_toks": 10, "output_toks": 2, "arrival_time_ns": 500_000_000}
    calls = [{"input_toks": 20 + at, "output_toks": 3, "tool_duration_ns": 9} for at in range(3)]
    session = {"session_id": "s", "arrival_time_ns": 0, "sub_requests": calls}
    path = saved(tmp_path / "x.jsonl", flat, session)
    told = refusal(path)
    assert "line 2: a session of 3 calls" in told
    assert "skip_turns=True" in told
    rows, said, _ = read(path, skip_turns=True)
    assert rows == [(0.0, 20, 3), (0.5, 10, 2)]
    assert "2 of 4 rows left out: later calls of sessions" in said


def test_llmservingsim_bench_results(tmp_path: Path) -> None:
    row = {"request_id": "bench-0", "input_toks": 2358, "output_toks": 531, "queued_ts": 27536.66}
    path = saved(
        tmp_path / "requests.jsonl", {**row, "arrival_time": 1787267980.25}, {**row, "arrival_time": 1787267980.5}
    )
    rows, said, _ = read(path)
    assert rows == [(0.0, 2358, 531), (0.25, 2358, 531)]
    assert "times in s" in said
    mixed = saved(tmp_path / "y.jsonl", {**row, "arrival_time": 1.0}, {**row, "arrival_time_ns": 5})
    assert "some arrivals are arrival_time_ns, others arrival_time" in refusal(mixed)


# -- tables of other simulators --------------------------------------------------------------------------------------


def test_splitwise(tmp_path: Path) -> None:
    head = "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
    (tmp_path / "x.csv").write_text(head + "0,2,0,1.5,1,374,44\n1,2,0,2.25,1,396,109\n")
    rows, said, trace = read(tmp_path / "x.csv")
    assert rows == [(0.0, 374, 44), (0.75, 396, 109)]
    assert "splitwise, times in s" in said
    assert trace.applications == ()
    (tmp_path / "y.csv").write_text(head + "0,2,0,1.5,1,374,44\n1,2,7,2.25,1,396,109\n")
    assert read(tmp_path / "y.csv")[2].applications == ("0", "7")


BLIS = "request_id,slo_class,input_tokens,output_tokens,deadline_us,arrival_time_us,status,slo_target_us\n"


def test_blis_keeps_classes_and_their_slos(tmp_path: Path) -> None:
    rows = "0,batch,10,2,0,500,ok,0\n1,critical,20,3,0,1500,ok,90000\n2,critical,30,4,9,2500,ok,0\n3,,5,5,0,0,error,0\n"
    (tmp_path / "t.csv").write_text(BLIS + rows)
    (tmp_path / "t.yml").write_text(
        "trace_version: 3\ntime_unit: us\nmode: real\nwarm_up_requests: 2\nserver:\n  type: vllm\n"
        "goodput_slo_targets:\n  critical:\n    ttft_ms: 500\n    itl_ms: 50\n  batch: {e2e_ms: 30000, ttft_ms: 0}\n"
    )
    found, said, trace = read(tmp_path / "t.csv")
    assert found == [(0.0, 10, 2), (0.001, 20, 3), (0.002, 30, 4)]
    assert list(trace.application_labels()) == ["batch", "critical", "critical"]
    slos = [tuple(trace[at].slo) for at in range(3)]
    none = float("inf")
    assert slos == [(none, none, 30.0), (0.09, 0.05, none), (0.5, 0.05, none)]
    assert "1 of 4 rows left out: failed (error)" in said
    assert "warm-up in the file: its first 2 requests" in said
    assert "ignored: deadline_us" in said
    assert read(tmp_path / "t.yml")[2].digest == trace.digest
    assert read(tmp_path, "blis")[2].digest == trace.digest


def test_blis_without_its_other_half(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(BLIS + "0,,10,2,0,500,ok,0\n")
    rows, said, _ = read(tmp_path / "t.csv")
    assert rows == [(0.0, 10, 2)]
    assert "no .yaml header beside it" in said
    (tmp_path / "u.yaml").write_text("trace_version: 2\ntime_unit: us\n")
    assert "without u.csv beside it" in refusal(tmp_path / "u.yaml")
    (tmp_path / "t.yaml").write_text("trace_version: 2\ntime_unit: fortnights\n")
    assert "field time_unit: 'fortnights' is none of" in refusal(tmp_path / "t.csv")
    (tmp_path / "t.yaml").write_text("trace_version: 2\ngoodput_slo_targets:\n  a:\n    ttft_ms: soon\n")
    assert "line 4, field ttft_ms: 'soon' is not a number of milliseconds" in refusal(tmp_path / "t.csv")
    (tmp_path / "t.yaml").write_text("trace_version: 2\ngoodput_slo_targets:\n    ttft_ms: 5\n")
    assert "line 3, field ttft_ms: outside of any class" in refusal(tmp_path / "t.csv")


def test_the_names_of_servegen_do_not_decide_the_unit(tmp_path: Path) -> None:
    rows = [{"timestamp": 3000 * at, "input_tokens": 700, "output_tokens": 90} for at in range(5)]
    found, said, _ = read(saved(tmp_path / "x.jsonl", *rows))
    assert [at for at, _, _ in found] == [0.0, 3.0, 6.0, 9.0, 12.0]
    assert "times in ms (whole stamps" in said
    assert read(tmp_path / "x.jsonl", "servegen")[0][1][0] == 3000.0


# -- DistServe -------------------------------------------------------------------------------------------------------

REQUESTS = [("hello", 5, 7), ("wörld", 600, 70_000), ("x" * 300, 5, 7)]
DISTSERVE = [(0.0, 5, 7), (0.0, 600, 70_000), (0.0, 5, 7)]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_a_data_set_of_distserve(tmp_path: Path, version: int) -> None:
    held = {"dataset_name": "sharegpt", "reqs": REQUESTS}
    (tmp_path / "x.ds").write_bytes(marshal.dumps(held, version))
    rows, said, _ = read(tmp_path / "x.ds", None if version > 0 else "distserve")
    assert rows == DISTSERVE
    assert "distserve, no arrivals recorded" in said


def test_marshalled_values_are_those_of_the_interpreter() -> None:
    from traces.readers.distserve import _Marshalled

    shared = ["shared", 2**70, -(2**40), -5, 1.5, None, True, False, b"bytes", "é", "x" * 300]
    value = {"a": [shared, shared], "b": (1, (2, ())), "c": {"d": "e"}}
    for version in (2, 3, 4):
        assert _Marshalled(marshal.dumps(value, version)).value(0) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_plain_data_is_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.ds").write_bytes(pickle.dumps({"dataset_name": "s", "reqs": REQUESTS}, protocol))
    assert read(tmp_path / "x.ds")[0] == DISTSERVE
    rows = [
        {"prompt_len": 5, "output_len": 7, "start_time": 2.5},
        {"prompt_len": 6, "output_len": 8, "start_time": 2.0},
    ]
    (tmp_path / "y.ds").write_bytes(pickle.dumps(rows, protocol))
    assert read(tmp_path / "y.ds")[0] == [(0.0, 6, 8), (0.5, 5, 7)]


class Evil:
    """Would make a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_code_of_a_pickle_runs(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.ds").write_bytes(pickle.dumps({"reqs": [Evil(tmp_path / "made")]}, protocol))
    told = refusal(tmp_path / "x.ds")
    assert "a pickle that holds" in told
    assert "save it as JSON Lines" in told
    assert not (tmp_path / "made").exists()


def test_buffers_of_a_pickle_are_refused(tmp_path: Path) -> None:
    held = pickle.dumps({"reqs": REQUESTS, "more": bytearray(b"x" * 300)}, 5)
    assert "more than plain data (BYTEARRAY8)" in refusal(saved_bytes(tmp_path / "x.ds", held))


def test_a_few_bytes_cannot_ask_for_much(tmp_path: Path) -> None:
    """An index of the memo of 680 million, and tuples of themselves, as a key and as a length."""
    far = b"\x80\x02}X\x04\0\0\0reqs]r\x95\x94\x94\x28(tas."
    assert "expected (prompt, prompt_len, output_len)" in refusal(saved_bytes(tmp_path / "far.ds", far))
    nested: Any = ()
    for _ in range(45):
        nested = (nested, nested)
    body = pickle.dumps(nested, 2)[2:-1]
    key = b"\x80\x02}" + body + b"K\x01s."
    assert "damaged or of another kind" in refusal(saved_bytes(tmp_path / "key.ds", key))
    for whole in (pickle.dumps([(nested, 5)], 2), marshal.dumps({"reqs": [(nested, 5)]})):
        assert "prompt tokens: ((" in refusal(saved_bytes(tmp_path / "length.ds", whole))
    refusal(saved_bytes(tmp_path / "k.ds", b"{" + marshal.dumps(nested) + b"N0"), "distserve")


def test_damaged_data_sets(tmp_path: Path) -> None:
    code = marshal.dumps({"reqs": compile("1", "x", "eval")})
    assert "marshalled data is damaged or of another kind" in refusal(saved_bytes(tmp_path / "code.ds", code))
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    assert "damaged or of another kind" in refusal(saved_bytes(tmp_path / "deep.ds", marshal.dumps({"reqs": deep})))
    whole = marshal.dumps({"dataset_name": "s", "reqs": REQUESTS})
    for cut in range(2, len(whole), 7):
        refusal(saved_bytes(tmp_path / "cut.ds", whole[:cut]))
    assert "no list reqs" in refusal(saved_bytes(tmp_path / "x.ds", marshal.dumps({"dataset_name": 5})))


def saved_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_results_of_distserve(tmp_path: Path) -> None:
    first = {"prompt_len": 1135, "output_len": 12, "start_time": 200915.5}
    rows = [first, {"prompt_len": 9, "output_len": 1, "start_time": 200915.0}]
    (tmp_path / "x.exp").write_text(json.dumps(rows))
    found, said, _ = read(tmp_path / "x.exp")
    assert found == [(0.0, 9, 1), (0.5, 1135, 12)]
    assert "distserve, times in s" in said
