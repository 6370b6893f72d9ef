"""The audit passes real results and finds each kind of damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.audit import audit
from sim.result import RunResult
from sim.simulation import simulate
from tests.sim.stories import MODEL, Whimsical, little_trace

Tables = dict[str, dict[str, np.ndarray]]


def sound() -> RunResult:
    return simulate(little_trace(1, 20), Whimsical(rejects=0.2), MODEL, kv_blocks=30, block_size=4)


def damaged(damage: Callable[[Tables], object], **changes: Any) -> RunResult:
    """A result whose tables were tampered with."""
    result = sound()
    tables = {
        table: {name: np.array(column) for name, column in getattr(result, table).items()}
        for table in ("requests", "iterations", "spans")
    }
    damage(tables)
    return replace(result, **tables, **changes)


def put(table: str, name: str, row: Any, value: Any) -> Callable[[Tables], object]:
    return lambda tables: tables[table][name].__setitem__(row, value)


def finished(result: RunResult) -> int:
    return int(np.flatnonzero((result.requests["status"] == 0) & (result.requests["generated"] > 1))[0])


ONE = finished(sound())
DAMAGE: dict[str, Callable[[Tables], object]] = {
    "a request is missing or reported twice": put("requests", "request", 3, 2),
    "a request neither finished nor was rejected": put("requests", "status", ONE, 2),
    "rejected requests and reasons for rejection do not go together": put("requests", "status", ONE, 1),
    "an iteration ends before it begins": put("iterations", "end", 3, 0.0),
    "an iteration begins before the one before it ends": put("iterations", "start", 5, 0.0),
    "admitted_at lies before arrived_at": put("requests", "admitted_at", ONE, -1.0),
    "first_token_at lies before admitted_at": put("requests", "first_token_at", ONE, -1.0),
    "finished_at lies before first_token_at": put("requests", "finished_at", ONE, 0.0),
    "status and finished_at do not agree": put("requests", "finished_at", ONE, np.nan),
    "finished without the output that was asked": put("requests", "output_tokens", ONE, 99),
    "token times for": put("requests", "generated", ONE, 77),
    f"the token times of request {ONE} are not in order": put("requests", "first_token_at", ONE, 0.9),
    f"the last token of request {ONE} does not come when it finishes": put("requests", "finished_at", ONE, 99.0),
    "free_blocks lies outside of 0 to 30": put("iterations", "free_blocks", 4, -1),
    "free_blocks_end lies outside of 0 to 30": put("iterations", "free_blocks_end", 4, 31),
    "more tokens than the blocks can hold": put("iterations", "kv_tokens", 4, 121),
    "a negative number of tokens is held": put("iterations", "kv_tokens", 4, -1),
    "blocks were not given back in the end": put("iterations", "free_blocks_end", -1, 29),
    "tokens were computed, but prompts, outputs and recomputed": put("iterations", "prefill_tokens", 0, 999),
}


def test_a_real_result_is_sound() -> None:
    assert audit(sound()) == []
    assert audit(simulate(little_trace(1, 20), "vllm", MODEL, kv_blocks=30, horizon=0.2)) == []


@pytest.mark.parametrize("words", DAMAGE)
def test_damage_is_found(words: str) -> None:
    complaints = audit(damaged(DAMAGE[words]))
    assert any(words in complaint for complaint in complaints), complaints


def test_rejections_need_reasons() -> None:
    result = sound()
    assert result.rejections
    without = replace(result, rejections=dict.fromkeys(result.rejections, ""))
    assert audit(without) == ["rejected requests and reasons for rejection do not go together"]
