"""The project's own files: what is saved comes back, and what is wrong with a file is told."""

import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import SLO, Fixed, LogNormal, SlosimError, Trace, TraceRow, assign_slos, load, paper_mix

ENDINGS = ("parquet", "csv", "csv.gz")
OBJECTIVE = st.floats(1e-6, 1e9) | st.just(math.inf)
LABELS = st.sampled_from(["", "chat", 'odd, "quoted"', "ünï"])
ROWS = st.lists(
    st.builds(
        TraceRow,
        st.floats(0, 1e9),
        st.integers(1, 2**31 - 1),
        st.integers(1, 9),
        st.builds(SLO, OBJECTIVE, OBJECTIVE, OBJECTIVE),
        LABELS,
    ),
    min_size=1,
)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_saved_comes_back(tmp_path: Path, ending: str) -> None:
    trace = assign_slos(paper_mix(3000, seed=2), lambda tokens: 0.1 + tokens / 7e3)
    path = trace.save(tmp_path / f"mix.{ending}")
    back = load(path, keep_start=True)
    assert back.digest == trace.digest
    assert list(back) == list(trace)


@pytest.mark.parametrize("ending", ENDINGS)
@given(rows=ROWS)
def test_any_trace_comes_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, ending: str, rows: list[TraceRow]
) -> None:
    trace = Trace.from_rows(rows, sort=True)
    path = trace.save(tmp_path_factory.mktemp("trace") / f"any.{ending}")
    assert list(load(path, keep_start=True)) == list(trace)


@pytest.mark.parametrize("ending", ENDINGS)
def test_ids_come_back(tmp_path: Path, ending: str) -> None:
    trace = Trace.from_columns(None, [1, 2], [3, 4], ids=["first", "2"])
    back = load(trace.save(tmp_path / f"ids.{ending}"))
    assert back.ids == ["first", "2"]
    assert back.digest == trace.digest


def test_csv_is_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traces.storage._ROWS_AT_ONCE", 7)
    trace = paper_mix(30)
    assert load(trace.save(tmp_path / "pieces.csv"), keep_start=True).digest == trace.digest


def test_a_parquet_footer_says_what_the_file_is(tmp_path: Path) -> None:
    trace = paper_mix(10).named("monday")
    path = trace.save(tmp_path / "a.parquet", made_by="a test")
    about = json.loads(pq.read_schema(path).metadata[b"slosim"])
    assert about == {"name": "monday", "digest": trace.digest, "made_by": "a test"}
    assert load(path).name == "monday"
    assert load(path, name="tuesday").name == "tuesday"
    assert load(trace.save(tmp_path / "plain.csv")).name == "plain"


def test_labels_survive_several_row_groups(tmp_path: Path) -> None:
    frame = paper_mix(5000).to_pandas()
    frame["application"] = frame["application"].astype(str)
    frame.to_parquet(tmp_path / "many.parquet", row_group_size=700)
    back = load(tmp_path / "many.parquet")
    assert back.application_labels().tolist() == frame["application"].tolist()


def test_lengths_alone_are_a_trace(tmp_path: Path) -> None:
    pd.DataFrame({"prompt_tokens": [1, 2], "output_tokens": [3, 4]}).to_parquet(tmp_path / "x.parquet")
    assert list(load(tmp_path / "x.parquet")) == [TraceRow(0.0, 1, 3), TraceRow(0.0, 2, 4)]
    assert load(tmp_path / "x.parquet").name == "x"


