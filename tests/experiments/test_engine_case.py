"""Measured runs: read with care, scheduled as the engine did, and predicted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costmodel import BatchShape, Calibrated
from experiments.cli import main
from experiments.engine_case import EngineCase, read_case
from experiments.overlap import Overlapped
from experiments.prediction import predict, serve, solve_host_time
from experiments.recordings import NotModelled
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.simulation import simulate
from traces import Poisson, Trace, TraceRow
from traces.errors import SlosimError

TRUE = Calibrated(3e-5, 0.01, 1.6, 2e-9, 1e-7, 6e-6, per_mixed_context_token=5e-8, tile_share=0.3, chunk_floor=100.0)
"""The machine that the synthetic engine runs on."""
HOST_TIME = 0.0021
SETTINGS = {"engine": "vLLM 0.19.0", "max_num_seqs": 16, "max_num_batched_tokens": 512, "block_size": 16}


def write_case(folder: Path, settings: dict[str, object], requests: int = 80, rate: float = 6.0) -> EngineCase:
    """A run of a synthetic engine: our own simulator with another machine; only the folder says how it went."""
    generator = np.random.default_rng(5)
    prompts, outputs = generator.integers(20, 900, requests), generator.integers(1, 120, requests)
    trace = Trace.from_columns(Poisson(rate).times(requests, 1), prompts, outputs)
    folder.mkdir(exist_ok=True)
    (folder / "engine.json").write_text(json.dumps(settings))
    _write_iterations(folder / "iterations.csv", generator)
    nothing = np.zeros(requests)
    rows = serve(EngineCase(folder, settings, trace, nothing, nothing), TRUE, HOST_TIME).requests
    lines = ["request_id,arrived_at,prompt_tokens,output_tokens,first_token_at,finished_at"]
    for n, row in enumerate(trace):
        times = f"{rows['first_token_at'][n]},{rows['finished_at'][n]}"
        lines.append(f"r{n},{row.arrived_at},{row.prompt_tokens},{row.output_tokens},{times}")
    (folder / "requests.csv").write_text("\n".join(lines))
    return read_case(folder)


def _write_iterations(path: Path, generator: np.random.Generator) -> None:
    lines = ["kind,prefill_tokens,prefill_sequences,attention_pairs,decode_tokens,context_tokens,iteration_ms"]
    for n in range(360):
        size = int(generator.integers(1, 600)) if n % 3 else 0
        decodes = int(generator.integers(1, 64)) if n % 3 != 1 else 0
        cached, context = int(generator.integers(0, 900)), decodes * int(generator.integers(20, 900))
        pairs = size * (cached + size / 2)
        seconds = TRUE.iteration_time(BatchShape(size, decodes, context, pairs, decodes + (size > 0)))
        kind = ("decode", "prefill", "mixed")[n % 3]
        lines.append(f"{kind},{size},{int(size > 0)},{pairs},{decodes},{context},{1000 * seconds}")
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("more", [{}, {"num_gpu_blocks": 260}, {"async_scheduling": False}, {"engine": "vLLM 0.6.3"}])
def test_a_synthetic_engine_is_predicted(tmp_path: Path, more: dict[str, object]) -> None:
    case = write_case(
        tmp_path / "case", {**SETTINGS, **more} | ({"max_num_batched_tokens": 1024} if "engine" in more else {})
    )
    found = predict(case, points=120, draws=3)
    assert found.host_time == pytest.approx(HOST_TIME, rel=0.2)
    for metric in ("ttft", "tpot", "latency"):
        figures = found.figures(metric)
        assert abs(figures["mean"].error) < 0.03, (metric, figures)
        assert abs(figures["p99"].error) < 0.10, (metric, figures)
    assert abs(found.makespan.error) < 0.01
    assert found.request_errors("latency")["median"] < 0.03


def test_given_host_time_is_not_set_on_the_trace(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS)
    assert predict(case, 120, 1, host_time=0.005).figures("latency")["mean"].error > 0.05


def test_host_time_is_nought_where_even_that_is_too_slow(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS)
    assert solve_host_time(case, TRUE, 0.0) == 0.0
    assert solve_host_time(case, TRUE, 1e9) > 0.2


def test_settings_become_the_engine_s_policy(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS)

    def policy(**more: object) -> object:
        return replace(case, settings={**SETTINGS, **more}).policy()

    assert policy() == Overlapped(VllmV1(512, 16))
    assert policy(engine="vLLM 0.11.2") == VllmV1(512, 16, reserve_full_prompt=False)
    assert policy(engine="vllm", async_scheduling=None, long_prefill_token_threshold=None) == policy()
    assert policy(engine="vLLM v0.6.6.post1") == Vllm(512, 16)
    assert policy(engine="Sarathi-Serve", chunk_size=256) == Sarathi(256, 16)
    assert policy(async_scheduling=False, long_prefill_token_threshold=64) == VllmV1(512, 16, True, 64)
    with pytest.raises(SlosimError, match="no policy stands for engine 'triton'"):
        policy(engine="Triton 2.0")
    with pytest.raises(SlosimError, match="max_num_seqs must be a whole number, not 'many'"):
        policy(max_num_seqs="many")
    with pytest.raises(SlosimError, match="async_scheduling must be true or false"):
        policy(async_scheduling="yes")


def test_the_null_block_is_v1_s(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS)
    tight = replace(case, settings={**SETTINGS, "num_gpu_blocks": 300})
    assert tight.kv_blocks == 299
    assert replace(tight, settings={**tight.settings, "engine": "vLLM 0.6.6"}).kv_blocks == 300
    tokens = case.trace.prompt_tokens + case.trace.output_tokens
    assert case.kv_blocks == sum(-(-int(each) // 16) for each in tokens)


def test_a_newcomer_joins_the_step_after_the_next() -> None:
    """Steps of 1 s: a runs from 0. b comes during step 0 (0 to 1), so it misses step 1 and joins step 2."""

    class Second:
        def iteration_time(self, shape: BatchShape) -> float:
            return 1.0

    rows = [TraceRow(0.0, 10, 6), TraceRow(0.5, 10, 2), TraceRow(20.0, 10, 1)]
    common = {"kv_blocks": 100, "block_size": 16, "coast": False}
    late = simulate(Trace.from_rows(rows), Overlapped(VllmV1()), Second(), **common)
    prompt = simulate(Trace.from_rows(rows), VllmV1(), Second(), **common)
    assert late.requests["first_token_at"].tolist() == [1, 3, 21]
    assert prompt.requests["first_token_at"].tolist() == [1, 2, 21]
    assert repr(late.about["scheduler"]).count("Overlapped") == 1


def test_failed_requests_are_left_out_and_order_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write_case(folder, SETTINGS)
    path = folder / "requests.csv"
    head, *rows = path.read_text().splitlines()
    fields = rows[3].split(",")
    rows[3] = ",".join([*fields[:4], "", ""])
    path.write_text("\n".join([head, *reversed(rows)]))
    case = read_case(folder)
    assert (len(case.trace), case.failed) == (79, 1)
    assert (np.diff(case.trace.arrived_at) >= 0).all()
    assert (case.finished_at >= case.first_token_at).all()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("engine.json", "{", "is not JSON"),
        ("engine.json", "[]", "must hold an object"),
        ("requests.csv", "", "is not a table"),
        (
            "requests.csv",
            "arrived_at,prompt_tokens\n1,2\n",
            "column output_tokens, first_token_at, finished_at is missing",
        ),
        ("requests.csv", "arrived_at,prompt_tokens,output_tokens,first_token_at,finished_at\n", "has no rows"),
        (
            "requests.csv",
            "arrived_at,prompt_tokens,output_tokens,first_token_at,finished_at\n0,5,3,1,2\n0,5,0,1,2\n",
            "line 3, field output_tokens: '0' is not a whole number of at least 1",
        ),
        (
            "requests.csv",
            "arrived_at,prompt_tokens,output_tokens,first_token_at,finished_at\n0,5,3,soon,2\n",
            "line 2, field first_token_at: 'soon' is not a time",
        ),
        (
            "requests.csv",
            "arrived_at,prompt_tokens,output_tokens,first_token_at,finished_at\n0,5,3,,\n",
            "no request has both",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    folder = tmp_path / "case"
    write_case(folder, SETTINGS, 3)
    (folder / name).write_text(content)
    with pytest.raises(SlosimError, match=said) as caught:
        read_case(folder)
    assert str(folder / name) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "case"
    write_case(folder, SETTINGS, 3)
    (folder / "requests.csv").unlink()
    with pytest.raises(SlosimError, match=r"requests\.csv: cannot be read"):
        read_case(folder)


def test_a_request_that_cannot_have_fitted_is_an_error(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS)
    with pytest.raises(SlosimError, match="was served by the real engine, but it needs"):
        serve(replace(case, settings={**SETTINGS, "num_gpu_blocks": 20}), TRUE, 0.0)


def test_the_command_prints_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "case", SETTINGS)
    words = ["check-engine", str(tmp_path / "case"), "--points", "120", "--draws", "1"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "the only quantity set on the trace" in told
    assert "latency p99" in told
    assert main([*words, "--json", "--host-time", "0.001"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["host_time"] == 0.001
    assert set(found["metrics"]) == {"ttft", "tpot", "latency"}
    assert set(found["metrics"]["ttft"]) == {"mean", "p50", "p90", "p99", "request_errors"}
    assert found["makespan"]["error"] == pytest.approx(found["makespan"]["predicted"] / found["makespan"]["real"] - 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_real_vllm_is_predicted(shared: Path, seed: int) -> None:
    """Means within 5 %, 99th percentiles within 10 %, whichever points are drawn."""
    found = predict(read_case(shared / "validation" / "rtx-pro-6000-llama-3.1-8b"), seed=seed)
    for metric in ("ttft", "tpot", "latency"):
        figures = found.figures(metric)
        assert abs(figures["mean"].error) < 0.05
        assert abs(figures["p99"].error) < 0.10
    assert found.request_errors("latency")["median"] < 0.02
    assert abs(found.makespan.error) < 0.02


def refused(case: EngineCase, **more: object) -> str:
    with pytest.raises(NotModelled) as caught:
        replace(case, settings={**SETTINGS, **more}).refuse_unmodelled()
    return str(caught.value)


def test_settings_that_are_not_modelled_are_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS, 3)
    case.refuse_unmodelled()
    for name in ("prefix_caching", "enable_prefix_caching", "num_speculative_tokens", "enable_lora"):
        assert f"engine.json: {name}: not modelled" in refused(case, **{name: True})
        replace(case, settings={**SETTINGS, name: False}).refuse_unmodelled()
        replace(case, settings={**SETTINGS, name: True}).refuse_unmodelled([name])
    assert "policy: not modelled" in refused(case, policy="priority")
    assert "pipeline_parallel: not modelled" in refused(case, pipeline_parallel=2)
    assert "async_scheduling: not modelled" in refused(case, engine="vLLM 0.6.3", async_scheduling=True)
    assert "chunk_size: not modelled" in refused(case, chunk_size=256)
    replace(case, settings={**SETTINGS, "engine": "sarathi", "chunk_size": 256}).refuse_unmodelled()
    assert "a: not modelled; b: not modelled" in refused(case, a=1, b="x")
    with pytest.raises(SlosimError, match=r"--ignore prefix: .* has no such setting"):
        case.refuse_unmodelled(["prefix"])


def test_tensor_parallelism_needs_its_communication(tmp_path: Path) -> None:
    case = write_case(tmp_path / "case", SETTINGS, 3)
    told = refused(case, tensor_parallel=2)
    assert "tensor_parallel = 2: not modelled without the time of its communication" in told
    included = {**SETTINGS, "tensor_parallel": 2, "iterations_include_communication": True}
    replace(case, settings=included).refuse_unmodelled()
    replace(case, settings={**SETTINGS, "tensor_parallel": 2}).refuse_unmodelled(["tensor_parallel"])
    replace(case, settings={**SETTINGS, "tensor_parallel": 1}).refuse_unmodelled()


def test_what_the_host_time_stands_for_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The synthetic engine takes 2.1 ms; 30.6 ms are no engine's; none at all was clipped."""
    case = write_case(tmp_path / "case", SETTINGS)
    found = predict(case, points=120, draws=1)
    assert found.warnings == ["num_gpu_blocks is not given: cache assumed unlimited"]
    assert "beyond the few milliseconds" in replace(found, host_time=0.0306).warnings[0]
    assert "clipped at 0" in replace(found, host_time=0.0).warnings[0]
    given = replace(found, host_time=0.0306, fitted=False, ignored=("prefix_caching",))
    assert given.warnings[0] == "prefix_caching is not modelled and was ignored"
    assert len(given.warnings) == 2
    assert replace(found, case=replace(case, settings={**SETTINGS, "num_gpu_blocks": 5000})).warnings == []
    (tmp_path / "case" / "engine.json").write_text(json.dumps({**SETTINGS, "prefix_caching": True}))
    words = ["check-engine", str(tmp_path / "case"), "--points", "120", "--draws", "1"]
    assert main(words) == 2
    assert "engine.json: prefix_caching: not modelled" in capsys.readouterr().err
    assert main([*words, "--ignore", "prefix_caching", "--host-time", "0.002"]) == 0
    told = capsys.readouterr().out
    assert "(cache assumed unlimited)" in told
    assert "warning: prefix_caching is not modelled and was ignored" in told
