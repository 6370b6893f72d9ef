"""The audit of AccelGen's selections: it changes nothing, comes back from files, and its metrics by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import results
from experiments.selections import SELECTION, by_selection
from sim.result import RunResult
from sim.schedulers.accelgen.selections import Selection, Selections
from sim.simulation import simulate
from tests.sim.stories import MODEL, differences, little_trace


def served(policy: str, **options: int) -> RunResult:
    return simulate(little_trace(3, requests=60), policy, MODEL, kv_blocks=20, block_size=16, **options)


def told(result: RunResult, *rows: Selection, server: int = 0) -> dict[str, float]:
    """The metrics of a run with these selections."""
    selections = Selections()
    for row in rows:
        selections.write(row)
    columns = {name: np.array(column) for name, column in selections.columns().items()}
    return by_selection(replace(result, notes={**columns, "server": np.full(len(rows), server)}))


@pytest.mark.parametrize("replicas", [1, 2])
def test_who_is_watched_does_the_same(replicas: int, tmp_path: Path) -> None:
    result = served("accelgen,audit=True", replicas=replicas)
    assert not differences(result, served("accelgen", replicas=replicas))
    notes = result.notes
    assert len(notes["at"]) > 10
    assert set(notes["server"].tolist()) == set(range(replicas))
    started = set(zip(result.iterations["server"].tolist(), result.iterations["start"].tolist(), strict=True))
    assert set(zip(notes["server"].tolist(), notes["at"].tolist(), strict=True)) <= started
    assert (notes["kv"] <= notes["available_kv"]).all()
    assert (notes["tokens"] <= notes["available_tokens"]).all()
    first = np.hypot(notes["available_tokens"] - notes["first_tokens"], notes["available_kv"] - notes["first_kv"])
    assert (notes["distance"] <= first + 1e-9).all(), "no other is nearer"
    results.save(result, tmp_path)
    again = results.read(tmp_path).notes
    assert all((again[name] == notes[name]).all() for name in notes)
    assert by_selection(results.read(tmp_path)).keys() == set(SELECTION)


def test_a_run_without_an_audit_has_no_such_metrics(tmp_path: Path) -> None:
    result = served("accelgen")
    assert not result.notes
    assert by_selection(result) == {}
    results.save(result, tmp_path)
    assert not (tmp_path / "notes.parquet").exists()
    assert not results.read(tmp_path).notes


def test_metrics_by_hand() -> None:
    result = served("vllm")
    starts, free = result.iterations["start"].tolist(), result.iterations["free_blocks"].copy()
    free[:3] = 7, 5, 6
    result = replace(result, iterations={**result.iterations, "free_blocks": free})
    common = {"request": 0, "first_tokens": 10, "first_kv": 16}
    far = Selection(
        starts[0], candidates=2, available_tokens=50, available_kv=64, tokens=20, kv=24, distance=50, **common
    )
    found = told(
        result,
        Selection(starts[0], candidates=1, available_tokens=9, available_kv=9, tokens=9, kv=9, distance=0, **common),
        far,
        far._replace(tokens=10, kv=16, distance=40),
        far._replace(at=starts[1], available_tokens=20, distance=10),
        far._replace(at=starts[2], available_kv=24, distance=30),
    )
    assert found == {
        "selection_iterations": pytest.approx(3 / len(starts)),
        "selection_available_tokens": (50 + 50 + 20 + 50) / 4,
        "selection_available_kv": (64 + 64 + 64 + 24) / 4,
        "selection_tokens": (20 + 10 + 20 + 20) / 4,
        "selection_kv": (24 + 16 + 24 + 24) / 4,
        "selection_overruled": 3 / 4,
        "selection_kv_gain": (8 + 0 + 8 + 8) / 4,
        "selection_kv_weight": pytest.approx((1600 / 2500 + 2304 / 3904 + 1 + 0) / 4),
        "selection_correlation": pytest.approx(1.0),
    }
    assert np.isnan(told(result, far, far._replace(at=starts[1]))["selection_correlation"]), "two say nothing"
    alone = told(result, far._replace(candidates=1))
    assert alone.pop("selection_iterations") == 0
    assert np.isnan(list(alone.values())).all()
