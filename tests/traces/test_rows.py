"""Rows in any container: columns by any name, folders of shards, the first requests only, damage."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from traces import SlosimError, Trace, TraceWarning, assign_slos, load, paper_mix
from traces.errors import flags_in_hints
from traces.readers import rows

pytestmark = pytest.mark.filterwarnings("ignore::traces.TraceWarning")
ROOT = Path(__file__).resolve().parents[2]
COLUMNS = {"arrived_at": "at", "prompt_tokens": "n in", "output_tokens": "n_out", "application": "app", "id": "key"}
TABLE = [
    {"at": 1000, "n in": 10, "n_out": 5, "app": "chat", "key": "a", "more": 1},
    {"at": 1250, "n in": 12, "n_out": 6, "app": "code", "key": "b", "more": 2},
    {"at": 9000, "n in": 1, "n_out": 1, "app": "chat", "key": "c", "more": 3},
]


def csv_of(table: list[dict[str, Any]], separator: str = ",", decimal: str = ".", quoted: bool = False) -> str:
    lines = [list(table[0]), *([str(cell).replace(".", decimal) for cell in row.values()] for row in table)]
    return "".join(separator.join(f'"{cell}"' if quoted else cell for cell in line) + "\n" for line in lines)


FORMS: dict[str, Callable[[Path], object]] = {
    "comma": lambda path: path.write_text(csv_of(TABLE)),
    "semicolon": lambda path: path.write_text(csv_of(TABLE, ";")),
    "tab": lambda path: path.write_text(csv_of(TABLE, "\t")),
    "pipe": lambda path: path.write_text(csv_of(TABLE, "|")),
    "quoted": lambda path: path.write_text(csv_of(TABLE, quoted=True)),
    "excel": lambda path: path.write_text("\ufeffsep=;\n" + csv_of(TABLE, ";"), newline="\r\n"),
    "comments": lambda path: path.write_text("# made by hand\n#\n" + csv_of(TABLE)),
    "blank lines": lambda path: path.write_text("\n" + csv_of(TABLE).replace("\n", "\n\n")),
    "gzip": lambda path: path.write_bytes(gzip.compress(csv_of(TABLE).encode())),
    "json lines": lambda path: path.write_text("\n".join(map(json.dumps, TABLE))),
    "json array": lambda path: path.write_text(json.dumps(TABLE, indent=1)),
    "parquet": lambda path: pd.DataFrame(TABLE).to_parquet(path),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_text", [False, True])
def test_columns_by_any_name_in_any_container(tmp_path: Path, form: str, as_text: bool) -> None:
    path = tmp_path / "t.data"
    FORMS[form](path)
    columns = ",".join(f"{field}={column}" for field, column in COLUMNS.items())
    trace = load(path, columns=columns if as_text else COLUMNS, time_unit="ms")
    assert [(*row[:3], row.application) for row in trace] == [
        (0.0, 10, 5, "chat"),
        (0.25, 12, 6, "code"),
        (8.0, 1, 1, "chat"),
    ]
    assert trace.ids == ["a", "b", "c"]
    assert trace.reading is not None
    assert trace.reading.ignored == ("more",)
    assert trace.reading.first_arrival == 1000


def test_decimal_commas(tmp_path: Path) -> None:
    table = [{"arrived_at": 0.5, "prompt_tokens": 10, "output_tokens": 5, "slo_tbt": 0.25}]
    for separator in (";", "\t", "|"):
        (tmp_path / "t.csv").write_text(csv_of([*table, table[0] | {"arrived_at": 2.75}], separator, ","))
        trace = load(tmp_path / "t.csv")
        assert trace.arrived_at.tolist() == [0.0, 2.25]
        assert trace[0].slo.tbt == 0.25
    (tmp_path / "t.csv").write_text("arrived_at;prompt_tokens;output_tokens\n0,5;1.024;5\n0,75;5;x\n")
    with pytest.raises(SlosimError, match=r"t.csv, line 2, field arrived_at: '0,5' is not a"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": "n in"}, "columns: prompt=n in maps no field .*; did you mean prompt_tokens?"),
        ({"arrived_at": ""}, "columns: arrived_at: no column maps no field"),
        ("at", "columns: at: no column"),
        ({"arrived_at": "att"}, "t.csv: no column att among at, n in, n_out, app, key, more; did you mean at?"),
        ({"arrived_at": "at"}, "no column prompt_tokens among at, n in"),
    ],
)
def test_wrong_mappings_are_told(tmp_path: Path, columns: Any, message: str) -> None:
    FORMS["comma"](tmp_path / "t.csv")
    with pytest.raises(SlosimError, match=message):
        load(tmp_path / "t.csv", columns=columns)


def test_a_value_is_shown_as_the_file_has_it(tmp_path: Path) -> None:
    shown = {"null": "null", "6758.5": "6758.5", "true": "true", '"x"': "'x'", "-0": "0", "1e2": ""}
    for value, told in shown.items():
        row = f'{{"prompt_tokens": 5, "output_tokens": {value}}}\n'
        (tmp_path / "t.jsonl").write_text('{"prompt_tokens": 5, "output_tokens": 5}\n' + row)
        if told:
            with pytest.raises(SlosimError, match=rf"t.jsonl, line 2, field output_tokens: {told} is not a"):
                load(tmp_path / "t.jsonl")
        else:
            assert load(tmp_path / "t.jsonl").output_tokens.tolist() == [5, 100]


@pytest.mark.parametrize("name", ["timestamp", "Time", "arrival_ms", "start_ts", "created_at", "ts"])
@pytest.mark.parametrize("lengths", [("prompt_tokens", "output_tokens"), ("num_prefill_tokens", "num_decode_tokens")])
def test_an_arrival_column_is_not_passed_over(tmp_path: Path, name: str, lengths: tuple[str, str]) -> None:
    table = [{name: 0, lengths[0]: 10, lengths[1]: 5}, {name: 500, lengths[0]: 12, lengths[1]: 5}]
    (tmp_path / "t.csv").write_text(csv_of(table))
    pd.DataFrame(table).to_parquet(tmp_path / "t.parquet")
    for path in (tmp_path / "t.csv", tmp_path / "t.parquet"):
        with pytest.raises(SlosimError, match=f"the column {name} looks like arrival times and is not used; use it"):
            load(path)
    columns = dict(zip(("prompt_tokens", "output_tokens"), lengths, strict=True))
    assert load(tmp_path / "t.csv", columns={**columns, "arrived_at": "none"}).arrived_at.tolist() == [0.0, 0.0]


def test_a_hint_can_be_pasted(tmp_path: Path) -> None:
    """The mapping that the error names reads the file, on the command line and in Python."""
    from experiments.cli import main

    (tmp_path / "t.csv").write_text("arrival_time_ms,input toks,gen_toks\n0,10,5\n500,12,6\n")
    with flags_in_hints(), pytest.raises(SlosimError) as told:
        load(tmp_path / "t.csv")
    words = str(told.value).partition("which column is which: ")[2]
    import shlex

    assert main(["trace", str(tmp_path / "t.csv"), *shlex.split(words), "-o", str(tmp_path / "o.csv")]) == 0
    assert (tmp_path / "o.csv").read_text().splitlines()[1:] == ["0.0,10,5", "0.5,12,6"]
    with pytest.raises(SlosimError) as told:
        load(tmp_path / "t.csv")
    words = str(told.value).partition("which column is which: ")[2]
    assert eval(f"load(path, {words})", {"load": load, "path": tmp_path / "t.csv"}).arrived_at.tolist() == [0.0, 0.5]


# -- folders ---------------------------------------------------------------------------------------------------------


def folder_of(tmp_path: Path, ending: str) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "README.md").write_text("shards, nothing else")
    for part in range(3):
        times = (10 * part, 10 * part + 5)
        table = [{"arrived_at": time, "prompt_tokens": time + 1, "output_tokens": 1} for time in times]
        if ending == "parquet":
            pd.DataFrame(table).to_parquet(folder / f"part-{part}.parquet")
        else:
            text = csv_of(table) if ending == "csv" else "\n".join(map(json.dumps, table))
            (folder / f"part-{part}.{ending}").write_text(text)
    return folder


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_folder_of_shards_is_one_trace(tmp_path: Path, ending: str) -> None:
    folder = folder_of(tmp_path, ending)
    with pytest.warns(TraceWarning, match="skipped: README.md"):
        trace = load(folder)
    assert trace.arrived_at.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert trace.prompt_tokens.tolist() == [1, 6, 11, 16, 21, 26]
    assert trace.name == "shards"
    assert "3 files read as one trace: part-0" in repr(trace)
    assert load(folder, requests=3).prompt_tokens.tolist() == [1, 6, 11]
    assert load(folder, start=10).prompt_tokens.tolist() == [11, 16, 21, 26]


def test_what_is_wrong_in_a_shard_is_told_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "csv")
    text = (folder / "part-1.csv").read_text()
    (folder / "part-1.csv").write_text(text.replace("16,1", "0,1"))
    with pytest.raises(SlosimError, match=r"part-1.csv, line 3, field prompt_tokens: 0 is not a whole number"):
        load(folder)
    (folder / "part-1.csv").write_text(text.replace("16,1", "16,x"))
    with pytest.raises(SlosimError, match=r"part-1.csv, line 3, field output_tokens: 'x' is not a number"):
        load(folder)
    (folder / "part-1.csv").write_text(text.replace("arrived_at", "arrived"))
    with pytest.raises(SlosimError, match=r"part-1.csv: no column arrived_at, which part-0.csv has"):
        load(folder)
    (folder / "part-1.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,1,1\n")
    with pytest.raises(SlosimError, match=r"files of several formats \(part-0.csv is csv, part-1.csv is azure\)"):
        load(folder)


def test_prose_is_read_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("It was a dark night, and nothing happened.\n")
    for source in (tmp_path / "book.txt", tmp_path):
        with flags_in_hints(), pytest.raises(SlosimError, match="--format text"):
            load(source)
        assert len(load(source, "text", outputs=3)) == 1
    (tmp_path / "requests.txt").write_text(csv_of([{"prompt_tokens": 7, "output_tokens": 2}]))
    assert load(tmp_path / "requests.txt").prompt_tokens.tolist() == [7]
    (tmp_path / "moon.txt").write_text('{"timestamp": 0, "input_length": 7, "output_length": 2}\n')
    assert load(tmp_path / "moon.txt").prompt_tokens.tolist() == [7]
    (tmp_path / "log.txt").write_text("INFO 01-01 00:00:00 engine.py:1] Avg prompt throughput: 1.0 tokens/s\n" * 9)
    with pytest.raises(SlosimError, match="read as prose only when asked to: format='text'"):
        load(tmp_path / "log.txt")


# -- the first requests ----------------------------------------------------------------------------------------------


def long_file(path: Path, count: int = 30_000, failing: int = 0) -> Path:
    lines = [f"{at},ChatGPT,{at % 500 + 1},{0 if at < failing else 7}" for at in range(count)]
    path.write_text("Timestamp,Model,Request tokens,Response tokens\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("failing", [0, 3, 20_000])
@pytest.mark.parametrize("wanted", [1, 10, 12_000])
def test_the_first_requests_are_those_of_the_whole(
    tmp_path: Path, failing: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_BYTES_AT_ONCE", 1 << 12)
    path = long_file(tmp_path / "b.csv", failing=failing)
    whole = load(path)
    part = load(path, requests=wanted)
    assert list(part) == list(whole.head(wanted))


def test_reading_stops_at_the_requests_asked_for(tmp_path: Path) -> None:
    """What is wrong far behind is not seen, and it is said that only the first rows were read."""
    path = long_file(tmp_path / "b.csv", 200_000)
    with path.open("a") as file:
        file.write("broken\n")
    trace = load(path, requests=100)
    assert len(trace) == 100
    assert "rows were read" in repr(trace)
    with pytest.raises(SlosimError, match="line 200002: 1 fields, expected 4"):
        load(path)
    jsonl = tmp_path / "m.jsonl"
    line = '{"timestamp": %d, "input_length": 7, "output_length": 2, "hash_ids": [1, 2, 3]}\n'
    jsonl.write_text("".join(line % at for at in range(40_000)) + "broken")
    assert len(load(jsonl, "mooncake", requests=100)) == 100


def test_unordered_rows_are_ordered_before_the_first_are_taken(tmp_path: Path) -> None:
    text = "num_prefill_tokens,num_decode_tokens,arrived_at\n" + "".join(f"{at + 1},1,{99 - at}\n" for at in range(100))
    (tmp_path / "v.csv").write_text(text)
    assert load(tmp_path / "v.csv", requests=2).prompt_tokens.tolist() == [100, 99]


# -- by Arrow and by Python ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["comma", "semicolon", "quoted", "comments", "json lines", "parquet"])
def test_both_ways_of_reading_give_the_same(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FORMS[form](tmp_path / "t.data")
    fast = load(tmp_path / "t.data", columns=COLUMNS, time_unit="ms")

    def refused(*_: object) -> None:
        raise rows.NotRead

    if form != "parquet":
        for module in ("delimited", "json_lines"):
            monkeypatch.setattr(f"traces.readers.{module}.of_arrow", refused)
    slow = load(tmp_path / "t.data", columns=COLUMNS, time_unit="ms")
    assert slow.digest == fast.digest
    assert list(slow) == list(fast)


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    draw = random.Random(5)
    times = sorted(draw.uniform(0, 1e6) for _ in range(2000))
    text = "arrived_at,prompt_tokens,output_tokens\n" + "".join(f"{time!r},1,1\n" for time in times)
    (tmp_path / "t.csv").write_text(text)
    assert load(tmp_path / "t.csv", keep_start=True).arrived_at.tolist() == times
    lines = (json.dumps({"arrived_at": time, "prompt_tokens": 1, "output_tokens": 1}) for time in times)
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert load(tmp_path / "t.jsonl", keep_start=True).arrived_at.tolist() == times


def test_fractions_after_a_thousand_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow still reads them: nothing falls back to Python."""
    lines = [json.dumps({"arrived_at": at, "prompt_tokens": 1, "output_tokens": 1}) for at in range(2000)]
    lines.append(json.dumps({"arrived_at": 2000.5, "prompt_tokens": 1, "output_tokens": 1}))
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr("traces.readers.json_lines.of_cells", None)
    assert load(tmp_path / "t.jsonl").arrived_at[-2:].tolist() == [1999.0, 2000.5]


