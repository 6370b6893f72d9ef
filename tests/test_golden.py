"""Recorded steps of real schedulers, replayed through our policies: equal, and a change is noticed where it is made."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import steps
from experiments.steps import Difference, check_steps, read_recording
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from traces.errors import SlosimError

RECORDINGS = (
    "fastgen_ample",
    "fastgen_b512_tight",
    "fastgen_tight",
    "fastgen_tight_immediate",
    "orca_ample",
    "orca_tight",
    "sarathi_c2048_tight",
    "sarathi_c256_tight",
    "sarathi_c512_ample",
    "sarathi_c512_seqs16_ample",
    "sarathi_c512_tight",
    "vllm_v0_0.2.7_ample",
    "vllm_v0_0.2.7_tight",
    "vllm_v0_0.2.7_vtight",
    "vllm_v0_0.4.3_ample",
    "vllm_v0_0.4.3_chunk512_tight",
    "vllm_v0_0.4.3_swap_tight",
    "vllm_v0_0.4.3_tight",
    "vllm_v1_0.33.0_ample",
    "vllm_v1_0.33.0_b512_tight",
    "vllm_v1_0.33.0_seqs16_ample",
    "vllm_v1_0.33.0_tight",
    "vllm_v1_0.33.0_vtight",
)
TIGHT = "vllm_v0_0.4.3_swap_tight"


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_step_is_equal(shared: Path, name: str) -> None:
    path = shared / "golden" / "steps" / f"{name}.meta.json"
    assert check_steps(path) == len(read_recording(path).steps) > 1000


@pytest.fixture
def recording(shared: Path, tmp_path: Path) -> Path:
    """A recording that may be spoilt."""
    for path in (shared / "golden" / "steps").glob(f"{TIGHT}.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(shared / "golden" / "steps" / "trace200.csv", tmp_path)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    return tmp_path / f"{TIGHT}.meta.json"


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    file = path.with_name(f"{TIGHT}.steps.jsonl.gz")
    with gzip.open(file, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    change(rows)
    with gzip.open(file, "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


CHANGES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "free_blocks": lambda rows: rows[700].update(free_blocks=rows[700]["free_blocks"] + 1),
    "free_blocks_end": lambda rows: rows[700].update(free_blocks_end=-1),
    "waiting": lambda rows: rows[700].update(waiting=999),
    "running": lambda rows: rows[700].update(running=0),
    "preempted": lambda rows: rows[700].update(preempted=["nobody"]),
    "context": lambda rows: rows[700].update(context=1),
    "start": lambda rows: rows[700].update(start=0.5),
    "the batches differ": lambda rows: rows[700]["batch"][0].__setitem__(1, 77),
    "duration": lambda rows: rows[700].update(duration=rows[700]["duration"] * 2),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_step_is_found(recording: Path, field: str) -> None:
    rewrite(recording, CHANGES[field])
    with pytest.raises(Difference, match=f"^{TIGHT}: step 700: {field}"):
        check_steps(recording)


def test_a_recording_that_ends_early_is_found(recording: Path) -> None:
    rewrite(recording, lambda rows: rows.pop())
    with pytest.raises(Difference, match="recording ends after 2089 steps, the policy goes on"):
        check_steps(recording)


def test_a_policy_that_ends_early_is_found(recording: Path) -> None:
    rewrite(recording, lambda rows: rows.extend([{}, {}]))
    with pytest.raises(Difference, match="the policy ends after 2090 of 2092 recorded steps"):
        check_steps(recording)


def test_another_outcome_is_found(recording: Path) -> None:
    file = recording.with_name(f"{TIGHT}.requests.csv")
    lines = file.read_text().splitlines()
    column = lines[0].split(",").index("first_token_at")
    values = lines[5].split(",")
    values[column] = "0.125"
    file.write_text("\n".join([*lines[:5], ",".join(values), *lines[6:]]) + "\n")
    with pytest.raises(Difference, match=r"first_token_at is .* here, 0.125 in the recording"):
        check_steps(recording)
    file.unlink()
    assert check_steps(recording) == 2090


def test_another_policy_is_found(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = read_recording(recording).meta["scheduler"]
    monkeypatch.setitem(steps.POLICIES, kind, lambda settings: Vllm(watermark=0.02, preemption="swap"))
    with pytest.raises(
        Difference, match=rf"^{TIGHT}: step \d+: the batches differ: r\S+ gets \d+ tokens here, \d+ there"
    ):
        check_steps(recording)
    monkeypatch.setitem(steps.POLICIES, kind, lambda settings: Sarathi())
    with pytest.raises(Difference, match=r"step \d+: "):
        check_steps(recording)


def test_what_cannot_be_replayed_is_said(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"give a recording by its NAME.meta.json"):
        check_steps(tmp_path / "trace200.csv")
    with pytest.raises(SlosimError, match="not a complete recording"):
        check_steps(tmp_path / "missing.meta.json")
    meta = json.loads(recording.read_text())
    recording.write_text(json.dumps(meta | {"scheduler": "Fifo"}))
    with pytest.raises(SlosimError, match="no policy stands for 'Fifo'"):
        check_steps(recording)
