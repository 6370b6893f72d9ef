"""Recorded steps of real schedulers: equal when they are, and the first difference in words when they are not."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.recordings import read_recording
from experiments.steps import Difference, check_steps
from traces.errors import SlosimError

RECORDING = "vllm_v1_0.33.0_seqs16_ample"
TIGHT = "vllm_v0_0.4.3_tight"


def copied(shared: Path, folder: Path, name: str) -> Path:
    """A recording of one's own, to be spoilt."""
    source = shared / "golden" / "steps"
    meta = json.loads((source / f"{name}.meta.json").read_text())
    for part in (f"{name}.meta.json", f"{name}.steps.jsonl.gz", f"{name}.requests.csv", meta["settings"]["trace"]):
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / part, target)
        target.chmod(0o644)
    return folder / f"{name}.meta.json"


def spoil(meta: Path, step: int, field: str, value: Any) -> None:
    """Changes one field of one recorded step."""
    path = meta.with_name(meta.name.replace(".meta.json", ".steps.jsonl.gz"))
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line) for line in file]
    lines[step][field] = value(lines[step][field])
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("free_blocks", lambda value: value - 1, "free_blocks is"),
        ("free_blocks_end", lambda value: value + 1, "free_blocks_end is"),
        ("waiting", lambda value: value + 1, "waiting is"),
        ("preempted", lambda value: [*value, "r0"], "preempted is"),
        ("batch", lambda value: [[value[0][0], value[0][1] + 1], *value[1:]], "tokens here"),
        ("running", lambda value: 0, "running is"),
        ("context", lambda value: 1, "context is"),
        ("start", lambda value: value + 0.5, "start is"),
        ("duration", lambda value: value * 2, "duration is"),
    ],
)
def test_the_first_difference_is_told(shared: Path, tmp_path: Path, field: str, change: Any, words: str) -> None:
    meta = copied(shared, tmp_path, TIGHT)
    spoil(meta, 700, field, change)
    with pytest.raises(Difference, match="step 700: ") as caught:
        check_steps(meta)
    assert words in str(caught.value)


def test_the_exit_code_says_whether_all_are_equal(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = copied(shared, tmp_path / "good", RECORDING), copied(shared, tmp_path / "bad", TIGHT)
    spoil(bad, 10, "running", lambda value: value + 1)
    assert main(["check-steps", str(bad), str(good)]) == 1
    told = capsys.readouterr()
    assert "steps are equal" in told.out
    assert "step 10: running is" in told.err
    assert main(["check-steps", str(good)]) == 0


def test_a_recording_that_ends_too_early_or_too_late(shared: Path, tmp_path: Path) -> None:
    meta = copied(shared, tmp_path, RECORDING)
    path = meta.with_name(f"{RECORDING}.steps.jsonl.gz")
    with gzip.open(path, "rt") as file:
        lines = file.readlines()
    with gzip.open(path, "wt") as file:
        file.writelines(lines[:100])
    with pytest.raises(Difference, match="the recording ends after 100 steps"):
        check_steps(meta)
    with gzip.open(path, "wt") as file:
        file.writelines([*lines, lines[-1]])
    with pytest.raises(Difference, match=f"the policy ends after {len(lines)} of {len(lines) + 1}"):
        check_steps(meta)


def test_a_request_s_times_are_compared_too(shared: Path, tmp_path: Path) -> None:
    meta = copied(shared, tmp_path, RECORDING)
    path = meta.with_name(f"{RECORDING}.requests.csv")
    head, first, *rest = path.read_text().splitlines()
    fields = dict(zip(head.split(","), first.split(","), strict=True))
    fields["finished_at"] = str(float(fields["finished_at"]) + 1)
    path.write_text("\n".join([head, ",".join(fields.values()), *rest]))
    with pytest.raises(Difference, match="finished_at is"):
        check_steps(meta)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"by its NAME\.meta\.json"):
        read_recording(tmp_path / "x.json")
    meta = tmp_path / "x.meta.json"
    meta.write_text("{}")
    with pytest.raises(SlosimError, match="not a complete recording"):
        read_recording(meta)


def test_an_unknown_scheduler_is_named(shared: Path, tmp_path: Path) -> None:
    meta = copied(shared, tmp_path, RECORDING)
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"scheduler": "Other"}))
    with pytest.raises(SlosimError, match="no policy stands for 'Other'"):
        check_steps(meta)
