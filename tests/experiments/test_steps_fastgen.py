"""The replay of FastGen's recordings: refused prompts, outputs that the model's length ends, steps without a batch."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.steps import Difference, check_steps, read_recording

SETTINGS = {
    "a": 2**-7,
    "b": 2**-14,
    "c": 2**-23,
    "d": 2**-16,
    "block_size": 4,
    "num_gpu_blocks": 3,
    "flush": "pipeline",
    "max_model_len": 5,
    "max_num_seqs": 512,
    "max_ragged_batch_size": 768,
    "max_tracked_sequences": 2048,
    "trace": "trace.csv",
}
ROWS = ((0.0, 9, 1), (1.0, 4, 9), (1.0, 3, 1), (9.0, 1, 1))
"""A prompt that is refused, one of nine tokens of which two come before the model's length, and two of one token."""


def step(start: float, batch: dict[str, int], context: int, **others: Any) -> dict[str, Any]:
    tokens = sum(batch.values())
    duration = 2**-7 + 2**-14 * tokens + 2**-23 * context if batch else 0.0
    usual = {"preempted": [], "running": len(batch), "waiting": 0, "flushed": [], "duration": duration}
    return {"start": start, "batch": list(batch.items()), "context": context} | usual | others


def by_hand() -> list[dict[str, Any]]:
    """Requests 1 and 2 end before anybody else comes: their blocks are free once the server has idled."""
    first = step(1.0, {"r1": 4, "r2": 3}, 7, free_blocks=1, free_blocks_end=1)
    second = step(1.0 + first["duration"], {"r1": 1}, 5, free_blocks=0, free_blocks_end=0)
    nothing = step(9.0, {}, 0, free_blocks=3, free_blocks_end=3, flushed=["r2", "r1"])
    return [first, second, nothing, step(9.0, {"r3": 1}, 1, free_blocks=2, free_blocks_end=2)]


def recorded(folder: Path, steps: list[dict[str, Any]]) -> Path:
    meta = {"scheduler": "mii.batching.ragged_batching.RaggedBatchBase", "settings": SETTINGS}
    (folder / "hand.meta.json").write_text(json.dumps(meta))
    lines = [f"r{number},{at},{prompt},{output}" for number, (at, prompt, output) in enumerate(ROWS)]
    (folder / "trace.csv").write_text("\n".join(["request_id,arrived_at,prompt_tokens,output_tokens", *lines]))
    with gzip.open(folder / "hand.steps.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(each) + "\n" for each in steps)
    return folder / "hand.meta.json"


def test_a_recording_by_hand(tmp_path: Path) -> None:
    path = recorded(tmp_path, by_hand())
    assert check_steps(path) == 3
    assert read_recording(path).trace.output_tokens.tolist() == [1, 2, 1, 1]


def test_without_the_step_that_only_frees_blocks(tmp_path: Path) -> None:
    steps = by_hand()
    assert check_steps(recorded(tmp_path, steps[:2] + steps[3:])) == 3


def test_a_block_freed_too_early_is_found(tmp_path: Path) -> None:
    steps = by_hand()
    steps[1]["flushed"] = ["r2"]
    with pytest.raises(Difference, match="step 1: flushed is 0 here, 1 in the recording"):
        check_steps(recorded(tmp_path, steps))
