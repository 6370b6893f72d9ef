"""What a load says about the file: the record on the trace, one warning, time from the first arrival."""

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from traces import FORMATS, Format, Reading, SlosimError, Trace, TraceWarning, load
from traces.errors import asked_by, flags_in_hints


def made(path: Path) -> Trace:
    reading = Reading(rows=5, time_unit="ms", left_out={"failed": 2}, ignored=("hash_ids",), notes=("odd",))
    return Trace.from_columns([2.5, 3.0, 4.0], [1, 2, 3], [1, 1, 1], reading=reading)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("traces.readers.FORMATS", {**FORMATS, "made": Format(made, "for this test")})
    (tmp_path / "a.csv").write_text("?")
    return tmp_path / "a.csv"


def test_one_warning_says_all_that_was_lost(path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace = load(path, "made")
    assert [str(each.message) for each in caught] == [
        f"{path}: 2 of 5 rows left out: failed; not modelled, ignored: hash_ids; odd"
    ]
    assert caught[0].category is TraceWarning
    assert caught[0].filename == __file__
    assert trace.reading is not None
    assert (trace.reading.path, trace.reading.format, trace.reading.kept) == (str(path), "made", 3)
    assert "3 requests; made, times in ms; first arrival at 2.5, taken as 0; 2 of 5 rows left out" in repr(trace)


@pytest.mark.filterwarnings("ignore::traces.TraceWarning")
def test_time_starts_at_the_first_arrival_unless_asked_otherwise(path: Path) -> None:
    assert load(path, "made").arrived_at.tolist() == [0.0, 0.5, 1.5]
    kept = load(path, "made", keep_start=True)
    assert kept.arrived_at.tolist() == [2.5, 3.0, 4.0]
    assert kept.reading is not None
    assert kept.reading.start_kept


@pytest.fixture
def flags() -> Iterator[None]:
    with flags_in_hints():
        yield


def test_hints_in_python() -> None:
    assert asked_by(format="mooncake", skip_empty=True) == "format='mooncake', skip_empty=True"


@pytest.mark.usefixtures("flags")
def test_hints_on_the_command_line() -> None:
    assert asked_by(format="mooncake") == "--format mooncake"
    assert asked_by(keep_start=True, skip_empty=True) == "--keep-start --set trace.reader.skip_empty=true"
    asked = asked_by(columns={"arrived_at": "start time", "prompt_tokens": "in"}, time_unit="ms")
    assert asked == "--columns 'arrived_at=start time,prompt_tokens=in' --time-unit ms"


def test_an_error_of_several_mistakes_has_a_line_for_each_also_from_another_process() -> None:
    error = SlosimError("2 mistakes", "rate: -1", "seed: 'a\nb'")
    assert str(error) == "2 mistakes\n  rate: -1\n  seed: 'a\\nb'"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(SlosimError("a\nb")) == "a\\nb"
    assert str(SlosimError()) == ""
