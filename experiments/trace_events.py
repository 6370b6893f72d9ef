"""What happened in a run as Chrome trace events, the form that Perfetto, SGLang's and PyTorch's profilers share.

Each replica is a process. Its first thread shows the engine's iterations as slices; counters show KV blocks, requests
and tokens per iteration; every request is a track of its own, with its phases (queued, prefill, decode, preempted)
inside and a mark at its first token. Times are in microseconds, exact to the nanosecond, so that neighbours never
overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.recorder import FINISHED, NOT_ARRIVED, REJECTED
from sim.result import Columns, RunResult
from sim.tokens import Booleans

Event = dict[str, Any]


def events(result: RunResult, begin: float, end: float) -> Iterator[Event]:
    """The trace events of what happened between two moments (seconds)."""
    for server in range(result.capacity.replicas):
        yield {"ph": "M", "pid": server, "name": "process_name", "args": {"name": f"replica {server}"}}
        yield {"ph": "M", "pid": server, "tid": 0, "name": "thread_name", "args": {"name": "iterations"}}
    yield from _iterations(result, begin, end)
    home = _homes(result)
    for number in np.flatnonzero(alive(result, begin, end)).tolist():
        yield from _request(result, number, home[number], begin, end)


def _iterations(result: RunResult, begin: float, end: float) -> Iterator[Event]:
    rows = result.iterations
    shown = np.flatnonzero((rows["end"] > begin) & (rows["start"] < end))
    columns = {name: column[shown].tolist() for name, column in rows.items()}
    columns["idle_after"] = _idle_after(rows)[shown].tolist()
    seen: dict[tuple[int, str], Event] = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        yield _slice(row)
        yield from _changes(row, row["start"], _counters(row, result.capacity.kv_blocks), seen)
        if row["idle_after"]:
            idle = dict.fromkeys(row, 0) | {"free_blocks": row["free_blocks_end"]}
            yield from _changes(row, row["end"], _counters(idle, result.capacity.kv_blocks), seen)


def _changes(
    row: Event, at: float, counters: Iterator[tuple[str, Event]], seen: dict[tuple[int, str], Event]
) -> Iterator[Event]:
    """Those counters of a replica that are not what they were."""
    for name, counts in counters:
        if seen.get((row["server"], name)) != counts:
            seen[row["server"], name] = counts
            yield {"ph": "C", "pid": row["server"], "ts": _microseconds(at), "name": name, "args": counts}


def _idle_after(rows: Columns) -> Booleans:
    """After which iterations the replica stood still."""
    idle = np.ones(len(rows["end"]), np.bool_)
    for server in np.unique(rows["server"]):
        mine = np.flatnonzero(rows["server"] == server)
        idle[mine[:-1]] = rows["start"][mine[1:]] > rows["end"][mine[:-1]]
    return idle


def _slice(row: dict[str, Any]) -> Event:
    """An iteration; one that only moves requests takes no time and becomes a mark."""
    kind = ("move", "prefill", "decode", "mixed")[(row["prefill_tokens"] > 0) + 2 * (row["decode_tokens"] > 0)]
    start, stop = _microseconds(row["start"]), _microseconds(row["end"])
    where = {"pid": row["server"], "tid": 0, "ts": start, "name": kind, "cat": "iteration"}
    shape = ("prefill_tokens", "decode_tokens", "context_tokens", "sequences", "swapped_tokens", "preempted")
    args = {name: row[name] for name in shape if name in row}
    if stop == start:
        return {"ph": "i", "s": "t", **where, "args": args}
    return {"ph": "X", "dur": round(stop - start, 3), **where, "args": args}


def _counters(row: dict[str, Any], kv_blocks: int) -> Iterator[tuple[str, Event]]:
    yield "KV blocks", {"used": kv_blocks - row["free_blocks"], "free": row["free_blocks"]}
    yield "requests", {name: row[name] for name in ("running", "waiting", "swapped") if name in row}
    tokens = {"prefill": row["prefill_tokens"], "decode": row["decode_tokens"]}
    yield "tokens per iteration", tokens
    if "token_budget" in row:
        yield "token budget", {"tokens": row["token_budget"]}


def _request(result: RunResult, number: int, home: int, begin: float, end: float) -> Iterator[Event]:
    """A request's track: nested pairs of begin and end, clipped to the part that is shown."""
    rows = result.requests
    where = {"cat": "request", "id": str(number), "pid": home, "tid": 0}
    life = (float(rows["arrived_at"][number]), _ended(result, number))
    title = f"request {number}"
    yield {"ph": "b", **where, "ts": _clipped(life[0], begin, end), "name": title, "args": _facts(result, number)}
    for name, start, stop in _phases(result, number, *life):
        if start < end and stop > begin:
            yield {"ph": "b", **where, "ts": _clipped(start, begin, end), "name": name}
            yield {"ph": "e", **where, "ts": _clipped(stop, begin, end), "name": name}
    first = float(rows["first_token_at"][number])
    if begin <= first <= end:
        yield {"ph": "n", **where, "ts": _microseconds(first), "name": "first token"}
    if rows["status"][number] == REJECTED:
        reason = result.rejections.get(number, "")
        yield {"ph": "n", **where, "ts": _clipped(life[1], begin, end), "name": "rejected", "args": {"reason": reason}}
    yield {"ph": "e", **where, "ts": _clipped(life[1], begin, end), "name": title}


