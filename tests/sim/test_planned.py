"""Planned: requests start in the order of a plan, each as soon as there is room and not before its time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.errors import SchedulerError
from sim.predictor import perfect, unknown
from sim.result import RunResult
from sim.schedulers.planned import Agenda, Planned
from sim.simulation import simulate
from tests.sim.stories import MODEL, blocks_for_largest, differences, little_trace
from traces import Trace

AT_ONCE = Trace.from_rows([(0.0, 20, 5)] * 4)


def served(agenda: Agenda, trace: Trace = AT_ONCE, blocks: int = 6) -> RunResult:
    """In a cache that holds one of those ``AT_ONCE`` at a time, unless there are more blocks."""
    return simulate(trace, Planned(agenda), MODEL, kv_blocks=blocks, block_size=4)


def started(result: RunResult) -> list[int]:
    return np.argsort(result.requests["admitted_at"], kind="stable").tolist()


def written(folder: Path, agenda: Agenda) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps({"agenda": agenda._asdict()}))
    return path


def test_requests_start_in_the_order_of_the_plan() -> None:
    assert started(served(Agenda((2, 0, 3, 1)))) == [2, 0, 3, 1]
    assert started(served(Agenda((3,)))) == [3, 0, 1, 2], "whom it does not name comes last, by arrival"
    assert started(served(Agenda())) == [0, 1, 2, 3]


def test_who_does_not_fit_is_passed_over() -> None:
    trace = Trace.from_rows([(0.0, 8, 10), (0.0, 30, 3), (0.0, 4, 3)])
    admitted = served(Agenda((0, 1, 2)), trace, blocks=8).requests["admitted_at"]
    assert admitted[0] == admitted[2] == 0.0
    assert admitted[1] > 0.1


def test_nobody_starts_before_its_time() -> None:
    held = Agenda((0, 1, 2, 3), ((0, 0.3), (2, 0.05)))
    admitted = served(held, blocks=100).requests["admitted_at"]
    assert admitted[1] == admitted[3] == 0.0
    assert 0.05 <= admitted[2] < 0.1
    assert admitted[0] < 0.3, "there is nobody else"
    assert admitted[0] == served(held, blocks=100).requests["finished_at"][[1, 2, 3]].max()


def test_a_plan_comes_from_a_file(tmp_path: Path) -> None:
    agenda = Agenda((2, 0, 3, 1), ((0, 0.25),), (20, 20, 20, 20))
    path = written(tmp_path, agenda)
    assert Agenda.read(path) == agenda
    assert Planned(str(path)).agenda == agenda
    assert repr(agenda) == "<order of 4 requests, 1 of them held back>"
    result = simulate(AT_ONCE, f"planned,plan={path}", MODEL, kv_blocks=6, block_size=4)
    assert not differences(result, served(agenda))


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"agenda": {"order": ["x"], "not_before": []}}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "no plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SchedulerError, match=r"no plan\.json: is no plan .*; name a file that slosim search wrote"):
        simulate(AT_ONCE, Planned(str(path)), MODEL, kv_blocks=6, block_size=4)


@pytest.mark.parametrize("lengths", [(20, 20, 21, 20), (20, 20)])
def test_a_plan_for_another_trace_is_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(SchedulerError, match=r"made for another trace: it does not know Request\(2, "):
        served(Agenda((0, 1), lengths=lengths))


def test_a_policy_may_serve_in_place_of_an_order(tmp_path: Path) -> None:
    trace = little_trace(3)
    settings: dict[str, Any] = {"kv_blocks": blocks_for_largest(trace, 4) + 9, "block_size": 4}
    for policy, told in (("sarathi,chunk_size=40", unknown), ("oracle", perfect)):
        planned = Planned(str(written(tmp_path, Agenda(policy=policy))))
        assert planned.predictor == told
        assert repr(planned.agenda) == f"<as {policy}>"
        one, other = simulate(trace, planned, MODEL, **settings), simulate(trace, policy, MODEL, **settings)
        assert not differences(one, other)
    assert Planned().predictor is perfect
