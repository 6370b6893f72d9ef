"""The command line as a user meets it: what it prints, what it writes, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from experiments.cli import COMMANDS, main
from traces import load


def fails(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Runs a command that must fail, without a traceback and with one line on standard error."""
    assert main(list(words)) == code
    told = capsys.readouterr().err
    assert told.startswith("slosim: ")
    assert told.count("\n") == 1
    return told


def slosim(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real thing, in a process of its own."""
    root = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.insert(0, {root!r}); from experiments.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=cwd, check=False)


def test_help_teaches_and_loads_nothing() -> None:
    done = slosim("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)
    assert "examples:" in done.stdout
    program = "import sys, experiments.cli as c; c.parser().format_help(); print('numpy' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"usage: slosim {command}" in told
    assert f"slosim {command} " in told[told.index("example") :]


def test_no_command_and_a_wrong_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().out
    assert "did you mean 'compare'?" in fails(capsys, "compar")
    assert "there are compare, run" in fails(capsys, "xyz")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("slosim ")


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "vllm", "--rte", "3"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "--rte" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "vlm"), "did you mean 'vllm'"),
        (("run", "vllm", "--profile", "opt-13b@h20"), "did you mean opt-13b@h200"),
        (("run", "vllm", "--model", "opt-66b"), "is of opt-13b, not of opt-66b"),
        (("run", "vllm", "--trace", "missing.csv"), "missing.csv: no such file"),
        (("run", "vllm", "--requests", "5", "-o", "/dev/null/x"), "/dev/null/x"),
        (("run", "vllm", "--requests", "5", "--timeline", "--window", "3"), "--window 3: write it as FROM:TO"),
        (("run", "vllm", "--set", "trace.rate"), "write it as name=value"),
        (("profile", "opt-13"), "there is no profile 'opt-13'"),
        (("profile", "opt-13b@h200", "--memory", "2"), "--memory a share"),
        (("trace", "paper_mx"), "paper_mx: no such file"),
        (("fit", "missing.csv", "-o", "p.json"), "missing.csv: cannot be read"),
        (("check-steps", "missing.meta.json"), "missing.meta.json"),
        (("check-engine", "missing"), "engine.json: cannot be read"),
        (("check", "nothing:Here"), "No module named 'nothing'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in fails(capsys, *words)


def test_a_malformed_row_is_named_by_file_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_at,prompt_tokens,output_tokens\n0,10,5\n1,abc,4\n")
    told = fails(capsys, "run", "vllm", "--trace", str(path))
    assert all(part in told for part in (str(path), "line 3", "prompt_tokens", "'abc'"))


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.cli.dispatch", lambda words: int("not a number"))
    with pytest.raises(ValueError, match="not a number"):
        main(["list"])
    monkeypatch.setattr("experiments.cli.dispatch", _interrupted)
    assert main(["list"]) == 130


def _interrupted(words: list[str]) -> int:
    raise KeyboardInterrupt


def test_run_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "run",
        "sarathi,chunk_size=256",
        "--rate",
        "1",
        "--requests",
        "20",
        "-o",
        str(tmp_path / "r"),
        "--timeline",
    ]
    assert main([*words, "--window", "0:5"]) == 0
    told = capsys.readouterr().out
    assert "sarathi,chunk_size=256" in told
    assert "JCT mean" in told
    assert "ui.perfetto.dev" in told
    files = {path.name for path in (tmp_path / "r").iterdir()}
    assert files == {
        "requests.parquet", "iterations.parquet", "spans.parquet", "events.parquet", "causes.parquet",
        "summary.json", "bench.json", "timeline.json.gz",
    }  # fmt: skip
    kept = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert kept["provenance"]["run"]["config"]["trace"]["requests"] == 20
    bench = json.loads((tmp_path / "r" / "bench.json").read_text())
    assert (bench["completed"], bench["request_rate"], bench["model_id"]) == (20, 1.0, "opt-13b")


def test_trace_makes_describes_and_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "m.parquet"
    assert main(["trace", "alpaca", "--requests", "12", "--rate", "3", "--slos", "-o", str(made)]) == 0
    told = capsys.readouterr().out
    assert "alpaca: 12 requests" in told
    assert "ttft of 12" in told
    assert main(["trace", str(made), "--requests", "5", "-o", str(tmp_path / "m.csv")]) == 0
    assert load(tmp_path / "m.csv").prompt_tokens.tolist() == load(made).prompt_tokens[:5].tolist()
    assert "cannot write" in fails(capsys, "trace", str(made), "-o", "/dev/null/t.csv")


def test_list_names_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    for word in (
        "policies:",
        "accelgen",
        "gamma=0.75",
        "opt-13b@h200",
        "a prior",
        "paper_mix",
        "mooncake",
        "sigma=0.5",
    ):
        assert word in told
    assert main(["list", "formats"]) == 0
    assert "accelgen" not in capsys.readouterr().out


def test_check_of_a_built_in_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sarathi,chunk_size=64,max_num_seqs=8"]) == 0
    assert capsys.readouterr().out.strip()


def test_profile_says_pivot_cache_and_provenance(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "opt-13b@a100-80gb-vllm"]) == 0
    told = capsys.readouterr().out
    for words in ("768 tokens (750 before", "T_pf 134.7 ms", "14,648 tokens, 457 blocks of 32", "licence: Apache-2.0"):
        assert words in told


def test_fit_makes_a_profile_that_compares_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, profile = tmp_path / "points.csv", tmp_path / "mine.json"
    rows = ["prefill_tokens,prefill_sequences,attention_pairs,decode_tokens,context_tokens,iteration_ms"]
    for size in range(1, 60):
        rows.append(f"{size * 30},1,{(size * 30) ** 2 / 2},0,0,{10 + 3 * size}")
        rows.append(f"0,0,0,{size},{size * 200},{10 + 0.2 * size}")
        rows.append(f"{size * 10},1,{(size * 10) ** 2 / 2},{size},{size * 200},{10 + size + 0.2 * size}")
    points.write_text("\n".join(rows))
    assert main(["fit", str(points), "--test", str(points), "-o", str(profile), "--by", "us"]) == 0
    told = capsys.readouterr().out
    assert "errors on the test points" in told
    assert "bias" in told
    assert main(["profile", str(profile)]) == 0
    told = capsys.readouterr().out
    assert "by: us" in told
    assert "KV cache    unknown" in told
    assert "state the cache size" in fails(capsys, "run", "vllm", "--profile", str(profile), "--requests", "5")
    words = [
        "run",
        "vllm",
        "--profile",
        str(profile),
        "--requests",
        "5",
        "--kv-blocks",
        "2000",
        "-o",
        str(tmp_path / "r"),
    ]
    assert main(words) == 0


POLICY = """
from sim.scheduler import Scheduler

class Good(Scheduler):
    def schedule(self, server):
        batch = server.new_batch(2048)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            if not batch.admit(request):
                break
        return batch

class Idle(Scheduler):
    def schedule(self, server):
        return server.new_batch(2048)
"""


def test_a_policy_of_one_s_own_is_checked_and_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(POLICY)
    good = slosim("check", "mine:Good", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    bad = slosim("check", "mine:Idle", cwd=tmp_path)
    assert bad.returncode == 1
    assert "breaks the rules" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert "Traceback" not in good.stderr
    run = slosim("run", "mine:Good", "--requests", "5", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "results" / "run" / "summary.json").is_file()


def test_run_prints_the_header_of_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--requests", "5", "--seed", "3", "-o"]
    assert main(["run", "vllm", "--rate", "2", *words, str(tmp_path / "run")]) == 0
    ours = capsys.readouterr().out.split("\n\n")[0]
    assert main(["compare", "-p", "vllm", "--rate", "2", "--jobs", "1", *words, str(tmp_path / "compare")]) == 0
    assert ours == capsys.readouterr().out.split("\n\n")[0]
    assert "KV cache  457 blocks of 32 = 14,624 tokens" in ours
    assert "paper_mix: 5 requests, seed 3" in ours


def test_how_many_requests_are_meant_is_said(tmp_path: Path) -> None:
    """Without --requests: the paper's 90,000 of ShareGPT (traces.md), at its 28 requests per second."""
    from experiments.header import header, numbers_meant
    from experiments.inputs import build
    from experiments.scenario import Scenario

    silent, said = (Scenario(trace={"source": "sharegpt", **more}) for more in ({}, {"requests": 5}))
    lines = header(silent, build(silent), (), 1, 1)
    assert "90,000 requests (the paper's number; --requests N for others)" in lines["trace"]
    assert lines["loads"] == "28 requests/s (the paper's)"
    assert "the paper's number" not in header(said, build(said), (), 1, 1)["trace"]
    assert list(numbers_meant([silent.trace, said.trace, silent.trace])) == [
        "trace sharegpt: 90,000 requests (the paper's number; --requests N for others)"
    ]


def test_python_and_the_command_line_serve_from_the_same_cache() -> None:
    from costmodel import profile
    from experiments.inputs import build, run
    from experiments.scenario import Scenario
    from sim.simulation import simulate

    scenario = Scenario(trace={"requests": 60, "rate": 0.6})
    inputs = build(scenario)
    ours, theirs = simulate(inputs.trace, "vllm", profile(scenario.profile)), run(scenario, "vllm", inputs)
    assert ours.capacity == theirs.capacity
    assert (ours.capacity.kv_blocks, ours.capacity.block_size) == (457, 32)
    assert ours.summary()["slo_attainment_requests"] == theirs.summary()["slo_attainment_requests"]


def test_routers_and_limits_are_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rate", "2", "--requests", "40", "--replicas", "2", "--router", "least_loaded"]
    words += ["--max-model-len", "4096"]
    assert main(["run", "vllm", *words, "-o", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "on each of 2 replicas (least_loaded)" in shown
    assert "times the mean" in shown
    frame = pandas.read_parquet(tmp_path / "run" / "requests.parquet")
    assert set(frame["replica"]) == {0, 1}
    tokens = frame["prompt_tokens"] + frame["output_tokens"]
    assert ((tokens > 4096) == frame["rejection"].str.contains("exceed max_model_len = 4096")).all()
    assert (tokens > 4096).any()
    replicas = json.loads((tmp_path / "run" / "summary.json").read_text())["replicas"]
    assert [replicas[name]["requests"] for name in "01"] == frame["replica"].value_counts().sort_index().tolist()
    assert main(["compare", "-p", "vllm", "-p", "sarathi", *words, "--jobs", "1", "-o", str(tmp_path / "c")]) == 0
    assert capsys.readouterr().out.count("times the mean") == 2
    assert "times the mean" in (tmp_path / "c" / "rate-2" / "table.txt").read_text()
    assert main(["run", "vllm", "--router", "nearest", "-o", str(tmp_path)]) == 2
    assert "no router 'nearest'" in capsys.readouterr().err


def test_limits_are_told_once_by_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--requests", "30", "--kv-blocks", "3000"]
    assert main(["run", "vllm", "--rate", "2", *words, "-o", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert " ".join(out.split()).count("longer than the 2,048 positions of opt-13b") == 1
    assert "measured to at most 66,144" in out
    assert not err
    told = json.loads((tmp_path / "run" / "summary.json").read_text())["provenance"]["run"]["cautions"]
    assert len(told) == 2, "and the cache of 78.6 GB does not fit"
    names = ["-p", "vllm", "-p", "sarathi"]
    assert main(["compare", *names, "--rate", "2", *words, "--jobs", "1", "-o", str(tmp_path / "c")]) == 0
    out, err = capsys.readouterr()
    assert out.count("does not fit: a100-80gb") == 1
    assert not err
    assert "does not fit" in (tmp_path / "c" / "rate-2" / "table.txt").read_text()
    (tmp_path / "s.toml").write_text('policies = ["vllm", "sarathi"]\nrates = [2.0]\n')
    sweep = ["sweep", str(tmp_path / "s.toml"), *words, "--executor", "serial", "-o", str(tmp_path / "s")]
    for _ in range(2):
        assert main(sweep) == 0
        assert "2 of 2 runs: the KV cache of 78.6 GB does not fit" in " ".join(capsys.readouterr().out.split())
