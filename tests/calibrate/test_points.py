"""Reading measured iterations: formats, units, and the row at fault."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from calibrate import read_points
from costmodel.shape import BatchShape
from traces.errors import SlosimError

ROWS = """kind,prefill_tokens,prefill_sequences,attention_pairs,decode_tokens,context_tokens,iteration_ms
decode,0,0,0,3,90,20.5
prefill,100,1,5000,0,0,31
mixed,100,2,9000.5,2,10,44.25
"""


def write(folder: Path, text: str = ROWS) -> Path:
    path = folder / "points.csv"
    path.write_text(text)
    return path


def test_columns_units_and_kinds(tmp_path: Path) -> None:
    points = read_points(write(tmp_path))
    assert len(points) == 3
    assert points.seconds.tolist() == pytest.approx([0.0205, 0.031, 0.04425])
    assert points.kinds.tolist() == [0, 1, 2]
    assert points.shapes() == [
        BatchShape(0, 3, 90, 0.0, 3),
        BatchShape(100, 0, 0, 5000.0, 1),
        BatchShape(100, 2, 10, 9000.5, 4),
    ]


def test_parquet_reads_the_same(tmp_path: Path) -> None:
    table = pd.read_csv(write(tmp_path))
    table.drop(columns="kind").to_parquet(tmp_path / "points.parquet")
    again, once = read_points(tmp_path / "points.parquet"), read_points(tmp_path / "points.csv")
    assert again.shapes() == once.shapes()
    assert again.seconds.tolist() == once.seconds.tolist()
    table.assign(iteration_ms=[1.0, -1.0, 1.0]).to_parquet(tmp_path / "points.parquet")
    with pytest.raises(SlosimError, match=r"points.parquet: row 2: iteration_ms -1.0 must be a positive number"):
        read_points(tmp_path / "points.parquet")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("31", "fast", "row 2 (line 3): iteration_ms fast must be a positive number"),
        ("31", "0", "row 2 (line 3): iteration_ms 0.0 must be a positive number"),
        ("31", "", "row 2 (line 3): iteration_ms nan must be a positive number"),
        ("9000.5", "-1", "row 3 (line 4): attention_pairs -1 must be a number that is not negative"),
        ("mixed,100,2", "mixed,100,0", "row 3 (line 4): prefill_sequences 0 does not go with prefill_tokens"),
        ("0,0,0,3,90", "0,0,0,0,0", "row 1 (line 2): decode_tokens 0 computes nothing"),
        ("5000", "4000", "row 2 (line 3): attention_pairs 4000 is less than the chunks' own"),
        ("100,1,", "100.5,1,", "row 2 (line 3): prefill_tokens 100.5 must be a whole number"),
        ("mixed,100,2", "mixed,100,101", "row 3 (line 4): prefill_sequences 101 is more than prefill_tokens"),
        ("0,0,0,3,90", "0,0,7,3,90", "row 1 (line 2): attention_pairs 7 is of no chunk"),
        ("5000,0,0", "5000,0,9", "row 2 (line 3): context_tokens 9 is read by nobody"),
        ("20.5\n", "20.5,7\n", "line 2 has more fields than line 1 names"),
        ("3,90", "3,2", "row 1 (line 2): context_tokens 2 is less than one for each of decode_tokens"),
        ("mixed", "decode", "row 3 (line 4): kind decode does not go with prefill_tokens and decode_tokens"),
        ("attention_pairs", "pairs", "column attention_pairs is missing; expected are prefill_tokens,"),
        ("44.25\n", "44.25\n\n\nmixed,100,2,9000.5,2,10,never\n\n", "row 4 (line 7): iteration_ms never must be"),
        ("31\n", "31,7,8\n", "is not a table (Error tokenizing data"),
    ],
)
def test_a_wrong_row_is_named(old: str, new: str, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, ROWS.replace(old, new))
    with pytest.raises(SlosimError) as raised:
        read_points(path)
    assert str(raised.value).startswith(str(path))
    assert told in str(raised.value)


def test_files_without_points(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="cannot be read"):
        read_points(tmp_path / "none.csv")
    with pytest.raises(SlosimError, match="is not a table"):
        read_points(write(tmp_path, ""))
    with pytest.raises(SlosimError, match="has no rows"):
        read_points(write(tmp_path, ROWS.splitlines()[0]))
    (tmp_path / "fake.parquet").write_text("not parquet")
    with pytest.raises(SlosimError, match="is not a table"):
        read_points(tmp_path / "fake.parquet")
