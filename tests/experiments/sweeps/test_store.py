"""Kept points carry the digest of their bytes: whatever is damaged is run again, and said in one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from experiments.cli import main
from experiments.sweeps.store import LARGEST, Failed, Record, Store, sealed, unsealed
from experiments.sweeps.work import Answer, Task
from tests.experiments.conftest import mutated

FILE = """
policies = ["vllm"]
rates = [1.0]
seeds = 2
[trace]
requests = 5
"""
POINT = {
    "key": "k",
    "seconds": 0.5,
    "overloaded": False,
    "summary": {"goodput": 1.5, "finished": 3, "p99_ttft": None},
    "applications": {},
    "provenance": {"run": {"note": "ä"}},
    "tails": {"ttft": {"size": 2, "values": [0.1, 0.2]}},
}


def text_of(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    assert isinstance(store.keep("k", Answer(text_of(POINT))), Record)
    return store


def test_what_is_kept_is_the_point_and_its_digest(store: Store) -> None:
    raw = store.place("k").read_bytes()
    assert re.fullmatch(rb'\{.+,"sha256":"[0-9a-f]{64}"\}\n', raw)
    content = json.loads(raw)
    assert {name: value for name, value in content.items() if name != "sha256"} == POINT
    record = store.record("k")
    assert record is not None
    assert record.summary["goodput"] == 1.5
    assert record.summary["p99_ttft"] != record.summary["p99_ttft"]
    assert store.damaged == []
    assert store.record("other") is None
    assert store.damaged == [], "what was never there is not damaged"
    assert sealed(sealed(text_of(POINT))) == sealed(text_of(POINT))


def test_every_flipped_bit_is_seen(store: Store) -> None:
    """All bytes of a point, one bit of each by chance, and the ends of every length."""
    raw, random = store.place("k").read_bytes(), Random(5)
    for at in range(len(raw)):
        store.place("k").write_bytes(raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :])
        assert store.record("k") is None, at
        store.place("k").write_bytes(raw[:at])
        assert store.record("k") is None, at
    assert len(store.damaged) == 2 * len(raw)
    store.place("k").write_bytes(raw)
    assert store.record("k")


def test_content_that_makes_no_sense_is_damage_even_under_a_right_digest(store: Store) -> None:
    random, whole = Random(6), 0
    for _ in range(1500):
        text = json.dumps(mutated(POINT, random), separators=(",", ":"))
        store.place("k").write_text(sealed(text))
        record = store.record("k")
        whole += record is not None
        if record is not None:
            assert all(isinstance(value, int | float) for value in record.summary.values())
            assert all(len(sketch.weights) == len(sketch.values) for sketch in record.tails.values())
    assert 100 < whole < 1100, "some of what may be anything was changed, and much of what may not"
    for text in ("", "[]", "null", "{}", "7", "[" * 100_000, '{"key":' + "9" * 5000 + "}", '{"error":{},"key":"k"}'):
        store.place("k").write_text(sealed(text))
        assert store.record("k") is None


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "a user's").mkdir(parents=True)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_link_without_end(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def too_large(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(LARGEST + 1)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "of zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "no text": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "another kind": lambda path: path.write_text("[]"),
    "numbers as texts": lambda path: path.write_text(re.sub(r":(\d+\.\d+)", r':"\1"', path.read_text())),
    "without its tails": lambda path: path.write_text(path.read_text().replace('"tails"', '"tales"')),
    "without a digest": lambda path: path.write_text(re.sub(r',"sha256":"\w+"', "", path.read_text())),
    "twice": lambda path: path.write_text(2 * path.read_text()),
    "another number": lambda path: path.write_text(re.sub(r'("goodput":\d)', r"\g<1>1", path.read_text())),
    "unreadable": lambda path: path.chmod(0),
    "a folder": a_folder,
    "a pipe": a_pipe,
    "a dead link": a_dead_link,
    "a link without an end": a_link_without_end,
    "too large": too_large,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_point_is_run_again_and_said_in_one_line(
    damage: str, tmp_path: Path, ran: list[Task], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.toml").write_text(FILE)
    words = ["sweep", str(tmp_path / "study.toml"), "-o", str(tmp_path / "out"), "--executor", "serial"]
    assert main(words) == 0
    first, store = [task.key for task in ran], Store(tmp_path / "out" / "points")
    whole = store.record(first[0])
    assert whole is not None
    ran.clear()
    capsys.readouterr()
    DAMAGES[damage](store.place(first[0]))
    assert main(words) == 0
    if damage == "unreadable" and os.geteuid() == 0:
        return  # nothing is unreadable for this user
    assert [task.key for task in ran] == first[:1]
    told = [line for line in capsys.readouterr().out.splitlines() if "damaged and run" in line]
    assert len(told) == 1
    assert told[0].startswith(f"1 kept point was damaged and run again ({first[0]}.json: ")
    again = store.record(first[0])
    assert again is not None
    for name in whole.summary.keys() - {"mean_schedule_seconds"}:
        assert again.summary[name] == pytest.approx(whole.summary[name], nan_ok=True)
    if damage == "a folder":
        assert (store.folder / f"{first[0]}.json.aside-1" / "a user's").is_dir(), "it may hold a user's files"


def test_a_folder_in_the_place_of_a_failure_is_in_nobody_s_way(store: Store) -> None:
    store.place("k", failed=True).mkdir()
    store.keep("k", Answer(text_of(POINT)))
    assert store.record("k")
    assert not store.place("k", failed=True).exists()
    failed = store.keep("f", Answer(text_of({"key": "f", "error": "no luck"}), failed=True))
    assert failed == Failed("f", "no luck")
    assert json.loads(unsealed(store.place("f", failed=True).read_bytes()))["error"] == "no luck"


@pytest.mark.parametrize(
    "answer", [None, 7, Answer("rubbish"), Answer("[]"), Answer('{"key": "other"}'), Answer("[" * 99_999)]
)
def test_an_executor_that_hands_back_rubbish_is_a_failure_of_the_point(
    answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.sweeps import running

    (tmp_path / "study.toml").write_text(FILE)
    monkeypatch.setattr(running, "run_point", lambda task: answer)
    assert main(["sweep", str(tmp_path / "study.toml"), "-o", str(tmp_path / "out"), "--executor", "serial"]) == 1
    assert "the executor returned no answer for a point" in capsys.readouterr().out
