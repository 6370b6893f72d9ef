"""Results made up at random: the raw tables of a run that no engine made, with everything that a table may hold."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from costmodel.facts import MODELS
from sim.result import Capacity, RunResult

FINISHED, REJECTED, UNFINISHED, NOT_ARRIVED = range(4)
NAN, INF = float("nan"), float("inf")
CAPACITY = Capacity(50, 16, 1, MODELS["opt-13b"], 312e12, 16.0)

COUNTS = ("prefill_tokens", "decode_tokens", "context_tokens", "sequences", "swapped_tokens", "kv_tokens", "waiting")
SPAN = ("request", "prefill_iteration", "first_step", "last_step", "server")
MORE = ("free_blocks", "free_blocks_end", "running", "swapped", "preempted")


def made_up(
    seed: int, requests: int = 12, iterations: int = 40, servers: int = 1, given_up: bool = False, **about: Any
) -> RunResult:
    """A result of so many requests on servers of so many iterations each; times are multiples of 1/8 s.

    Coarse times make ties: gaps equal to limits, tokens on the edges of windows. A horizon in `about` cuts it.
    `given_up`: rejected requests may have got some of their tokens.
    """
    random = Random(seed)
    horizon = about.get("horizon") or INF
    rows = _iterations(random, iterations, servers, horizon)
    arrivals = sorted(random.randrange(40) / 8 for _ in range(requests))
    lives = [_request(random, arrived, rows, servers, horizon, given_up) for arrived in arrivals]
    columns = {name: np.array([row[name] for row, _ in lives]) for name in lives[0][0]} if lives else _no_requests()
    columns["request"] = np.arange(requests)
    spans = [dict(span, request=number) for number, (_, mine) in enumerate(lives) for span in mine]
    spans.sort(key=lambda span: span["first_step"])  # only a request's own spans are in order
    return RunResult(
        columns,
        rows,
        {name: np.array([span[name] for span in spans], np.int64) for name in SPAN},
        CAPACITY._replace(replicas=servers),
        ("chat", "code"),
        dict.fromkeys(np.flatnonzero(columns["status"] == REJECTED).tolist(), "made up"),
        {"scheduler": "MadeUp()", "seed": seed, **about},
    )


def _no_requests() -> dict[str, Any]:
    floats = ("arrived_at", "slo_ttft", "slo_tbt", "slo_jct", "admitted_at", "first_token_at", "finished_at")
    whole = ("prompt_tokens", "output_tokens", "application", "generated", "preemptions", "swaps", "recomputed_tokens")
    return {name: np.zeros(0) for name in floats} | {name: np.zeros(0, np.int64) for name in (*whole, "status")}


def _iterations(random: Random, number: int, servers: int, horizon: float) -> dict[str, np.ndarray]:
    rows = []
    for server in range(servers):
        now = 0.0
        for _ in range(number):
            start = now + random.choice((0, 0, 0, 3)) / 8
            now = start + random.choice((0, 1, 1, 2, 5)) / 8
            row = {name: random.randrange(20) for name in COUNTS} | {name: random.randrange(10) for name in MORE}
            row |= {"start": start, "end": now, "attention_pairs": random.random() * 100, "server": server}
            row["decode_tokens"] = random.choice((0, 1, 7))
            row["sequences"] += row["decode_tokens"]
            rows.append(row | {"schedule_seconds": random.random() * 1e-3})
    done = sorted((row for row in rows if row["end"] <= horizon), key=lambda row: (row["end"], row["server"]))
    names = (*COUNTS, *MORE, "start", "end", "attention_pairs", "server", "schedule_seconds")
    return {name: np.array([row[name] for row in done]) for name in names}


def _request(random: Random, arrived: float, rows: dict[str, Any], servers: int, horizon: float, given_up: bool) -> Any:
    status = NOT_ARRIVED if arrived > horizon else random.choice((FINISHED, FINISHED, FINISHED, REJECTED))
    server = random.randrange(servers)
    spans = _spans(random, rows, server, arrived) if status == FINISHED or (given_up and status == REJECTED) else []
    times = [at for span in spans for at in span_times(span, rows)]
    asked = len(times) + (random.randrange(1, 9) if spans and status == REJECTED else 0)
    if status == FINISHED and (not times or (horizon < INF and random.random() < 0.6)):
        status, asked = (UNFINISHED, asked + random.randrange(1, 30)) if horizon < INF else (REJECTED, 5)
    return {
        "arrived_at": arrived,
        "prompt_tokens": random.randrange(1, 900),
        "output_tokens": asked or random.randrange(1, 9),
        "application": random.randrange(2),
        "slo_ttft": random.choice((INF, 0.5, 1.0, 2.0)),
        "slo_tbt": random.choice((INF, 0.125, 0.25, 0.3, 0.5)),
        "slo_jct": random.choice((INF, INF, 2.0, 4.0)),
        "admitted_at": max(arrived, times[0] - 0.125) if times else NAN,
        "first_token_at": times[0] if times else NAN,
        "finished_at": times[-1] if status == FINISHED else NAN,
        "generated": len(times),
        "preemptions": random.randrange(3),
        "swaps": random.randrange(2),
        "recomputed_tokens": random.randrange(50),
        "status": status,
    }, spans


def _spans(random: Random, rows: dict[str, Any], server: int, arrived: float) -> list[dict[str, int]]:
    """Residences one after the other: each begins with a prefill, or resumes with a decode, and skips some steps."""
    mine = [int(row) for row in np.flatnonzero(rows["server"] == server) if rows["start"][row] >= arrived]
    steps = [int(row) for row in np.flatnonzero((rows["server"] == server) & (rows["decode_tokens"] > 0))]
    spans: list[dict[str, int]] = []
    while mine and len(spans) < 3 and random.random() < 0.8:
        row = mine[min(random.randrange(6), len(mine) - 1)]
        prefill = row if not spans or random.random() < 0.5 else -1
        first = sum(step <= row for step in steps)
        last = min(first + random.choice((0, 1, 2, 9, 20)), len(steps))
        spans.append(
            {"prefill_iteration": prefill, "first_step": first, "last_step": last, "server": server, "request": -1}
        )
        done = max([row, *steps[first:last]])
        mine = [later for later in mine if later > done]
    return spans


def span_times(span: dict[str, int], rows: dict[str, Any]) -> list[float]:
    """When the tokens of one span came, by its definition."""
    decodes = [float(rows["end"][row]) for row in range(len(rows["end"])) if _decodes(rows, row, span["server"])]
    prefill = [float(rows["end"][span["prefill_iteration"]])] if span["prefill_iteration"] >= 0 else []
    return prefill + [decodes[step] for step in range(span["first_step"], span["last_step"])]


def _decodes(rows: dict[str, Any], row: int, server: int) -> bool:
    return bool(rows["server"][row] == server and rows["decode_tokens"][row] > 0)
