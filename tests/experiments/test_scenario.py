"""Scenarios: what they accept, how they say no, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.inputs import build, run
from experiments.named import check_names, check_policy
from experiments.scenario import Scenario
from experiments.settings import Override, scenario_of
from sim.parameters import checked
from sim.predictor import Noisy
from sim.registry import predictor
from sim.schedulers.fastserve import FastServe
from sim.schedulers.vllm import Vllm
from traces import SLO, Trace, TraceRow
from traces.errors import SlosimError

SMALL = {"trace": {"requests": 30, "rate": 0.5}}


def complaint(*texts: str) -> str:
    with pytest.raises(SlosimError) as caught:
        scenario_of(None, [Override.of_text(text) for text in texts])
    return str(caught.value)


def recorded(folder: Path, times: tuple[float, ...] = (0.0, 1.0, 4.0), slo: SLO = SLO()) -> str:
    Trace.from_rows([TraceRow(at, 100, 20, slo, "chat") for at in times]).save(folder / "t.csv")
    return str(folder / "t.csv")


def test_defaults_are_the_paper_s() -> None:
    inputs = build(Scenario(trace={"requests": 20}))
    assert inputs.kv_blocks == int(12e9 // 819_200) // 32
    assert (inputs.block_size, inputs.profile.pivot.forward_size) == (32, 768)
    assert [policy.title for policy in Scenario().policies] == [
        "vllm",
        "orca",
        "fastgen",
        "sarathi",
        "accelgen",
        "punctual",
        "oracle",
    ]
    assert np.isfinite(inputs.trace.ttft).all()


def test_a_file_is_overlaid_by_flags_and_these_by_the_last(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('policies = ["vllm", "sarathi,chunk_size=256"]\nseeds = 3\n[trace]\nrequests = 7\nrate = 2.0\n')
    scenario = scenario_of(path, [Override("trace.rate", 3.0), Override.of_text("trace.rate=4.5")])
    assert (scenario.trace.requests, scenario.trace.rate, scenario.seeds) == (7, 4.5, 3)
    assert scenario.policies[1].spec == scenario.policies[1].title == "sarathi,chunk_size=256"


def test_every_mistake_is_told_with_its_place_and_a_hint() -> None:
    told = complaint('policies=["vlm"]', "trace.sorce=1", "trace.rate=-2", "predictor=nosy", "slos.scale=big")
    lines = told.splitlines()
    assert lines[0] == "the settings: 5 mistakes"
    assert "  policies.0: no scheduler 'vlm'; did you mean 'vllm'?" in told
    assert "  trace.sorce: there is no such setting; did you mean 'source'?" in lines
    assert "  trace.rate: should be greater than 0, not -2" in lines
    assert "did you mean 'noisy'" in told
    assert "slos.scale: should be a valid number" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("horizonn=3", "did you mean 'horizon'"),
        ("slos.per_application.chat.rul=jct", "did you mean 'rule'"),
        ("zzzzzz=1", "there are trace, slos, profile"),
        ("slos.ttft=1", "is of rule 'fixed', but the rule is 'paper'"),
        ("slos.rule=fixed", "needs at least one of ttft"),
        ("trace.arrivals=replay", "has no recorded arrivals"),
        ("trace.format=csv", "format: only for files; paper_mix is generated"),
        ('policies=["vllm", "vllm"]', "two policies are called 'vllm'"),
        ("policies=[]", "name at least one"),
        ('policies=["sarathi,chunk_size=many"]', "chunk_size = 'many'"),
        ('policies=["sarathi,256"]', "'256' is not a parameter"),
        ("predictor=noisy,sgma=1", "no parameter 'sgma'; did you mean 'sigma'? it has sigma"),
        ("predictor=padded,confidence=x", "confidence = 'x'"),
    ],
)
def test_one_mistake_is_one_line(text: str, words: str) -> None:
    told = complaint(text)
    assert words in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("slos.rule=none", "none"),
        ("slos.per_application.chat.rule=none", "none"),
        ("trace.format=none", None),
        ("trace.rate=none", None),
        ("predictor=none", None),
        ("trace.source=2024", "2024"),
        ("trace.source=1e3", "1e3"),
        ("trace.application=true", "true"),
        ("trace.application=2024-05-01", "2024-05-01"),
        ("trace.application='none'", "none"),
        ("trace.sources.alpaca=7", "7"),
        ("trace.reader.chunk_tokens=7", 7),
        ("trace.fitted=true", True),
        ("trace.requests=1_000", 1000),
        ("rates=[0.5, 1]", [0.5, 1]),
        ("trace.application=1\nx = 2", "1\nx = 2"),
    ],
)
def test_a_value_is_read_as_the_setting_wants_it(text: str, value: object) -> None:
    found = Override.of_text(text).value
    assert found == value
    assert type(found) is type(value)


def test_a_label_with_dots_stands_in_quotes() -> None:
    asked = Override.of_text('slos.per_application."chat 2.0".rule=none')
    scenario = scenario_of(None, [asked])
    assert scenario.slos.per_application["chat 2.0"].rule == "none"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "trace.rate=1e-12",
            "trace.rate=nan",
            "trace.rate=inf",
            "trace.rate=true",
            "trace.seed=-1",
            "trace.requests=0",
        ),
        *(
            "trace.requests=0",
            "trace.requests=2.5",
            "trace.burstiness=0",
            "trace.burstiness=nan",
            "trace.bookcorpus_share=1.5",
            "seeds=0",
        ),
        *("seeds=true", "seeds=1e9", "replicas=0", "horizon=0", "horizon=nan", "warmup=1", "warmup=-0.1", "rates=[0]"),
        *("rates=[1, 1.0]", "rates=[nan]", "sweep=[2, 2]", "cache.kv_blocks=0", "cache.kv_blocks=1" + 30 * "0"),
        *(
            "cache.block_size=0",
            "cache.memory_utilization=1.1",
            "cache.kvc_bytes=nan",
            "slos.scale=0",
            "slos.scale=inf",
        ),
        *("slos.scale=inf", "slos.jct_scale=-1", "slos.tbt_mix=[0.1, 0]", "slos.seed=-1", "predictor=noisy,sigma=-1"),
        *('policies=["vllm,watermark=-1"]', 'policies=["accelgen,gamma=nan"]', 'policies=["econoserve,reserve=2"]'),
        'policies=["vllm-v1,max_num_batched_tokens=0"]',
        'policies=[{name = "fastserve", parameters = {prefill_times = [0.1, "x"]}}]',
    ],
)
def test_a_value_without_sense_is_refused_in_one_line(text: str) -> None:
    told = complaint(text)
    assert "\n" not in told
    assert len(told) < 300


def test_parameters_travel_as_data() -> None:
    told = [
        Scenario(policies=[{"name": "fastserve", "parameters": {"prefill_times": times}}])
        for times in ([0.1, 0.2], (0.1, 0.2))
    ]
    told += [Scenario(policies=["fastserve,prefill_times=[0.1,0.2]"])]
    told += [scenario_of(None, [Override.of_text('policies=["fastserve,prefill_times=(0.1, 0.2)"]')])]
    assert len({each.digest for each in told}) == 1
    assert check_policy(told[0].policies[0].spec) == FastServe(prefill_times=(0.1, 0.2))
    assert Scenario(**__import__("json").loads(told[0].canonical())) == told[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trace": {"source": "shargpt"}}, "shargpt: no such file or folder; did you mean 'sharegpt'?"),
        ({"trace": {"source": "nowhere.csv"}}, "name a trace, or one of paper_mix, alpaca"),
        ({"trace": {"source": "tests", "format": "cvs"}}, "no format is called 'cvs'; did you mean 'csv'?"),
        ({"trace": {"sources": {"alpaca": "sharegp"}}}, "trace.sources.alpaca = 'sharegp': no such lengths"),
        ({"trace": {"sources": {"alpca": "sharegpt"}}}, "no application is called 'alpca'; did you mean 'alpaca'?"),
        (
            {"slos": {"per_application": {"chat": {"rule": "none"}}}},
            "slos.per_application: no application is called 'chat'",
        ),
        ({"profile": "opt-13b"}, "there is no profile 'opt-13b': did you mean"),
        ({"model": "opt-13"}, "there is no model 'opt-13'; did you mean 'opt-13b'?"),
        ({"policies": ["planned,plan=nowhere.json"]}, "nowhere.json"),
    ],
)
def test_names_are_looked_up_before_anything_runs(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SlosimError) as caught:
        check_names(Scenario(**settings))
    assert words in str(caught.value)


def test_a_predictor_may_be_a_table() -> None:
    scenario = Scenario(predictor={"name": "noisy", "parameters": {"sigma": 0.1}})
    assert scenario.predictor == "noisy,sigma=0.1"


def test_two_sizes_of_one_cache() -> None:
    assert "two sizes for one cache" in complaint("cache.kv_blocks=10", "cache.kvc_bytes=1e9")
    assert "file" in complaint("trace.source=x.csv", "trace.fitted=true")


def test_an_override_needs_a_name_and_a_value() -> None:
    with pytest.raises(SlosimError, match=r"write it as name=value"):
        Override.of_text("trace.rate")
    assert Override.of_text("a=[1, 2]").value == [1, 2]
    assert Override.of_text("a=some words").value == "some words"


@pytest.mark.parametrize(("content", "words"), [("a = = 1", "line 1"), (None, "cannot be read")])
def test_a_bad_file_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "s.toml"
    if content:
        path.write_text(content)
    with pytest.raises(SlosimError, match=words) as caught:
        scenario_of(path)
    assert str(path) in str(caught.value)


def test_the_same_scenario_has_the_same_digest() -> None:
    one = Scenario(policies=["sarathi,chunk_size=256"])
    other = Scenario(policies=[{"name": "sarathi", "parameters": {"chunk_size": 256}}])
    assert one.digest == other.digest
    assert one.digest != Scenario(policies=["sarathi,chunk_size=257"]).digest
    assert Scenario(**__import__("json").loads(one.canonical())) == one
    assert hash(one) == hash(other)


def test_a_scenario_read_back_from_its_own_json_means_the_same(tmp_path: Path) -> None:
    source = recorded(tmp_path, slo=SLO(ttft=7.0))
    for slos, ttft in (({}, 7.0), ({"rule": "fixed", "ttft": 3.0}, 3.0), ({"rule": "fixed", "tbt": 1.0}, None)):
        asked = Scenario(trace={"source": source}, slos=slos)
        again = Scenario(**__import__("json").loads(asked.canonical()))
        assert again == asked
        for scenario in (asked, again):
            told = build(scenario).trace.ttft
            assert (None if told is None else told.tolist()) == (None if ttft is None else [ttft] * 3)
    explicit = Scenario(trace={"source": source}, slos={"rule": "paper"})
    assert explicit.digest != Scenario(trace={"source": source}).digest, "they serve different objectives"


def test_another_rate_or_seed_changes_nothing_else() -> None:
    scenario = Scenario(**SMALL, rates=(1.0, 2.0), seeds=4)
    at = scenario.at(2.0, 9)
    assert (at.trace.rate, at.trace.seed, at.rates, at.seeds) == (2.0, 9, (), 1)
    same, slower = build(at).trace, build(scenario.at(0.5, 9)).trace
    assert (same.prompt_tokens == slower.prompt_tokens).all()
    assert same.ttft is not None
    assert (same.ttft == slower.ttft).all()
    assert np.allclose(slower.arrived_at, 4 * same.arrived_at)


def test_a_recorded_trace_keeps_its_times_or_is_stretched(tmp_path: Path) -> None:
    source = recorded(tmp_path)
    assert build(Scenario(trace={"source": source})).trace.arrived_at.tolist() == [0, 1, 4]
    assert build(Scenario(trace={"source": source, "rate": 1.0})).trace.arrived_at.tolist() == [0, 0.5, 2]
    first = build(Scenario(trace={"source": source, "requests": 2, "max_prompt_tokens": 50})).trace
    assert first.prompt_tokens.tolist() == [50, 50]
    every = build(Scenario(trace={"source": source, "rate": 2.0, "arrivals": "constant"})).trace
    assert every.arrived_at.tolist() == [0.5, 1, 1.5]
    with pytest.raises(SlosimError, match="need a rate"):
        build(Scenario(trace={"source": source, "arrivals": "poisson"}))


def test_untimed_requests_come_at_once_or_as_poisson(tmp_path: Path) -> None:
    source = recorded(tmp_path, (0.0, 0.0, 0.0))
    assert build(Scenario(trace={"source": source})).trace.arrived_at.tolist() == [0, 0, 0]
    assert (np.diff(build(Scenario(trace={"source": source, "rate": 1.0})).trace.arrived_at) > 0).all()


def test_a_file_s_own_objectives_stay_unless_a_rule_is_given(tmp_path: Path) -> None:
    source = recorded(tmp_path, slo=SLO(ttft=1.5))
    kept = build(Scenario(trace={"source": source}, slos={"scale": 2.0})).trace
    assert kept.ttft is not None
    assert kept.ttft.tolist() == [3, 3, 3]
    ruled = build(Scenario(trace={"source": source}, slos={"rule": "fixed", "tbt": 0.1})).trace
    assert [row.slo for row in ruled] == [SLO(tbt=0.1)] * 3
    per = {"rule": "none", "per_application": {"chat": {"rule": "jct"}}}
    jobs = build(Scenario(trace={"source": source}, slos=per)).trace
    assert jobs.jct is not None
    assert np.isfinite(jobs.jct).all()


def test_generated_workloads_and_arrivals() -> None:
    burst = build(Scenario(trace={"source": "alpaca", "requests": 5, "arrivals": "burst"})).trace
    assert (burst.applications, burst.arrived_at.tolist()) == (("alpaca",), [0] * 5)
    gamma = {"source": "sharegpt", "requests": 5, "arrivals": "gamma", "burstiness": 0.5, "rescale": True, "rate": 2.0}
    assert build(Scenario(trace=gamma)).trace.arrived_at[-1] == pytest.approx(2.5)


def test_lengths_of_the_mix_can_come_from_a_file(tmp_path: Path) -> None:
    source = recorded(tmp_path)
    mixed = build(Scenario(trace={"requests": 50, "sources": {"alpaca": source, "sharegpt": "sharegpt_fit"}})).trace
    labels = mixed.application_labels()
    assert set(mixed.prompt_tokens[labels == "alpaca"]) == {100}
    one = Scenario(trace={"source": "alpaca", "requests": 4, "sources": {"alpaca": source}})
    assert build(one).trace.output_tokens.tolist() == [20] * 4


def test_cache_sizes() -> None:
    sizes = ({"kv_blocks": 77}, {"kvc_bytes": 819_200 * 320}, {"memory_utilization": 0.9})
    blocks = [build(Scenario(**SMALL, cache=cache)).kv_blocks for cache in sizes]
    assert blocks[:2] == [77, 10]
    assert blocks[2] > 1500


def test_a_profile_of_another_model_is_refused() -> None:
    with pytest.raises(SlosimError, match="is of opt-13b, not of opt-175b"):
        build(Scenario(**SMALL, model="opt-175b"))
    assert build(Scenario(**SMALL, model="OPT-13B")).profile.name == "opt-13b@a100-80gb-vllm"


@dataclass(frozen=True)
class Odd(Vllm):
    """A policy with a parameter that nobody can check."""

    anything: Callable[[Missing], int] = len  # type: ignore[name-defined]  # noqa: F821


def test_parameters_of_unknown_types_are_the_policy_s_own_affair() -> None:
    assert check_policy(Odd()) == Odd()
    checked(object())


def test_constant_and_poisson_arrivals() -> None:
    times = build(Scenario(trace={"requests": 4, "rate": 2.0, "arrivals": "constant"})).trace.arrived_at
    assert times.tolist() == [0.5, 1.0, 1.5, 2.0]


def test_a_run_is_told_what_the_scenario_says() -> None:
    scenario = Scenario(**SMALL, predictor="noisy,sigma=0.1", replicas=2, horizon=50.0, warmup=0.1)
    about = run(scenario, "vllm").about
    assert about["predictor"] == "Noisy(sigma=0.1)"
    assert (about["replicas"], about["horizon"], about["warmup"]) == (2, 50.0, 0.1)
    assert predictor("noisy,sigma=0.1") == Noisy(0.1)
