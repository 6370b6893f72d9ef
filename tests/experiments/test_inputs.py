"""Trace files in commands: read once, said once, and kept in what results say of themselves."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.inputs import loaded, readings, the_trace
from experiments.settings import Override, scenario_of
from experiments.workload_settings import TraceSettings
from traces import SlosimError, TraceWarning
from traces.readers import FORMATS

BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Session ID
5,ChatGPT,472,18,490,a
45,ChatGPT,1087,0,1087,a
118,GPT-4,417,276,693,b
"""


@pytest.fixture
def burst(tmp_path: Path) -> Path:
    path = tmp_path / "burst.csv"
    path.write_text(BURST)
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Path]:
    read, kind = [], FORMATS[name]

    def counted(path: Path, **options: object) -> object:
        read.append(path)
        return kind.read(path, **options)

    counted.__signature__ = __import__("inspect").signature(kind.read)  # type: ignore[attr-defined]
    monkeypatch.setattr("traces.readers.FORMATS", {**FORMATS, name: kind._replace(read=counted)})
    return read


@pytest.mark.filterwarnings("ignore::traces.TraceWarning")
def test_a_file_is_read_once_while_it_does_not_change(burst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_reads(monkeypatch, "burstgpt")
    for rate in (None, 1.0, 2.0, 4.0):
        the_trace(TraceSettings(source=str(burst), rate=rate))
    assert read == [burst]
    burst.write_text(BURST + "200,GPT-4,1,1,2,c\n")
    assert len(loaded(TraceSettings(source=str(burst)))) == 3
    assert len(loaded(TraceSettings(source=str(burst), requests=1))) == 1
    assert len(read) == 3


def test_compare_over_several_rates_reads_once(
    burst: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = count_reads(monkeypatch, "burstgpt")
    words = [
        "compare",
        "--trace",
        str(burst),
        "--rate",
        "1,2,4,8",
        "-p",
        "vllm",
        "--jobs",
        "1",
        "-o",
        str(tmp_path / "o"),
    ]
    assert main(words) == 0
    assert len(read) == 1
    told = capsys.readouterr()
    assert told.out.count("1 of 3 rows left out: failed (no response tokens); not modelled, ignored: Session ID") == 1
    assert told.err == ""


@pytest.mark.parametrize("command", ["trace", "run", "sweep", "bound"])
def test_what_was_lost_is_said_once_and_not_as_python_does(
    command: str, burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "o")]
    (tmp_path / "s.toml").write_text('policies = ["vllm"]\n')
    words = {
        "trace": ["trace", str(burst)],
        "run": ["run", "vllm", "--trace", str(burst), *out],
        "sweep": ["sweep", str(tmp_path / "s.toml"), "--trace", str(burst), "--jobs", "1", *out],
        "bound": ["bound", "--trace", str(burst)],
    }[command]
    assert main(words) == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count("1 of 3 rows left out") == 1
    assert "TraceWarning" not in told.err
    if command != "bound":
        assert "first arrival at 5, taken as 0" in told.out


def test_results_keep_what_was_read(burst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "vllm", "--trace", str(burst), "-o", str(tmp_path / "o")]) == 0
    about = json.loads((tmp_path / "o" / "summary.json").read_text())["provenance"]["run"]["trace_reading"]
    assert about["format"] == "burstgpt"
    assert about["left_out"] == {"failed (no response tokens)": 1}
    assert about["first_arrival"] == 5
    assert about["ignored"] == ["Session ID"]


