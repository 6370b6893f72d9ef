"""Conversations in the shapes that public sets have: read, or left out and counted."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from traces import SlosimError, Tokenizer, Trace, TraceWarning, load
from traces.readers.json_kinds import key_paths

CASES = Path(__file__).parent / "cases"
ASKS, SAYS = "Please explain how a heat pump works", "It moves heat from outside to inside even when cold"


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


WORDS = Tokenizer(count=words, leading=0, ending=0)
TURN = (len(ASKS.split()), len(SAYS.split()))


def read(path: Path, **options: Any) -> tuple[Trace, str]:
    """The trace, and all that was said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace = load(path, tokenizer=WORDS, **options)
    assert len(caught) <= 1, "one warning says all"
    assert trace.reading is not None
    assert trace.reading.kept == len(trace), "what is read and what is left out make the file"
    return trace, trace.reading.describe()


def lengths(trace: Trace) -> list[tuple[int, int]]:
    return list(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True))


def saved(path: Path, *rows: Any, lines: bool = False) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


def message(speaker: str, text: Any, plain: bool) -> dict[str, Any]:
    return {"role": speaker, "content": text} if plain else {"from": speaker, "value": text}


@pytest.mark.parametrize("key", ["conversations", "conversation", "messages", "items"])
@pytest.mark.parametrize("plain", [True, False], ids=["role/content", "from/value"])
@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_each_shape_of_conversation(tmp_path: Path, key: str, plain: bool, form: str) -> None:
    messages = [message("user", ASKS, plain), message("assistant", SAYS, plain), message("user", "more", plain)]
    row = {"conversation_id": "c7", "model": "m", key: messages, "turn": 2}
    path = tmp_path / f"x.{form}"
    if form == "parquet":
        pd.DataFrame([row, row]).to_parquet(path)
    else:
        saved(path, row, row, lines=form == "jsonl")
    trace, told = read(path)
    assert lengths(trace) == [TURN, TURN]
    assert trace.ids == ["c7", "c7"]
    assert told == "sharegpt, no arrivals recorded; first turns only: 2 later messages not used"


@pytest.mark.parametrize("name", ["s02_sharegpt_items.json", "s03_sharegpt_role_content.json", "s04_lmsys.jsonl"])
def test_the_cases_of_one_conversation(name: str) -> None:
    trace, told = read(CASES / name)
    assert lengths(trace) == [(11, 18)]
    assert "left out" not in told


def test_the_case_in_parquet() -> None:
    trace, told = read(CASES / "p02_lmsys.parquet", min_len=1)
    assert lengths(trace)[0] == (3, 3)
    assert "no arrivals recorded" in told


def test_a_leading_system_message_is_part_of_the_prompt(tmp_path: Path) -> None:
    trace, told = read(CASES / "s06_sharegpt_system_first.json")
    assert lengths(trace) == [(8 + 11, 18)]
    assert "1 conversation with a system message first, counted as part of the prompt" in told
    one = {
        "messages": [message("system", "be brief", True), message("user", ASKS, True), message("assistant", SAYS, True)]
    }
    two = {"messages": [message("developer", "be very brief", True), *one["messages"]]}
    path = saved(tmp_path / "x.json", one, two)
    for options in ({}, {"human_first": True}):
        trace, _ = read(path, **options)
        assert lengths(trace) == [(2 + TURN[0], TURN[1]), (5 + TURN[0], TURN[1])]


def test_a_system_message_alone_gives_no_request(tmp_path: Path) -> None:
    one = {"messages": [message("system", "be brief", True), message("user", ASKS, True)]}
    with pytest.raises(SlosimError, match="from 0 conversations"):
        load(saved(tmp_path / "x.json", one))


