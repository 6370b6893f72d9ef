"""How well the machine was used: time-weighted shares of its operations, its time and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.shape import BatchShape
from sim.tokens import Floats

if TYPE_CHECKING:
    from sim.result import Capacity, RunResult

SHAPE = BatchShape._fields


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
    if model is None:
        return np.full(len(rows["end"]), np.nan)
    shape = BatchShape(*(np.asarray(rows[name], np.float64) for name in SHAPE))  # type: ignore[arg-type]
    return np.asarray(model.operations(shape), np.float64)


def _amounts(result: RunResult, edges: Floats) -> dict[str, Floats]:
    """What each iteration contributes in seconds of a fully used machine, summed between edges."""
    rows, capacity = result.iterations, result.capacity
    seconds = rows["end"] - rows["start"]
    forward_size = rows["prefill_tokens"] + rows["decode_tokens"]
    used, allocated = _cache_shares(rows, capacity)
    each = {
        "gpu_busy": seconds * (forward_size > 0),
        "gpu_utilization": operations(result) / capacity.peak_operations,
        "pivot_utilization": seconds * np.minimum(forward_size / capacity.pivot_forward_size, 1.0),
        "kvc_used": seconds * used,
        "kvc_allocated_empty": seconds * (allocated - used),
    }
    return {name: _over_time(rows, amount, edges) for name, amount in each.items()}


def _cache_shares(rows: Mapping[str, NDArray[Any]], capacity: Capacity) -> tuple[Floats, Floats]:
    """Shares of a replica's cache that hold tokens, and that are allocated, during each iteration."""
    used = rows["kv_tokens"] / (capacity.kv_blocks * capacity.block_size)
    return used, 1.0 - rows["free_blocks"] / capacity.kv_blocks


def _ratio(part: Floats, whole: Floats) -> Floats:
    """`part / whole`, nan where there is no whole."""
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0), np.float64)


def _over_time(rows: Mapping[str, NDArray[Any]], amounts: Floats, edges: Floats) -> Floats:
    """Spreads each iteration's amount evenly over its duration and sums between edges, over all servers."""
    total = np.zeros(len(edges) - 1)
    for server in np.unique(rows["server"]):
        mine = rows["server"] == server
        start, end, amount = rows["start"][mine], rows["end"][mine], np.cumsum(amounts[mine])
        knots = np.stack([start, end], axis=1).ravel()
        reached = np.stack([np.concatenate([[0.0], amount[:-1]]), amount], axis=1).ravel()
        total += np.diff(np.interp(edges, knots, reached))
    return total
