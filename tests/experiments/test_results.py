"""Files of a run: they come back as they were, say where they come from, and are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import provenance, results
from experiments.files import replacing, write_json
from sim.result import Capacity, RunResult
from sim.simulation import simulate
from tests.sim.stories import MODEL, little_trace
from tests.sim.synthetic import made_up
from traces.errors import SlosimError


def identical(one: RunResult, other: RunResult) -> None:
    for name in ("requests", "iterations", "spans", "events"):
        tables = getattr(one, name), getattr(other, name)
        assert list(tables[0]) == list(tables[1])
        for column in tables[0]:
            np.testing.assert_array_equal(tables[0][column], tables[1][column], err_msg=column)
    for name in ("applications", "rejections", "about"):
        assert getattr(one, name) == getattr(other, name)
    assert repr(one.capacity) == repr(other.capacity), "as text, because nan is not nan"


@given(st.integers(0, 10**6), st.integers(0, 9), st.sampled_from((None, 3.0)))
def test_a_saved_run_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int, requests: int, horizon: float | None
) -> None:
    folder = tmp_path_factory.mktemp("run")
    result = made_up(seed, requests, 10, horizon=horizon, wall_seconds=1.5)
    results.save(result, folder)
    again = results.read(folder)
    identical(result, again)
    np.testing.assert_equal(again.summary(), result.summary())


def test_events_come_back_too(tmp_path: Path) -> None:
    result = simulate(little_trace(1), "vllm", MODEL, kv_blocks=6, block_size=16)
    assert (result.events["tokens"] < 0).any()
    assert [path.name for path in results.save(result, tmp_path)][3] == "events.parquet"
    identical(result, results.read(tmp_path))


def test_a_run_without_applications_and_facts_comes_back_too(tmp_path: Path) -> None:
    made = made_up(1)
    requests = dict(made.requests) | {"application": np.zeros(len(made), np.int16)}
    result = RunResult(requests, made.iterations, made.spans, Capacity(10, 16), (), made.rejections, made.about)
    results.save(result, tmp_path)
    identical(result, results.read(tmp_path))


def test_files_are_tables_of_words_and_numbers_that_anyone_can_read(tmp_path: Path) -> None:
    import pandas

    result = made_up(3)
    paths = results.save(result, tmp_path / "deep" / "down")
    names = ["requests.parquet", "iterations.parquet", "spans.parquet", "summary.json"]
    assert [path.name for path in paths] == names == sorted(names, key=names.index)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(names), "no drafts are left"
    frame = pandas.read_parquet(paths[0])
    assert set(frame["application"]) == {"chat", "code"}
    assert set(frame["status"]) == {"finished", "rejected"}
    assert (frame["rejection"] == "made up").sum() == (frame["status"] == "rejected").sum()
    np.testing.assert_array_equal(frame["ttft"], result.requests["first_token_at"] - result.requests["arrived_at"])


def test_summary_has_every_metric_and_null_for_what_is_none(tmp_path: Path) -> None:
    result = made_up(0, requests=0, iterations=0)
    results.save(result, tmp_path)
    written = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert written["summary"].keys() == result.summary().keys()
    assert written["summary"]["mean_ttft"] is None
    assert list(written["applications"]) == ["chat", "code"]


def test_a_file_says_what_made_it(tmp_path: Path) -> None:
    result = made_up(3, profile_digest="abc", trace_digest="def", cpu_seconds=2.0)
    results.save(result, tmp_path, {"rate": 8.0})
    for name in results.TABLES:
        footer = results.footer(tmp_path / f"{name}.parquet")
        run = footer["run"]
        assert run["config"] == {"rate": 8.0}
        assert (run["seed"], run["scheduler"]) == (3, "MadeUp()")
        assert (run["profile_digest"], run["trace_digest"]) == ("abc", "def")
        assert run["source_digest"] == provenance.source_digest()
        assert run["version"] == provenance.slosim_version()
        assert "cpu_seconds" not in run
        assert footer["made"]["cpu_seconds"] == 2.0


def test_the_source_digest_is_of_every_file_and_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    seen = []
    for name, text in (("sim/a.py", "1"), ("sim/a.py", "2"), ("sim/deep/b.py", ""), ("sim/data.txt", "x")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        seen.append(provenance.source_digest.__wrapped__())
    assert len(set(seen)) == 3
    assert seen[2] == seen[3], "only Python files count"


def test_an_uninstalled_slosim_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise provenance.PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    assert provenance.slosim_version.__wrapped__() == "uninstalled"


def test_a_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old", "utf-8")

    def spoil() -> None:
        with replacing(path) as draft:
            draft.write_text("half", "utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spoil()
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SlosimError, match=r"file.requests\.parquet: cannot be written \(.+\); choose another folder"):
        results.save(made_up(0), tmp_path / "file")


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    path = write_json(tmp_path / "x.json", {"a": np.int64(3), "b": (float("nan"), 1.0), "c": {1}})
    assert json.loads(path.read_text("utf-8")) == {"a": 3, "b": [None, 1.0], "c": "{1}"}


@pytest.mark.parametrize("reading", [results.read, lambda folder: results.footer(folder / "requests.parquet")])
def test_what_is_no_saved_run_is_named(tmp_path: Path, reading: object) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    assert callable(reading)
    with pytest.raises(SlosimError, match=r"requests\.parquet: cannot be read as Parquet"):
        reading(tmp_path)
    write_table(pyarrow.table({"a": [1]}), tmp_path / "requests.parquet")
    with pytest.raises(SlosimError, match=r"requests\.parquet: it says nothing of the run"):
        reading(tmp_path)
