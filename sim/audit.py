"""An audit of a result: which invariants of a simulation its tables break, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.recorder import FINISHED, NOT_ARRIVED, REJECTED, UNFINISHED
from sim.result import RunResult

Rows = NDArray[np.bool_]


def audit(result: RunResult) -> list[str]:
    """What is wrong with a result, a sentence each; nothing if all invariants hold."""
    return [complaint for check in CHECKS for complaint in check(result)]


def _first(wrong: NDArray[Any], what: str) -> Iterator[str]:
    """Names the first wrong row."""
    if np.any(wrong):
        yield f"{what} (first in row {int(np.flatnonzero(wrong)[0])}, {int(np.sum(wrong))} in all)"


def everyone_accounted(result: RunResult) -> Iterator[str]:
    """Every row of the trace is in the result once: finished, rejected for a reason, or cut off by the horizon."""
    requests = result.requests
    yield from _first(requests["request"] != np.arange(len(result)), "a request is missing or reported twice")
    cut_off = np.isin(requests["status"], (UNFINISHED, NOT_ARRIVED))
    if result.about.get("horizon") is None:
        yield from _first(cut_off, "a request neither finished nor was rejected")
    rejected = set(np.flatnonzero(requests["status"] == REJECTED).tolist())
    if rejected != set(result.rejections) or not all(result.rejections.values()):
        yield "rejected requests and reasons for rejection do not go together"


def time_flows(result: RunResult) -> Iterator[str]:
    """No server's clock goes back: an iteration begins when the one before has ended, or later."""
    for rows in _servers(result):
        start, end = result.iterations["start"][rows], result.iterations["end"][rows]
        yield from _first(end < start, "an iteration ends before it begins")
        yield from _first(start[1:] < end[:-1], "an iteration begins before the one before it ends")


def lives_in_order(result: RunResult) -> Iterator[str]:
    """Arrival <= start <= first token <= finish, and whoever finished has all of these."""
    requests = result.requests
    steps = ("arrived_at", "admitted_at", "first_token_at", "finished_at")
    for before, after in pairwise(steps):
        yield from _first(requests[after] < requests[before], f"{after} lies before {before}")
    finished = requests["status"] == FINISHED
    yield from _first(finished != ~np.isnan(requests["finished_at"]), "status and finished_at do not agree")
    short = finished & (requests["generated"] != requests["output_tokens"])
    yield from _first(short, "a request finished without the output that was asked")


def tokens_come_in_order(result: RunResult) -> Iterator[str]:
    """As many token times as tokens, never decreasing, from the first token's time to the finish."""
    requests = result.requests
    for request in range(len(result)):
        times = result.token_times(request)
        if len(times) != requests["generated"][request]:
            yield f"request {request} has {len(times)} token times for {requests['generated'][request]} tokens"
        elif len(times) and (times[0] != requests["first_token_at"][request] or np.any(np.diff(times) < 0)):
            yield f"the token times of request {request} are not in order"
        elif len(times) and not np.isnan(done := requests["finished_at"][request]) and times[-1] != done:
            yield f"the last token of request {request} does not come when it finishes"


def memory_is_conserved(result: RunResult) -> Iterator[str]:
    """Free blocks lie between none and all, tokens fit the blocks taken, and all come back in the end."""
    rows, (total, size, *_) = result.iterations, result.capacity
    for name in ("free_blocks", "free_blocks_end"):
        yield from _first((rows[name] < 0) | (rows[name] > total), f"{name} lies outside of 0 to {total}")
    yield from _first(rows["kv_tokens"] > (total - rows["free_blocks"]) * size, "more tokens than the blocks can hold")
    yield from _first(rows["kv_tokens"] < 0, "a negative number of tokens is held")
    if not np.any(result.requests["status"] == UNFINISHED):
        left = [int(rows["free_blocks_end"][mine][-1]) for mine in _servers(result) if np.any(mine)]
        yield from _first(np.array(left) != total, "blocks were not given back in the end")


def work_adds_up(result: RunResult) -> Iterator[str]:
    """Tokens computed = prompt + output + recomputed; the last output token's cache is never computed."""
    requests, rows = result.requests, result.iterations
    if np.any(requests["status"] == UNFINISHED):
        return
    finished = requests["status"] == FINISHED
    lengths = requests["prompt_tokens"].astype(np.int64) + requests["generated"] - 1
    due = int(lengths[finished].sum() + requests["recomputed_tokens"].sum())
    computed = int(rows["prefill_tokens"].sum() + rows["decode_tokens"].sum())
    if computed != due:
        yield f"{computed} tokens were computed, but prompts, outputs and recomputed tokens come to {due}"


def _servers(result: RunResult) -> Iterator[Rows]:
    """The rows of each server's iterations."""
    server = result.iterations["server"]
    for number in range(int(server.max(initial=-1)) + 1):
        yield np.asarray(server == number)


CHECKS: tuple[Callable[[RunResult], Iterator[str]], ...] = (
    everyone_accounted,
    time_flows,
    lives_in_order,
    tokens_come_in_order,
    memory_is_conserved,
    work_adds_up,
)
