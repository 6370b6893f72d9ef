"""Damaged, truncated and hostile files: each gives a trace that accounts for every row, or an error of one line.

Some hundreds of seeded inputs; HYPOTHESIS_PROFILE=thorough tries some four thousand.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import marshal
import os
import pickle
import random
import re
import signal
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pyarrow
import pytest

from traces import FORMATS, SlosimError, Trace, TraceWarning, load

CASES = Path(__file__).parent / "cases"
GROUPS = 10
EACH = 400 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40
LONGEST, LONGEST_MESSAGE = 10, 3000
"""Seconds that one file may take, and signs that an error may have."""

HOSTILE = [
    *"""null NaN Infinity -Infinity -1 0 -0.0 1e400 1e308 1.5 2147483648 9223372036854775808 true [] {} [[]] 0x10 1_000
    1,024 ½ ١٢ nan inf 1e3 +5 5. .5 2024-13-45 1970-01-01T00:00:00Z '' x "" "x" "\\ud800" "\\u0000" "5" "2024-01-01"
    """.split(),  # noqa: SIM905
    *("\0", "\ufeff", "\r", "\n", " ", ";", "\t", "\ud800"),
    *("9" * 5000, "[" * 3000, '{"a":' * 3000, '"' + "y" * 70_000 + '"'),
]
NUMBER = re.compile(rb"\d+")
TOKEN = re.compile(rb'-?\d+(?:\.\d+)?|"[^"\n]*"|null|true|false|[,;:{}\[\]\n]')


def packed(data: bytes, how: int) -> bytes:
    if how == 3:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", data)
        return buffer.getvalue()
    packers: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True)) if how == 4 else packers[how](data)


def seeds() -> list[tuple[str, bytes]]:
    """Whole files to start from, by name: the cases, and a few that are no text."""
    found = [(path.name, path.read_bytes()) for path in sorted(CASES.rglob("*")) if path.is_file()]
    held = {"dataset_name": "s", "reqs": [("a", 5, 6), ("é", 7, 8)]}
    found += [("x.ds", marshal.dumps(held)), ("p.ds", pickle.dumps(held))]
    report = {
        "benchmarks": [{"requests": {"successful": [{"start_time": 1.7e9, "prompt_tokens": 5, "output_tokens": 6}]}}]
    }
    found.append(("guidellm.json", json.dumps(report).encode()))
    return found


SEEDS = seeds()


def hostile_value(data: bytes, chance: random.Random) -> bytes:
    places = list(TOKEN.finditer(data[: 1 << 16]))
    if not places:
        return data
    place = chance.choice(places)
    value = chance.choice(HOSTILE).encode("utf-8", "surrogatepass")
    return data[: place.start()] + value + data[place.end() :]


def other_number(data: bytes, chance: random.Random) -> bytes:
    return NUMBER.sub(lambda found: b"%d" % chance.randrange(60) if chance.random() < 0.1 else found[0], data)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 3, 20))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def piece_moved(data: bytes, chance: random.Random) -> bytes:
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    to = chance.randrange(len(data) + 1)
    kept = data if chance.random() < 0.5 else data[:first] + data[last:]
    return kept[:to] + data[first:last] + kept[to:]


def lines_changed(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at : at + 1] = chance.choice(([], [lines[at]] * 3, [b""], [lines[at], b"# remark"], [lines[at][::-1]]))
    return chance.choice((b"\n", b"\r\n", b"\n\n")).join(lines)


def recoded(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    coding = chance.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037", "utf-7"))
    return text.encode(coding, "replace")


def repacked(data: bytes, chance: random.Random) -> bytes:
    whole = packed(data, chance.randrange(5))
    return chance.choice((lambda same, _: same, cut, flipped, piece_moved))(whole, chance)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    hostile_value,
    hostile_value,
    other_number,
    other_number,
    cut,
    flipped,
    piece_moved,
    lines_changed,
    recoded,
    repacked,
)


class Slow(BaseException):
    """A file took too long; no handler of the reader's may catch it."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Slow("".join(traceback.format_stack(frame)[-3:]))

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def rows_known(data: bytes, format: str) -> int | None:
    """Count the rows of a file another way; None where that needs a reader of its own."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    start = text.lstrip()[:1]
    if format in ("blis", "csv", "azure", "burstgpt", "vidur", "splitwise") and start not in ("{", "["):
        if text.startswith(("#", "sep=")) or "\n#" in text or '"' in text or "trace_version" in text:
            return None
        return sum(bool(row) for row in csv.reader(io.StringIO(text, newline=""))) - 1
    if format in ("sharegpt", "aiperf", "mooncake", "timed_trace", "servegen", "jsonl", "custom", "alpaca", "llmperf"):
        return rows_of_json(text)
    return None


def elements(value: object) -> int:
    """Count the values of a list, those of lists in it included."""
    return sum(map(elements, value)) if isinstance(value, list) else 1


def rows_of_json(text: str) -> int | None:
    try:
        return elements(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return sum(elements(json.loads(line)) for line in re.split(r"\r?\n", text) if line.strip())
    except (ValueError, RecursionError):
        return None


def accounts_for_all(trace: Trace, data: bytes) -> None:
    reading = trace.reading
    assert reading is not None
    assert reading.kept == len(trace) > 0
    assert np.isfinite(trace.arrived_at).all()
    assert (trace.arrived_at >= 0).all()
    assert trace.prompt_tokens.min() >= 1
    assert trace.output_tokens.min() >= 1
    assert len(trace.digest) == 64
    json.dumps(reading.to_dict()).encode()
    reading.describe().encode()
    "".join(trace.ids or ()).encode()
    known = rows_known(data, reading.format)
    assert known is None or known == reading.rows or any("cut off" in note for note in reading.notes)


def tried(path: Path, data: bytes, format: str | None) -> str:
    """Load a file; return "trace" or "error", and raise for anything else."""
    path.write_bytes(data)
    try:
        with within(LONGEST), warnings.catch_warnings():
            warnings.simplefilter("ignore", TraceWarning)
            trace = load(path, format)
    except SlosimError as error:
        told = str(error)
        assert "\n" not in told
        assert "\r" not in told
        assert len(told.encode()) < LONGEST_MESSAGE, told[:300]
        return "error"
    accounts_for_all(trace, data)
    return "trace"


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_file_ends_in_a_trace_or_in_one_line(tmp_path: Path, group: int) -> None:
    outcomes = set()
    for number in range(EACH):
        chance = random.Random(f"{group} {number}")
        name, data = chance.choice(SEEDS)
        for mutate in chance.choices(MUTATIONS, k=chance.choice((1, 1, 1, 2, 3))):
            data = mutate(data, chance)
        format = chance.choice((None, None, None, chance.choice(tuple(FORMATS))))
        try:
            outcomes.add(tried(tmp_path / name, data, format))
        except BaseException as error:
            error.add_note(f"group {group}, number {number}: {name} as {format}: {data[:2000]!r}")
            raise
    assert outcomes == {"trace", "error"}, "some files survive, some do not"


@pytest.mark.parametrize(("name", "data"), SEEDS, ids=[name for name, _ in SEEDS])
def test_every_beginning_of_a_file(tmp_path: Path, name: str, data: bytes) -> None:
    """Cut at some twenty places, among them the first bytes and the last."""
    places = {0, 1, 2, 3, 5, 8, len(data) - 1, len(data) - 2} | {len(data) * at // 12 for at in range(12)}
    for end in sorted(place for place in places if 0 <= place < len(data)):
        tried(tmp_path / name, data[:end], None)