GOOD = {"id": "g", "conversations": [message("human", ASKS, False), message("gpt", SAYS, False)]}
BROKEN = [
    ({"conversations": [message("human", None, False), message("gpt", SAYS, False)]}, "a message without text"),
    ({"conversations": [message("human", ASKS, False), {"from": "gpt"}]}, "a message without text"),
    ({"conversations": ["x", "y"]}, "a message without text"),
    (
        {"conversations": [message("human", {"parts": []}, False), message("gpt", SAYS, False)]},
        "a message without text",
    ),
    ({"conversations": [message("human", [], False), message("gpt", SAYS, False)]}, "a message without text"),
    ({"conversations": None}, "the messages are not a list"),
    ({"conversations": {"0": "x"}}, "the messages are not a list"),
    ({"conversations": 5.5}, "the messages are not a list"),
    ({"id": "no"}, "no messages"),
    ({"conversations": []}, "fewer than two messages"),
    ({"conversations": [message("human", ASKS, False)]}, "fewer than two messages"),
    ("a text", "not an object"),
    (None, "not an object"),
    (7, "not an object"),
    ({"conversations": [message("human", "\ud83d lone", False), message("gpt", SAYS, False)]}, "not Unicode"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=[f"{at} {why}" for at, (_, why) in enumerate(BROKEN)])
@pytest.mark.parametrize("lines", [False, True])
def test_one_broken_conversation_is_left_out_and_counted(tmp_path: Path, broken: Any, reason: str, lines: bool) -> None:
    trace, told = read(saved(tmp_path / "x.json", GOOD, broken, GOOD, broken, GOOD, lines=lines))
    assert lengths(trace) == [TURN] * 3
    assert "2 of 5 rows left out: " in told
    assert reason in told
    with pytest.raises(SlosimError, match=r"no request from 0 conversations") as caught:
        load(saved(tmp_path / "y.json", broken, broken), "sharegpt")
    assert "\n" not in str(caught.value)


def test_the_case_with_a_null_text() -> None:
    trace, told = read(CASES / "s13_sharegpt_null_value.json")
    assert len(trace) == 2
    assert "1 of 3 rows left out: a message without text" in told
    assert "conversation 2, line 1, field value: expected a message with a text" in told


def test_a_null_text_in_parquet(tmp_path: Path) -> None:
    rows = [GOOD, {"id": "b", "conversations": None}, BROKEN[0][0], GOOD]
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    trace, told = read(tmp_path / "x.parquet")
    assert lengths(trace) == [TURN, TURN]
    assert "the messages are not a list" in told
    assert "a message without text" in told


def test_filtered_conversations_are_counted_by_reason(tmp_path: Path) -> None:
    _, told = read(CASES / "s15_sharegpt_filtered.json")
    assert "of 3 rows left out" in told
    sizes = [(2, 9), (1025, 2), (1025, 9), (1000, 1500), (1024, 1024), (5, 5)]
    rows = [{"conversations": [message("human", "w " * a, False), message("gpt", "v " * b, False)]} for a, b in sizes]
    trace, told = read(saved(tmp_path / "x.json", *rows))
    assert lengths(trace) == [(1024, 1024), (5, 5)]
    assert "2 of 6 rows left out: prompt or output below min_len=4" in told
    assert "1 of 6 rows left out: prompt above max_prompt_len=1024" in told
    assert "1 of 6 rows left out: prompt and output above max_total_len=2048" in told


def test_texts_in_parts_are_joined_and_pictures_are_named(tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": ASKS},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "now"},
    ]
    row = {"messages": [message("user", parts, True), message("assistant", [{"type": "text", "text": SAYS}], True)]}
    trace, told = read(saved(tmp_path / "x.jsonl", row, row, lines=True))
    assert lengths(trace) == [(TURN[0] + 1, TURN[1])] * 2
    assert "not modelled, ignored: image_url (2 times)" in told


def test_times_and_tools_of_conversations_are_named(tmp_path: Path) -> None:
    row = {"timestamp": "2023-04-09 00:02:53", "tools": [], **GOOD}
    _, told = read(saved(tmp_path / "x.jsonl", row, lines=True))
    assert "not modelled, ignored: timestamp (1 time), tools (1 time)" in told


def test_reading_stops_at_the_requests_that_are_wanted(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jsonl", *[GOOD] * 5000, lines=True)
    counted: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        counted.append(len(texts))
        return words(texts)

    trace = load(path, tokenizer=Tokenizer(count=count, leading=0, ending=0), requests=10)
    assert len(trace) == 10
    assert sum(counted) < 5000, "one batch of turns"
    assert trace.reading is not None
    assert "stopped after" in trace.reading.describe()
    assert len(load(path, tokenizer=WORDS, requests=10, shuffle_seed=1)) == 10


def test_bytes_that_are_not_utf_8_leave_out_their_conversation(tmp_path: Path) -> None:
    bad = {"id": "bad", "conversations": [message("human", "caf@", False), message("gpt", SAYS, False)]}
    (tmp_path / "x.json").write_bytes(json.dumps([GOOD, bad, GOOD]).encode().replace(b"@", b"\xe9"))
    trace, told = read(tmp_path / "x.json")
    assert trace.ids == ["g", "g"]
    assert "a text that is not Unicode" in told


def test_a_cut_file_says_so_once(tmp_path: Path) -> None:
    whole = json.dumps([GOOD, BROKEN[0][0], GOOD, GOOD])
    (tmp_path / "x.json").write_text(whole[:-30])
    trace, told = read(tmp_path / "x.json")
    assert len(trace) == 2
    assert "the file is cut off in conversation 4; read the 3 before it" in told


HOSTILE = [
    ('{"conversations": ' + '{"a": ' * 100_000, "nested too deeply"),
    ('[{"conversations": ' + "[" * 100_000, "nested too deeply"),
    ('[{"conversations": [], "n": ' + "9" * 5000 + "}]", "a number has thousands of digits"),
    ('[{"conversations": []}]]', "a ] closes nothing"),
    ('{"conversations": []}\n]\n{"conversations": []}', "a ] closes nothing"),
]


@pytest.mark.parametrize(("text", "told"), HOSTILE, ids=[told for _, told in HOSTILE])
def test_hostile_json_ends_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SlosimError, match=told) as caught:
        load(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_follows_an_array_is_read_too(tmp_path: Path) -> None:
    """Arrays joined by `cat`, and arrays of arrays, hold conversations like any other."""
    one = json.dumps([GOOD])
    (tmp_path / "x.json").write_text(f"{one}\n{one}\n{json.dumps(GOOD)}")
    assert len(read(tmp_path / "x.json")[0]) == 3
    (tmp_path / "x.json").write_text(f"[{one}, {one}]")
    assert len(read(tmp_path / "x.json")[0]) == 2
    (tmp_path / "x.json").write_text(one + "garbage" * 9)
    with pytest.raises(SlosimError, match="not JSON"):
        load(tmp_path / "x.json")


def test_numbers_that_are_not_finite_are_no_texts(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps([GOOD]) + '{"conversations": [{"value": NaN}, {"value": Infinity}]}')
    trace, told = read(tmp_path / "x.json")
    assert len(trace) == 1
    assert "a message without text" in told


def test_recorded_lengths_come_before_the_messages_beside_them(tmp_path: Path) -> None:
    row = {"timestamp": 0, "input_length": 700, "output_length": 50, "messages": [message("user", ASKS, True)]}
    path = saved(tmp_path / "x.jsonl", row, {**row, "timestamp": 3000}, lines=True)
    with pytest.warns(TraceWarning, match="ignored: messages"):
        trace = load(path, time_unit="ms")
    assert lengths(trace) == [(700, 50)] * 2


def test_the_paths_of_keys() -> None:
    assert key_paths('{"a": "x, \\"b\\": {", "c": [[{"d": 1}], {"e": {}}], "f": 2}') == {"a", "c", "c.d", "c.e", "f"}
    assert key_paths("]}:{") == set()


# -- vLLM's custom data ----------------------------------------------------------------------------------------------


def test_prompts_as_token_ids_count_as_their_length(tmp_path: Path) -> None:
    rows = [{"prompt": [5, 6, 7], "output_tokens": 9}, {"prompt": ASKS, "output_tokens": 8}]
    trace, told = read(saved(tmp_path / "x.jsonl", *rows, lines=True))
    assert lengths(trace) == [(3, 9), (TURN[0], 8)]
    assert "1 prompt given as token ids, which are not tokenized again" in told
    for wrong in ([], [1.5], [True], ["a"], {"a": 1}, None, 5):
        with pytest.raises(SlosimError, match="field prompt: expected a text, got"):
            load(saved(tmp_path / "y.jsonl", {"prompt": wrong, "output_tokens": 1}, lines=True), "custom")


def test_arrivals_of_custom_prompts_are_not_lost_without_a_word(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.jsonl", {"prompt": ASKS, "output_tokens": 9, "timestamp": 5}, lines=True)
    with pytest.raises(SlosimError, match="the key timestamp looks like arrival times"):
        load(path)
    assert len(load(path, "custom", tokenizer=WORDS, columns={"arrived_at": "none"})) == 1