def test_a_late_start_and_a_horizon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace that starts after two months, cut after a minute of its own, is the same as one that starts at 0."""
    for name, begin in (("late", 5_270_400), ("early", 0)):
        rows = "".join(f"{begin + 2 * at},100,20\n" for at in range(50))
        (tmp_path / f"{name}.csv").write_text(f"arrived_at,prompt_tokens,output_tokens\n{rows}")
        words = ["run", "vllm", "--trace", str(tmp_path / f"{name}.csv"), "--horizon", "60", "--warmup", "0.1"]
        assert main([*words, "-o", str(tmp_path / name)]) == 0
    late, early = (json.loads((tmp_path / name / "summary.json").read_text())["summary"] for name in ("late", "early"))
    measured = {"mean_schedule_seconds": 0}
    assert late | measured == early | measured
    assert late["request_throughput"] > 0.3


def test_as_recorded_is_said_only_of_files_that_record_arrivals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("prompt_tokens,output_tokens\n10,5\n12,6\n")
    assert (
        main(["compare", "--trace", str(tmp_path / "a.csv"), "-p", "vllm", "--jobs", "1", "-o", str(tmp_path / "o")])
        == 0
    )
    told = capsys.readouterr().out
    assert "as recorded" not in told
    assert "all at once: the file records no arrivals" in told
    (tmp_path / "s.toml").write_text('policies = ["vllm"]')
    assert (
        main(
            [
                "sweep",
                str(tmp_path / "s.toml"),
                "--trace",
                str(tmp_path / "a.csv"),
                "--jobs",
                "1",
                "-o",
                str(tmp_path / "w"),
            ]
        )
        == 0
    )
    assert "as recorded" not in capsys.readouterr().out
    (tmp_path / "b.csv").write_text("arrived_at,prompt_tokens,output_tokens\n3,10,5\n3,12,6\n")
    assert main(["run", "vllm", "--trace", str(tmp_path / "b.csv"), "-o", str(tmp_path / "o")]) == 0
    assert "loads     as recorded" in capsys.readouterr().out


def test_flags_toml_and_set_ask_for_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("at,in,out\n1000,10,5\n1500,12,6\n9000,1,1\n")
    toml = tmp_path / "s.toml"
    toml.write_text(
        f"""policies = ["vllm"]
[trace]
source = "{tmp_path / "t.csv"}"
columns = {{arrived_at = "at", prompt_tokens = "in", output_tokens = "out"}}
time_unit = "ms"
start = 0.25
end = 9
"""
    )
    sets = {
        "trace.source": str(tmp_path / "t.csv"),
        "trace.columns": "arrived_at=at,prompt_tokens=in,output_tokens=out",
    }
    sets |= {"trace.time_unit": "ms", "trace.start": "0.25", "trace.end": "9"}
    from_text = scenario_of(overrides=[Override.of_text(f"{name}={value}") for name, value in sets.items()])
    for scenario in (scenario_of(toml), from_text):
        assert [tuple(row)[:3] for row in the_trace(scenario.trace)] == [(0.0, 12, 6), (7.5, 1, 1)]
        assert readings(scenario.trace)[0].time_unit == "ms"


def test_the_command_line_of_a_table_by_any_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("timestamp,input_toks,n_out\n1000,10,5\n1500,12,6\n9000,1,1\n")
    words = [
        "trace",
        str(tmp_path / "t.csv"),
        "--columns",
        "arrived_at=timestamp,prompt_tokens=input_toks,output_tokens=n_out",
    ]
    assert main([*words, "--time-unit", "ms", "--from", "0.25", "--to", "1", "-o", str(tmp_path / "w.csv")]) == 0
    assert (tmp_path / "w.csv").read_text() == "arrived_at,prompt_tokens,output_tokens\n0.0,12,6\n"
    assert main([*words, "--time-unit", "ms", "--keep-start", "-o", str(tmp_path / "w.csv")]) == 0
    assert (tmp_path / "w.csv").read_text().splitlines()[1] == "1.0,10,5"
    assert main([*words, "--time-unit", "ms", "--from", "2024-01-01"]) == 2
    assert "--from 2024-01-01: the file has no dates" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("time_unit", "ms"), ("columns", {"id": "x"}), ("start", 3.0)])
def test_generated_workloads_have_no_file_to_read(name: str, value: object) -> None:
    with pytest.raises(SlosimError, match=f"trace: {name}: only for files; paper_mix is generated"):
        scenario_of(defaults={"trace": {name: value}})


def test_lengths_from_a_file_are_told_too(burst: Path) -> None:
    settings = TraceSettings(requests=5, rate=1.0, sources={"alpaca": str(burst)})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        the_trace(settings)
    assert [each.category for each in caught] == [TraceWarning]
    assert [reading.format for reading in readings(settings)] == ["burstgpt"]