def test_missing_objectives_mean_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt_tokens,output_tokens,slo_ttft\n1,2,\n3,4,0.5\n")
    assert [row.slo for row in load(tmp_path / "a.csv")] == [SLO(), SLO(ttft=0.5)]
    table = pa.table({"prompt_tokens": [1, 2], "output_tokens": [1, 2], "slo_jct": [None, 2.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row.slo for row in load(tmp_path / "a.parquet")] == [SLO(), SLO(jct=2.0)]


@pytest.mark.filterwarnings("ignore::traces.TraceWarning")
def test_other_columns_and_request_ids(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffrequest_id,arrived_at,prompt_tokens,output_tokens,more\nx-1,0.5,10,2,?\n\n")
    trace = load(tmp_path / "a.csv", application="chat")
    assert list(trace) == [TraceRow(0.0, 10, 2, application="chat")]
    assert trace.ids == ["x-1"]


def test_prompts_alone_need_outputs(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt_tokens\n" + "5\n" * 500)
    with pytest.raises(SlosimError, match=r"prompts.csv: no column output_tokens .*; give .* such as outputs=200"):
        load(path)
    assert set(load(path, outputs=200).output_tokens.tolist()) == {200}
    assert set(load(path, outputs=Fixed(7)).output_tokens.tolist()) == {7}
    drawn = load(path, outputs=LogNormal(5.0, 1.0, 10, 900), seed=4).output_tokens
    assert drawn.tolist() == load(path, outputs=LogNormal(5.0, 1.0, 10, 900), seed=4).output_tokens.tolist()
    assert 100 < len(set(drawn.tolist()))


def test_order_is_demanded_or_made(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt_tokens,output_tokens,arrived_at\n1,1,5\n2,2,3\n")
    with pytest.raises(SlosimError, match=r"a.csv, line 3, field arrived_at: 3 comes before .* sort=True"):
        load(path)
    assert load(path, sort=True).prompt_tokens.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt_tokens,output_tokens\n1,2\n\n3,x\n", r"t.csv, line 4, field output_tokens: 'x' is not a number"),
        ("prompt_tokens,output_tokens\n1,2\n3,\n", r"t.csv, line 3, field output_tokens: '' is not a number"),
        ("prompt_tokens,output_tokens\n1,2\n0,9\n", r"t.csv, line 3, field prompt_tokens: 0 is not a whole number"),
        ("prompt_tokens,output_tokens\n1,2.5\n", r"t.csv, line 2, field output_tokens: 2.5 is not a whole number"),
        ("prompt_tokens,output_tokens\n1\n", r"t.csv, line 2: 1 fields, expected 2 as in the first line: '1'"),
        ("prompt_tokens,output_tokens,arrived_at\n1,2,-1\n", r"t.csv, line 2, field arrived_at: -1 is not a time"),
        ("prompt_tokens,output_tokens,slo_tbt\n1,2,0\n", r"t.csv, line 2, field slo_tbt: 0 is not seconds above 0"),
        ('prompt_tokens,output_tokens,id\n1,2,"two\nlines"\n3,x,b\n', r"t.csv, line 4, field output_tokens: 'x'"),
        ('prompt_tokens,output_tokens,id\n1,2,"two\n3,4,b\n', r"t.csv, line 2: not CSV \(unexpected end of data\)"),
        ("prompt_tokens,output_tokens\n", r"t.csv: the file has no request"),
        (
            "prompts,outputs\n1,2\n",
            r"t.csv: none of the known formats \(sharegpt, .*jsonl\): its first line is 'prompts,out",
        ),
        ("", r"t.csv: the file is empty; expected rows"),
    ],
)
def test_wrong_csv_is_told_by_file_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SlosimError, match=message):
        load(tmp_path / "t.csv")


def test_a_named_format_tells_its_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("prompts,outputs\n1,2\n")
    with pytest.raises(SlosimError, match=r"t.csv: no column prompt_tokens among prompts, outputs"):
        load(tmp_path / "t.csv", "csv")
    (tmp_path / "long.csv").write_text('prompt_tokens,output_tokens\n1,"' + "x" * 200_000 + '"\n')
    with pytest.raises(SlosimError, match=r"long.csv, line 2: not CSV \(field larger than field limit"):
        load(tmp_path / "long.csv")
    (tmp_path / "head.csv").write_text('"' + "x" * 200_000 + '"\n')
    with pytest.raises(SlosimError, match=r"head.csv, line 1: not CSV"):
        load(tmp_path / "head.csv")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"output_tokens": [1]}, r"t.parquet: no column prompt_tokens among output_tokens"),
        (
            {"prompt_tokens": [1, None], "output_tokens": [1, 2]},
            r"t.parquet, row 2, field prompt_tokens: a value is missing",
        ),
        (
            {"prompt_tokens": [1, 0], "output_tokens": [1, 2]},
            r"t.parquet, row 2, field prompt_tokens: 0 is not a whole",
        ),
        ({"prompt_tokens": [1], "output_tokens": ["x"]}, r"t.parquet, row 1, field output_tokens: 'x' is not a number"),
        (
            {"prompt_tokens": [1], "output_tokens": [2], "slo_tbt": ["soon"]},
            r"t.parquet, row 1, field slo_tbt: 'soon' is not a number",
        ),
        ({"prompt_tokens": pa.array([], pa.int32()), "output_tokens": pa.array([], pa.int32())}, "has no request"),
    ],
)
def test_wrong_parquet_is_told_by_file_row_and_field(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(SlosimError, match=message):
        load(tmp_path / "t.parquet")


def test_parquet_of_others_may_have_whole_objectives_and_numbers_as_labels(tmp_path: Path) -> None:
    columns = {"prompt_tokens": [1, 1], "output_tokens": [2, 2], "slo_jct": [3, None], "application": [7, 8]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert [(row.slo.jct, row.application) for row in load(tmp_path / "t.parquet")] == [(3.0, "7"), (math.inf, "8")]


def test_a_cut_parquet_file(tmp_path: Path) -> None:
    path = paper_mix(100).save(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SlosimError, match=r"a.parquet: cannot read as Parquet: "):
        load(path)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"a.txt: cannot save a trace under this ending; known are .parquet, .csv"):
        paper_mix(3).save(tmp_path / "a.txt")
    for ending in ENDINGS:
        with pytest.raises(SlosimError, match=r"cannot write: "):
            paper_mix(3).save(tmp_path / "missing" / f"a.{ending}")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(SlosimError, match=r"pip install pyarrow, or use .csv"):
        paper_mix(3).save(tmp_path / "a.parquet")


@pytest.mark.filterwarnings("ignore::traces.TraceWarning")
def test_the_reference_traces_load(shared: Path) -> None:
    """Counts and means of the table in the reference."""
    expected = {
        "alpaca": (52_002, 19.15, 58.45),
        "azure2023_conv": (19_366, 1155, 211),
        "azure2023_code": (8_819, 2048, 28),
        "vidur_arxiv_summ": (28_257, 2588, 291),
        "sarathi_sharegpt_8k": (30_731, 2340, 438.7),
    }
    for name, (rows, prompts, outputs) in expected.items():
        trace = load(shared / "traces" / f"{name}.parquet")
        assert len(trace) == rows
        assert trace.prompt_tokens.mean() == pytest.approx(prompts, rel=1e-3)
        assert trace.output_tokens.mean() == pytest.approx(outputs, rel=6e-3)
    summary = load(shared / "traces" / "azure2023_code.parquet").summary()
    assert summary["rate"] == pytest.approx(2.57, abs=0.01)
    assert summary["gap_cv"] == pytest.approx(13.2, abs=0.1)
    books = load(shared / "traces" / "bookcorpus_books_est.parquet", outputs=600)
    assert books.prompt_tokens.max() == pytest.approx(740_000, rel=0.01)
