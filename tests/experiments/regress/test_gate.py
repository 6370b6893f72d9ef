"""The gate at work: a planted slow-down is caught, no change is not, and what is compared is the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from costmodel import BatchShape, CostModel, profile
from experiments.cli import main
from experiments.regress import baseline
from experiments.regress.gate import Gate, Runs, verdict
from experiments.regress.margins import Judgement, Margin, judge
from experiments.regress.report import junit, markdown, sentence
from experiments.regress.settings import gate_of, policy_of, scenario_for
from sim.batch import Batch
from sim.schedulers.vllm import Vllm
from sim.server import Server
from sim.simulation import simulate as simulate_trace
from traces import assign_slos, paper_mix
from traces.errors import SlosimError

MARGINS = (Margin("mean_jct", "max", 0.02), Margin("goodput", "min", 0.02))
SLOWER = "tests.experiments.regress.test_gate:Slower"
SETTINGS: dict[str, Any] = {"trace.requests": 60, "rates": [0.5]}


@dataclass(frozen=True)
class Slower(Vllm):
    """vLLM's first come first served, which lets every running request sit out one iteration in thirty."""

    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in server.decoding:
            if (server.history.iterations + request.id) % 30 == 0 and batch.tokens > 1:
                batch.pause(request)
        batch.holds = False
        return batch


@dataclass(frozen=True)
class Scaled:
    """A cost model whose every iteration takes ``factor`` times as long."""

    model: CostModel
    factor: float

    def iteration_time(self, shape: BatchShape) -> float:
        return self.factor * self.model.iteration_time(shape)


def test_a_planted_slow_down_of_three_percent_is_caught() -> None:
    scenario = scenario_for(SETTINGS, 60, (0.5,))
    found = gate_of(scenario, SLOWER, "vllm", MARGINS, 8, 8).run()
    slow = found[0]
    assert slow.margin.metric == "mean_jct"
    assert slow.verdict == "fail"
    assert 0.03 < slow.change < 0.3


def test_no_change_passes_with_no_margin_at_all() -> None:
    scenario = scenario_for(SETTINGS, 60, (0.5,))
    found = gate_of(scenario, "vllm,max_num_seqs=255", "vllm", [Margin("mean_jct", "max", 0.0)], 2, 2).run()
    assert [each.verdict for each in found] == ["pass"]
    assert found[0].change == 0


def test_a_hundred_neutral_changes_do_not_flake_and_three_percent_slower_is_caught() -> None:
    """Every run's iterations take up to 2 % more or less, by chance; the slower ones 3 % more on top."""
    machine = profile("opt-13b@a100-80gb-vllm")
    random = np.random.default_rng(3)

    def jct(seed: int, factor: float) -> float:
        trace = assign_slos(paper_mix(40, 0.5, seed), machine.prefill_time, seed)
        model = Scaled(machine.cost_model, factor)
        return simulate_trace(trace, "vllm", model, kv_blocks=457, block_size=32).summary()["mean_jct"]

    def jittered(seed: int, factor: float) -> list[float]:
        return [jct(seed, factor * float(random.uniform(0.98, 1.02))) for _ in range(4)]

    seeds = range(8)
    baseline = [jct(seed, 1.0) for seed in seeds]
    neutral, slower = ([jittered(seed, factor) for seed in seeds] for factor in (1.0, 1.03))
    margin = Margin("mean_jct", "max", 0.01)

    def verdicts(runs: list[list[float]]) -> list[str]:
        gates = [[values[random.integers(4)] for values in runs] for _ in range(100)]
        return [judge(margin, "", gate, baseline).verdict for gate in gates]

    assert verdicts(neutral).count("fail") == 0
    assert verdicts(slower).count("fail") >= 80


def test_seeds_are_added_while_undecided() -> None:
    scenario = scenario_for(SETTINGS, 60, (0.5,))
    ours, theirs = (Runs(scenario, policy_of(name)) for name in ("sarathi", "vllm"))
    margin = Margin("mean_jct", "max", 0.02)

    def made_up(runs: Runs, factor: Callable[[int], float]) -> None:
        runs.make = lambda seeds: runs.known.update(  # type: ignore[method-assign]
            {(0.5, seed): baseline.Run({"mean_jct": factor(seed)}, {}) for seed in seeds}
        )

    made_up(theirs, lambda seed: 1.0)
    made_up(ours, lambda seed: 1.02 + 0.001 * (-1) ** seed)
    found = Gate(ours, theirs, [margin], 2, 11).run()
    assert [(each.verdict, each.seeds) for each in found] == [("inconclusive", 11)]
    made_up(ours, lambda seed: 1.5 + 0.3 * (-1) ** seed)
    assert [each.seeds for each in Gate(ours, theirs, [margin], 2, 11).run()] == [8]
    with pytest.raises(SlosimError, match="3 to 2 seeds"):
        gate_of(scenario, "vllm", "vllm", [margin], 3, 2)


