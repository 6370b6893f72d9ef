"""From what the servers wrote down to the tables of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.errors import SchedulerError
from sim.iterations import IterationTable
from sim.limits import cautions
from sim.machine import Machine
from sim.recorder import EVENT, NOT_ARRIVED, REQUEST, SPAN
from sim.result import RunResult
from sim.server import Server
from traces import Trace

Table = dict[str, NDArray[Any]]


def result_of(trace: Trace, servers: Sequence[Server], machine: Machine, about: Mapping[str, Any]) -> RunResult:
    """The result of a run."""
    iterations = IterationTable([server.recorder.table(server.number) for server in servers])
    places = iterations.places()
    told = cautions(trace, machine, iterations.parts, about.get("max_model_len"))
    return RunResult(
        requests=request_table(trace, servers),
        iterations=iterations,
        spans=span_table(servers, places),
        events=event_table(servers, places),
        capacity=machine.capacity(len(servers)),
        applications=trace.applications,
        rejections=rejections(servers),
        about={**about, "cautions": list(told)},
        notes=note_table(servers),
    )


def request_table(trace: Trace, servers: Sequence[Server]) -> Table:
    """One row per row of the trace: what was asked, and what became of it."""
    parts = [np.frombuffer(server.recorder.requests).reshape(-1, len(REQUEST)) for server in servers]
    records = np.concatenate(parts)
    order = np.argsort(records[:, 0], kind="stable")
    records = records[order]
    replica = np.repeat([server.number for server in servers], [len(part) for part in parts])[order]
    done = dict(zip(REQUEST, records.T, strict=True))
    number = len(trace)
    codes = trace.application_codes
    table: Table = {
        "request": done["request"].astype(np.int64),
        "arrived_at": np.asarray(trace.arrived_at),
        "prompt_tokens": np.asarray(trace.prompt_tokens),
        "output_tokens": np.asarray(trace.output_tokens),
        "application": np.zeros(number, np.int16) if codes is None else np.asarray(codes),
    }
    for name in ("ttft", "tbt", "jct"):
        column = getattr(trace, name)
        table[f"slo_{name}"] = np.full(number, np.inf) if column is None else np.asarray(column)
    for name in ("admitted_at", "first_token_at", "finished_at"):
        table[name] = done[name].copy()
    for name in ("generated", "preemptions", "swaps", "recomputed_tokens"):
        table[name] = done[name].astype(np.int64)
    table["status"] = done["status"].astype(np.int8)
    table["replica"] = np.where(table["status"] == NOT_ARRIVED, -1, replica).astype(np.int16)
    return table


def span_table(servers: Sequence[Server], places: Sequence[NDArray[np.int64] | None]) -> Table:
    """One row per run of contiguous tokens of a request."""
    parts = []
    for server, place in zip(servers, places, strict=True):
        rows = np.frombuffer(server.recorder.spans, dtype=np.int64).reshape(-1, len(SPAN)).copy()
        local = rows[:, 1]
        if place is not None:
            rows[local >= 0, 1] = place[local[local >= 0]]
        parts.append(np.column_stack([rows, np.full(len(rows), server.number)]))
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return dict(zip((*SPAN, "server"), rows.T.copy(), strict=True))


def event_table(servers: Sequence[Server], places: Sequence[NDArray[np.int64] | None]) -> Table:
    """One row per chunk and per eviction of the iterations that ended, request by request in the order of time."""
    parts = []
    for server, place in zip(servers, places, strict=True):
        rows = np.frombuffer(server.recorder.events, dtype=np.int32).reshape(-1, len(EVENT))
        rows = rows[rows[:, 1] < len(server.recorder.ends)]
        if place is not None:
            rows[:, 1] = place[rows[:, 1]]
        parts.append(rows)
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return dict(zip(EVENT, rows.T.copy(), strict=True))


def note_table(servers: Sequence[Server]) -> Table:
    """What the policies wrote for themselves, server by server; no columns if they wrote nothing."""
    columns: dict[str, list[NDArray[Any]]] = {}
    for server in servers:
        notes = {name: np.asarray(values) for name, values in server.scheduler.notes().items()}
        rows = {name: len(values) for name, values in notes.items()}
        if len(set(rows.values())) > 1:
            raise SchedulerError(f"{server.scheduler!r}: notes() must have columns of one length; they have {rows}")
        if notes:
            notes["server"] = np.full(max(rows.values()), server.number)
        for name, values in notes.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def rejections(servers: Sequence[Server]) -> dict[int, str]:
    """Why each rejected request was rejected."""
    return {request: why for server in servers for request, why in server.recorder.rejections.items()}
