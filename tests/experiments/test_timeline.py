"""Timelines: what viewers ask of the file, and that it tells the story of the tables."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.timeline import write_timeline
from experiments.trace_events import events
from sim.result import RunResult
from tests.sim.synthetic import made_up
from traces.errors import SlosimError

results = st.builds(
    made_up,
    st.integers(0, 10**6),
    st.integers(0, 9),
    st.integers(1, 40),
    st.integers(1, 2),
    st.booleans(),
    horizon=st.sampled_from((None, 3.0)),
)


def written(path: Path) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(path.read_bytes())))


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [event for event in found if event["ph"] in kinds]


@given(results)
def test_slices_of_a_thread_follow_each_other(result: RunResult) -> None:
    found = list(events(result, -1.0, 99.0))
    rows = result.iterations
    reached: dict[int, float] = defaultdict(float)
    for event in of_kind(found, "X"):
        assert event["ts"] >= reached[event["pid"]]
        assert event["dur"] > 0
        reached[event["pid"]] = event["ts"] + event["dur"]
    marks = of_kind(found, "i")
    assert len(of_kind(found, "X")) + len(marks) == len(rows["end"])
    lasting = sum(event["dur"] for event in of_kind(found, "X"))
    assert lasting == pytest.approx((rows["end"] - rows["start"]).sum() * 1e6), "microseconds"
    computed = sum(
        event["args"]["prefill_tokens"] + event["args"]["decode_tokens"] for event in of_kind(found, "X", "i")
    )
    assert computed == (rows["prefill_tokens"] + rows["decode_tokens"]).sum()


@given(results, st.floats(0, 3), st.floats(0.1, 9))
def test_tracks_of_requests_nest_and_move_forward(result: RunResult, begin: float, length: float) -> None:
    tracks = defaultdict(list)
    for event in of_kind(list(events(result, begin, begin + length)), "b", "e", "n"):
        tracks[event["id"]].append(event)
    for number, track in tracks.items():
        open_names: list[str] = []
        for event in track:
            assert begin * 1e6 - 1 <= event["ts"] <= (begin + length) * 1e6 + 1
            if event["ph"] == "b":
                open_names.append(event["name"])
            elif event["ph"] == "e":
                assert open_names.pop() == event["name"]
            assert len(open_names) <= 2
        assert not open_names
        assert track[0]["name"] == track[-1]["name"] == f"request {number}"
        phases = [event["ts"] for event in track if event["ph"] in "be"][1:-1]
        assert phases == sorted(phases)


@given(results)
def test_phases_are_those_of_the_tables(result: RunResult) -> None:
    found = list(events(result, -1.0, 99.0))
    rows = result.requests
    named = {(event["id"], event["name"]): event["ts"] for event in of_kind(found, "n")}
    for number in np.flatnonzero(result.arrived).tolist():
        first = rows["first_token_at"][number]
        assert (str(number), "first token") in named or np.isnan(first)
        assert named.get((str(number), "first token"), 0.0) == pytest.approx(np.nan_to_num(first) * 1e6)
        assert ((str(number), "rejected") in named) == (rows["status"][number] == 1)
        if rows["status"][number] == 1:
            left = max([rows["arrived_at"][number], *result.token_times(number)])
            assert named[str(number), "rejected"] == pytest.approx(left * 1e6), "as far as is known"
    decoding: dict[str, float] = defaultdict(float)
    for event in of_kind(found, "b", "e"):
        if event["name"] == "decode":
            decoding[event["id"]] += event["ts"] if event["ph"] == "e" else -event["ts"]
    spans = result.tokens
    for number in range(len(result)):
        mine = spans.request == number
        seconds = float((spans.stops - spans.starts)[mine].sum())
        assert decoding[str(number)] == pytest.approx(seconds * 1e6, abs=1e-2)


def test_counters_tell_the_state_of_the_replica_at_every_moment() -> None:
    result = made_up(7, iterations=30)
    rows = result.iterations
    counters = of_kind(list(events(result, -1.0, 99.0)), "C")
    assert [event["ts"] for event in counters] == sorted(event["ts"] for event in counters)

    def at(name: str, seconds: float) -> Any:
        return [event["args"] for event in counters if event["name"] == name and event["ts"] <= seconds * 1e6][-1]

    for row in np.flatnonzero(rows["end"] > rows["start"]):
        free = int(rows["free_blocks"][row])
        assert at("KV blocks", rows["start"][row]) == {"used": 50 - free, "free": free}
        assert at("requests", rows["start"][row])["waiting"] == rows["waiting"][row]
    last = int(rows["free_blocks_end"][-1])
    assert at("KV blocks", 1e6) == {"used": 50 - last, "free": last}
    assert at("tokens per iteration", 1e6) == {"prefill": 0, "decode": 0}, "idle"


def test_a_token_budget_is_a_counter_where_it_was_recorded() -> None:
    made = made_up(7)
    rows = dict(made.iterations) | {"token_budget": np.full(len(made.iterations["end"]), 512)}
    result = RunResult(made.requests, rows, made.spans, made.capacity)
    budgets = [event for event in of_kind(list(events(result, 0.0, 99.0)), "C") if event["name"] == "token budget"]
    assert budgets[0]["args"] == {"tokens": 512}


def test_the_file_opens_as_it_is_and_does_not_depend_on_the_day(tmp_path: Path) -> None:
    result = made_up(2, servers=2)
    made = write_timeline(result, tmp_path / "a.json.gz")
    write_timeline(result, tmp_path / "b.json.gz")
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    content = written(made.path)
    assert len(content["traceEvents"]) == made.events
    assert not made.cut
    assert content["otherData"]["scheduler"] == "MadeUp()"
    assert content["traceEvents"][0]["args"] == {"name": "replica 0"}
    assert all(isinstance(event["args"], dict) for event in content["traceEvents"] if "args" in event)
    known = [event for event in content["traceEvents"] if "gen_ai.latency.e2e" in event.get("args", {})]
    assert len(known) == (result.requests["status"] == 0).sum()


def test_a_window_shows_only_itself(tmp_path: Path) -> None:
    result = made_up(2)
    made = write_timeline(result, tmp_path / "t.json.gz", (1.0, 2.0))
    shown = written(made.path)["traceEvents"]
    slices = of_kind(shown, "X")
    assert 0 < len(slices) < len(result.iterations["end"])
    assert all(event["ts"] < 2e6 and event["ts"] + event["dur"] > 1e6 for event in slices)


def test_too_many_events_are_cut_at_the_end_and_said(tmp_path: Path) -> None:
    result = made_up(2, requests=30, iterations=200)
    whole = write_timeline(result, tmp_path / "whole.json.gz")
    part = write_timeline(result, tmp_path / "part.json.gz", max_events=300)
    assert part.cut
    assert part.events <= 320 < whole.events
    assert part.begin == whole.begin < part.end < whole.end
    assert max(event["ts"] for event in written(part.path)["traceEvents"] if "ts" in event) <= part.end * 1e6 + 1
    with pytest.raises(SlosimError, match=r"not even the start at .+ s fits into 1 events"):
        write_timeline(result, tmp_path / "none.json.gz", max_events=1)


def test_an_empty_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="timeline window 2:1: it must begin before it ends"):
        write_timeline(made_up(2), tmp_path / "t.json.gz", (2.0, 1.0))