def test_a_baseline_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "base.json"
    words = ["--requests", "30", "--rate", "0.5", "--jobs", "1"]
    assert main(["regress", "vllm", "--write", str(file), "--seeds", "2", *words]) == 0
    gate = ["regress", "vllm", "--against", str(file), "--seeds", "2", "--most-seeds", "3", *words]
    assert main(gate) == 0
    assert "pass: `vllm` against" in capsys.readouterr().out
    stored = json.loads(file.read_text())
    stored["runs"][0]["digests"]["trace_digest"] = "of another trace"
    file.write_text(json.dumps(stored))
    assert main(gate) == 2
    assert "was run on another trace (rate-0.5, seed 0): make it anew" in capsys.readouterr().err
    assert main([*gate[:-6], "--requests", "31", *gate[-4:]]) == 2
    assert 'was made with trace = {"source": "paper_mix"' in capsys.readouterr().err
    file.write_text("{}")
    assert main(gate) == 2
    assert "is not a baseline" in capsys.readouterr().err


def test_exit_codes_files_and_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    words = ["regress", SLOWER, "--against", "vllm", "--requests", "30", "--rate", "0.5", "--seeds", "3"]
    words += ["--most-seeds", "3", "--jobs", "1", "--junit", str(tmp_path / "gate.xml")]
    assert main([*words, "--max", "mean_jct:+0%", "--markdown", str(tmp_path / "gate.md")]) == 1
    table = (tmp_path / "gate.md").read_text()
    assert table == (tmp_path / "summary.md").read_text()
    assert f"fail: `{SLOWER}` against `vllm`" in table
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    assert suite[0].get("name") == "mean_jct +0%"
    assert main([*words, "--max", "mean_jct:+90%"]) == 0
    code = main([*words, "--max", "mean_jct:+3.3%"])
    assert code == {"pass": 0, "fail": 1, "inconclusive": 3}[_verdict_of(tmp_path / "gate.xml")]


def _verdict_of(path: Path) -> str:
    suite = ElementTree.parse(path).getroot()
    return "fail" if suite.get("failures") != "0" else "inconclusive" if suite.get("errors") != "0" else "pass"


def test_what_is_undecided_is_said_and_counts_as_an_error() -> None:
    undecided = Judgement(MARGINS[0], "rate-0.5", "inconclusive", 0.01, -0.01, 0.03, 0.05, 8)
    passed = Judgement(MARGINS[1], "rate-0.5", "pass", 0.0, 0.0, 0.0, -0.02, 8)
    assert verdict([passed, undecided]) == "inconclusive"
    assert "1 within their margins, 0 beyond, 1 undecided. Undecided:" in sentence([passed, undecided])
    assert "| rate-0.5 | mean_jct +2% | +1.00 % | -1.00 % to +3.00 % | ❓ inconclusive | +5.00 % | 8 |" in markdown(
        [undecided], "a", "b"
    )
    suite = ElementTree.fromstring(junit([passed, undecided], "a", "b"))
    assert [(each.tag, len(each)) for each in suite] == [("testcase", 0), ("testcase", 1)]
    assert suite[1][0].tag == "error"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["regress", "vllm"], "say what to compare with, as in --against vllm"),
        (["regress", "--against", "vllm"], "--against is for a policy: name it first"),
        (["regress", "vllm", "--against", "vllm", "--update"], "are for golden stories"),
        (["regress", "vlm", "--against", "vllm"], "vlm"),
        (
            ["regress", "vllm", "--against", "vllm", "--max", "speed:+2%", "--requests", "5", "--jobs", "1"],
            "'speed' is no",
        ),
    ],
)
def test_bad_words(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_the_fixtures(simulate: Callable[..., Any], assert_no_regression: Callable[..., None]) -> None:
    result = simulate("vllm", **{"trace.requests": 20, "rates": [2.0]})
    assert len(result) == 20
    small = {"trace.requests": 30, "rates": [0.5]}
    assert_no_regression("vllm", baseline="vllm", max={"p99_ttft": "+0%"}, seeds=2, most_seeds=2, **small)
    with pytest.raises(pytest.fail.Exception, match="fail: `"):
        assert_no_regression(SLOWER, baseline="vllm", max={"mean_jct": "+0%"}, seeds=4, most_seeds=4, **small)
    undecided = {"policy": SLOWER, "baseline": "vllm", "min": {"goodput": "-0.000001"}, "seeds": 2, "most_seeds": 2}
    with pytest.raises(pytest.fail.Exception, match="inconclusive"):
        assert_no_regression(**undecided, **small)
    assert_no_regression(**undecided, allow_inconclusive=True, **small)