@pytest.mark.parametrize("form", ["comma", "json lines"])
def test_reading_does_not_import_pandas(tmp_path: Path, form: str) -> None:
    """Its import takes longer than reading a million rows."""
    FORMS[form](tmp_path / "t.data")
    program = (
        "import sys, warnings; warnings.simplefilter('ignore'); from traces import load\n"
        f"load({str(tmp_path / 't.data')!r}, columns={COLUMNS!r}, time_unit='ms'); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


# -- damage ----------------------------------------------------------------------------------------------------------


def test_no_flipped_bit_makes_another_workload(tmp_path: Path) -> None:
    trace = assign_slos(paper_mix(60, seed=1), lambda tokens: 0.1 + tokens / 7e3)
    whole = trace.save(tmp_path / "whole.parquet").read_bytes()
    flipped, draw, told = tmp_path / "flipped.parquet", random.Random(0), []
    for _ in range(400):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        flipped.write_bytes(content)
        try:
            assert load(flipped, keep_start=True).digest == trace.digest
        except SlosimError as error:
            told.append(str(error))
    assert len(told) > 200
    assert all("flipped.parquet" in message and "\n" not in message for message in told)


def test_a_changed_trace_is_told_with_a_way_out(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = paper_mix(50).save(tmp_path / "mix.parquet")
    pq.write_table(pq.read_table(path).slice(0, 20), path)
    with pytest.raises(SlosimError, match=r"mix.parquet: the file is damaged or was changed.*check_digest=False"):
        load(path)
    with flags_in_hints(), pytest.raises(SlosimError, match=r"--set trace.reader.check_digest=false"):
        load(path)
    assert len(load(path, check_digest=False)) == 20


PIECES = ['"', "\n", ",", ";", "null", "1e999", "-1", "nan", "\0", "{", "[", "\r", "9" * 5000, "\\ud800", "#", "[[[["]


def test_mangled_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    sources = [path for path in sorted((Path(__file__).parent / "cases").iterdir()) if path.is_file()]
    draw, told = random.Random(3), []
    for _ in range(600):
        source = draw.choice(sources)
        content = bytearray(source.read_bytes()[:20_000])
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(content) + 1)
            content[at : at + draw.choice((0, 0, 1, 9))] = draw.choice(PIECES).encode()
        path = tmp_path / f"t{source.suffix}"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert isinstance(load(path), Trace)
            except SlosimError as error:
                told.append(str(error))
    assert len(told) > 100
    assert [message for message in told if "\n" in message or len(message) > 2000] == []