def _phases(result: RunResult, number: int, arrived: float, ended: float) -> Iterator[tuple[str, float, float]]:
    """What a request did when (name, from, to), in order and without overlap; seconds."""
    tokens = result.tokens
    admitted = float(result.requests["admitted_at"][number])
    if not admitted < ended:
        yield "queued", arrived, ended
        return
    yield "queued", arrived, admitted
    now, doing = admitted, "prefill"
    for row in range(*np.searchsorted(tokens.request, (number, number + 1))):
        start, stop = float(tokens.starts[row]), float(tokens.stops[row])
        resumed = np.isnan(tokens.prefill_at[row])
        yield "paused" if resumed and doing != "prefill" else doing, now, start
        yield "decode", start, stop
        now, doing = stop, "preempted"
    if result.requests["status"][number] != FINISHED:
        yield doing, now, ended


def _facts(result: RunResult, number: int) -> Event:
    """A request's figures; latencies (seconds) under the names that OpenTelemetry has for them."""
    rows = result.requests
    facts: Event = {name: int(rows[name][number]) for name in ("prompt_tokens", "output_tokens", "preemptions")}
    if result.applications:
        facts["application"] = result.applications[rows["application"][number]]
    arrived = float(rows["arrived_at"][number])
    for name, column in (
        ("time_in_queue", "admitted_at"),
        ("time_to_first_token", "first_token_at"),
        ("e2e", "finished_at"),
    ):
        if not np.isnan(rows[column][number]):
            facts[f"gen_ai.latency.{name}"] = float(rows[column][number]) - arrived
    return facts


def _ended(result: RunResult, number: int) -> float:
    """When a request left: finished; rejected, as far as is known with its last token, or else on arrival; or not
    before the end."""
    rows = result.requests
    if rows["status"][number] == REJECTED:
        times = result.token_times(number)
        return float(times[-1] if len(times) else rows["arrived_at"][number])
    finished = float(rows["finished_at"][number])
    return result.end if np.isnan(finished) else finished


def alive(result: RunResult, begin: float, end: float) -> Booleans:
    """Which requests were there at some time between two moments (seconds)."""
    rows = result.requests
    left = np.where(np.isnan(rows["finished_at"]), result.end, rows["finished_at"])
    last = result.tokens.last_at(len(result))
    left = np.where(rows["status"] == REJECTED, np.where(np.isnan(last), rows["arrived_at"], last), left)
    return np.asarray((rows["status"] != NOT_ARRIVED) & (rows["arrived_at"] <= end) & (left >= begin))


def _homes(result: RunResult) -> list[int]:
    """The replica on which each request got its first token; the first replica for those without."""
    home = np.zeros(len(result), np.int64)
    home[result.spans["request"][::-1]] = result.spans["server"][::-1]
    return [int(server) for server in home]


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e9) / 1000


def _clipped(seconds: float, begin: float, end: float) -> float:
    return _microseconds(min(max(seconds, begin), end))
