"""Recorded steps of real schedulers: equal when they are, and the first difference in words when they are not."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.recorded_files import json_lines, read_files, shipped
from experiments.recorded_files import main as pack
from experiments.recordings import NotModelled, read_recording
from experiments.steps import Difference, check_steps
from traces.errors import SlosimError

RECORDING = "vllm_v1_0.33.0_seqs16_ample"
TIGHT = "vllm_v0_0.4.3_tight"


def copied(recordings: Path, folder: Path, name: str) -> Path:
    """A recording of one's own as a recorder writes it, to be spoilt."""
    recorded = read_files(recordings / "steps" / f"{name}.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.meta.json").write_text(json.dumps(recorded.meta))
    with gzip.open(folder / f"{name}.steps.jsonl.gz", "wt", compresslevel=1) as file:
        file.writelines(json_lines(recorded.steps))
    for file_name, rows in (
        (f"{name}.requests.csv", recorded.requests),
        (recorded.meta["settings"]["trace"], recorded.trace),
    ):
        with open(folder / file_name, "w", newline="") as table:
            writer = csv.DictWriter(table, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder / f"{name}.meta.json"


def change(meta: Path, **settings: Any) -> Path:
    """The same recording with other settings; "absent" takes one away."""
    content = json.loads(meta.read_text())
    content["settings"] = {k: v for k, v in (content["settings"] | settings).items() if v != "absent"}
    meta.write_text(json.dumps(content))
    return meta


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
def test_the_first_difference_is_told(recordings: Path, tmp_path: Path, field: str, change: Any, words: str) -> None:
    meta = copied(recordings, tmp_path, TIGHT)
    spoil(meta, 700, field, change)
    with pytest.raises(Difference, match="step 700: ") as caught:
        check_steps(meta)
    assert words in str(caught.value)


def test_the_exit_code_says_whether_all_are_equal(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = copied(recordings, tmp_path / "good", RECORDING), copied(recordings, tmp_path / "bad", TIGHT)
    spoil(bad, 10, "running", lambda value: value + 1)
    assert main(["check-steps", str(bad), str(good)]) == 1
    told = capsys.readouterr()
    assert "steps are equal" in told.out
    assert "step 10: running is" in told.err
    assert main(["check-steps", str(good)]) == 0


def test_a_recording_that_ends_too_early_or_too_late(recordings: Path, tmp_path: Path) -> None:
    meta = copied(recordings, tmp_path, RECORDING)
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


def test_a_request_s_times_are_compared_too(recordings: Path, tmp_path: Path) -> None:
    meta = copied(recordings, tmp_path, RECORDING)
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


def test_an_unknown_scheduler_is_named(recordings: Path, tmp_path: Path) -> None:
    meta = copied(recordings, tmp_path, RECORDING)
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"scheduler": "Other"}))
    with pytest.raises(SlosimError, match="no policy stands for 'Other'"):
        check_steps(meta)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prefix_caching": "on"}, "prefix_caching: not modelled"),
        ({"policy": "priority", "async_scheduling": True}, "async_scheduling: not modelled; policy: not modelled"),
        ({"max_num_active_seqs": 8}, "max_num_active_seqs: not modelled"),
        ({"max_num_scheduled_tokens": 100}, "max_num_scheduled_tokens: not modelled"),
        ({"num_speculative_tokens": 1}, "num_speculative_tokens: not modelled"),
        ({"prefill_schedule_interval": 2}, "prefill_schedule_interval: not modelled"),
        ({"chunked_prefill": "sometimes"}, "chunked_prefill: not modelled"),
        ({"anything_new": 3}, "anything_new: not modelled"),
    ],
)
def test_settings_that_are_not_modelled_are_refused(
    recordings: Path, tmp_path: Path, settings: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = change(copied(recordings, tmp_path, RECORDING), **settings)
    with pytest.raises(NotModelled, match=f"^{RECORDING}: {words}$"):
        check_steps(meta)
    assert main(["check-steps", str(meta)]) == 2
    assert words in capsys.readouterr().err


def test_what_is_off_is_no_obstacle(recordings: Path, tmp_path: Path) -> None:
    off = {"anything_new": False, "prefix_caching": "off", "num_speculative_tokens": 0, "max_num_active_seqs": None}
    assert check_steps(change(copied(recordings, tmp_path, RECORDING), **off)) > 1000


@pytest.mark.parametrize("setting", ["max_num_seqs", "block_size", "num_gpu_blocks", "a"])
def test_a_setting_that_is_missing_is_named(recordings: Path, tmp_path: Path, setting: str) -> None:
    meta = change(copied(recordings, tmp_path, RECORDING), **{setting: "absent"})
    with pytest.raises(SlosimError, match=f"it lacks the setting '{setting}'"):
        check_steps(meta)


def test_the_null_block_is_no_request_s(recordings: Path, tmp_path: Path) -> None:
    meta = copied(recordings, tmp_path, "vllm_v1_0.33.0_vtight")
    content = json.loads(meta.read_text())
    del content["usable_blocks"]
    meta.write_text(json.dumps(content))
    assert read_recording(meta).kv_blocks == content["settings"]["num_gpu_blocks"] - 1
    assert check_steps(meta) == content["steps"]


def test_both_forms_hold_the_same(recordings: Path, tmp_path: Path) -> None:
    """Lists, maps, fields of some steps only: the swaps of vLLM V0, drafts, and FastServe's queues."""
    for name in ("vllm_v0_0.4.3_swap_tight", "vllm_v1_0.33.0_mix_spec_tight", "fastserve_fcfs_tight"):
        meta = copied(recordings, tmp_path / "lines", name)
        assert pack([str(meta), "--into", str(tmp_path / "packed")]) == 0
        one, other = read_files(meta), read_files(tmp_path / "packed" / "steps" / f"{name}.parquet")
        assert one == other == read_files(recordings / "steps" / f"{name}.parquet")
        assert list(json_lines(one.steps)) == list(json_lines(other.steps))


def test_steps_that_fit_into_no_columns_are_refused(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = copied(recordings, tmp_path, RECORDING)
    spoil(meta, 3, "step", lambda step: step + 1)
    assert pack([str(meta), "--into", str(tmp_path)]) == 2
    assert "do not fit into columns" in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1 no table PAR1"])
def test_a_damaged_file_is_one_line(recordings: Path, tmp_path: Path, damage: bytes) -> None:
    for path in (tmp_path / "x.parquet", copied(recordings, tmp_path, RECORDING)):
        (tmp_path / f"{RECORDING}.steps.jsonl.gz").write_bytes(damage)
        (tmp_path / "x.parquet").write_bytes(damage)
        with pytest.raises(SlosimError, match="not a complete recording") as caught:
            read_recording(path)
        assert "\n" not in str(caught.value)


def test_without_arguments_it_replays_what_ships(
    recordings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = recordings / "steps"
    chosen = [steps / f"{RECORDING}.parquet", steps / "vllm_v1_0.33.0_prefix_ample.parquet"]
    monkeypatch.setattr("experiments.recorded_files.shipped", lambda: chosen)
    assert main(["check-steps"]) == 0
    told = capsys.readouterr()
    assert "recordings not replayed: 1\n  vllm_v1_0.33.0_prefix_ample: prefix_caching: not modelled" in told.out
    assert "1 of 2 recordings equal" in told.out
    assert not told.err


def test_an_installed_package_says_where_they_are(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.recorded_files.__file__", str(tmp_path / "site" / "experiments" / "files.py"))
    monkeypatch.chdir(tmp_path)
    assert main(["check-steps"]) == 2
    assert "they ship with the repository, not with the installed package" in capsys.readouterr().err
    monkeypatch.chdir(recordings.parent.parent)
    assert len(shipped()) > 40
