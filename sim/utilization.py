"""How well the machine was used: time-weighted shares of its operations, its time and its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.shape import BatchShape
from sim.tokens import Floats

if TYPE_CHECKING:
    from sim.result import RunResult

SHAPE = BatchShape._fields
ROWS_AT_ONCE = 1 << 20


def utilization(result: RunResult, edges: Floats) -> dict[str, Floats]:
    """Means over the time between consecutive edges (seconds), over all replicas; one value per interval.

    gpu_busy: share of time in iterations; gpu_utilization: Equation (4)'s operations over what the peak rate would do;
    pivot_utilization: forward size over pivot forward size, an iteration counting at most 1; kvc_used: share of the
    cache that holds tokens, kvc_allocated_empty: share in blocks taken but not filled, kvc_unallocated: the rest. Idle
    time counts as nought. nan where the capacity does not say what is needed.
    """
    available = np.diff(edges) * result.capacity.replicas
    shares = {name: _ratio(amount, available) for name, amount in _amounts(result, edges).items()}
    shares["kvc_unallocated"] = 1.0 - shares["kvc_used"] - shares["kvc_allocated_empty"]
    return shares


def time_mean(result: RunResult, column: str, edges: Floats) -> Floats:
    """Time-weighted mean of a column of `iterations` between edges, summed over replicas; idle is nought."""
    rows = result.iterations
    total = _over_time(rows, rows[column] * (rows["end"] - rows["start"]), edges)
    return _ratio(total, np.diff(edges))


def operations(result: RunResult) -> Floats:
    """Equation (4)'s floating-point operations of every iteration; nan without facts about the model."""
    rows, model = result.iterations, result.capacity.model
    amounts = np.full(len(rows["end"]), np.nan)
    if model is not None:
        columns = [rows[name] for name in SHAPE]
        for first in range(0, len(amounts), ROWS_AT_ONCE):
            some = slice(first, first + ROWS_AT_ONCE)
            shape = BatchShape(*(np.asarray(column[some], np.float64) for column in columns))  # type: ignore[arg-type]
            amounts[some] = model.operations(shape)
    return amounts


def _amounts(result: RunResult, edges: Floats) -> dict[str, Floats]:
    """What each iteration contributes in seconds of a fully used machine, summed between edges."""
    rows, capacity = result.iterations, result.capacity
    seconds = rows["end"] - rows["start"]
    forward_size = rows["prefill_tokens"] + rows["decode_tokens"]
    slots = capacity.kv_blocks * capacity.block_size
    each: dict[str, Callable[[], Floats]] = {  # one after the other: a long run's columns are large
        "gpu_busy": lambda: seconds * (forward_size > 0),
        "gpu_utilization": lambda: operations(result) / capacity.peak_operations,
        "pivot_utilization": lambda: seconds * np.minimum(forward_size / capacity.pivot_forward_size, 1.0),
        "kvc_used": lambda: seconds * (rows["kv_tokens"] / slots),
        "kvc_allocated": lambda: seconds * (1.0 - rows["free_blocks"] / capacity.kv_blocks),
    }
    amounts = {name: _over_time(rows, amount(), edges) for name, amount in each.items()}
    amounts["kvc_allocated_empty"] = amounts.pop("kvc_allocated") - amounts["kvc_used"]
    return amounts


def _ratio(part: Floats, whole: Floats) -> Floats:
    """`part / whole`, nan where there is no whole."""
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0), np.float64)


def _over_time(rows: Mapping[str, NDArray[Any]], amounts: Floats, edges: Floats) -> Floats:
    """Spreads each iteration's amount evenly over its duration and sums between edges, over all servers."""
    servers, start, end = rows["server"], rows["start"], rows["end"]
    total = np.zeros(len(edges) - 1)
    for server in np.unique(servers):
        mine = (
            slice(None) if servers[0] == server == servers[-1] and not np.any(servers != server) else servers == server
        )
        total += np.diff(_reached(start[mine], end[mine], amounts[mine], edges))
    return total


def _reached(start: Floats, end: Floats, amounts: Floats, times: Floats) -> Floats:
    """Sum of the amounts up to each of ``times``; ``end`` ascends, and iterations do not overlap."""
    before = np.concatenate([[0.0], np.cumsum(amounts)])
    done = np.searchsorted(end, times, side="right")
    current = np.minimum(done, len(end) - 1)
    lasting = end[current] - start[current]
    share = np.clip((times - start[current]) / np.where(lasting > 0, lasting, 1.0), 0.0, 1.0)
    return np.asarray(before[done] + np.where(done < len(end), share * amounts[current], 0.0), np.float64)
