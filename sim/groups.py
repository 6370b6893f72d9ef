"""The metrics of requests by group: by application, by replica, and by SLO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.metrics import of_requests, rates
from sim.recorder import FINISHED, REJECTED
from sim.tokens import Booleans, Floats
from traces.types import SLO

if TYPE_CHECKING:
    from sim.result import RunResult

FEW = 12
"""Up to so many different SLOs are told apart by their values; more of them by their kinds."""
ANY = -1.0
"""Stands for any value of an SLO."""


def by_application(result: RunResult) -> dict[str, dict[str, float]]:
    """Metrics of the measured requests of each application, and its rates; in order of their names in the result."""
    codes = result.requests["application"]
    labels = {name: codes == code for code, name in enumerate(result.applications)}
    return _grouped(result, labels or {"all": np.ones(len(result), np.bool_)})


def by_replica(result: RunResult) -> dict[str, dict[str, float]]:
    """Metrics of the measured requests of each replica and its rates, by its number, with three more figures.

    `share` is its part of the requests that arrived, `gpu_busy` the share of time in iterations, `kvc_used` the share
    of its cache that holds tokens.
    """
    replica = result.requests["replica"]
    numbers = range(result.capacity.replicas)
    table = _grouped(result, {str(number): np.asarray(replica == number) for number in numbers})
    arrived = np.bincount(replica[result.arrived], minlength=len(numbers))
    uses = _uses(result)
    for number in numbers:
        share = int(arrived[number]) / max(int(arrived.sum()), 1)
        table[str(number)] |= {"share": share, **{name: float(each[number]) for name, each in uses.items()}}
    return table


def _uses(result: RunResult) -> dict[str, Floats]:
    """Shares of each server's time and of its cache, over the measured time; nan if that is 0 s."""
    rows, servers = result.iterations, result.capacity.replicas
    begin, end = (np.clip(rows[name], result.begin, result.end) for name in ("start", "end"))
    computing = (rows["prefill_tokens"] + rows["decode_tokens"]) > 0
    cache = result.capacity.kv_blocks * result.capacity.block_size
    span = result.end - result.begin
    amounts = {"gpu_busy": computing, "kvc_used": rows["kv_tokens"] / cache}
    return {
        name: np.bincount(rows["server"], (end - begin) * each, servers) / (span if span > 0 else np.nan)
        for name, each in amounts.items()
    }


def by_slo_class(result: RunResult) -> dict[str, dict[str, float]]:
    """The same for requests of the same SLO or, if these are too many to list, for the same kind of SLO."""
    slos = np.stack([np.asarray(result.requests[f"slo_{name}"], np.float64) for name in SLO._fields], axis=1)
    values, which = np.unique(slos, axis=0, return_inverse=True)
    if len(values) > FEW:
        values, which = np.unique(np.where(np.isfinite(slos), ANY, np.inf), axis=0, return_inverse=True)
    return _grouped(result, {_slo_name(value): which.ravel() == row for row, value in enumerate(values)})


def _grouped(result: RunResult, masks: dict[str, Booleans]) -> dict[str, dict[str, float]]:
    status = result.requests["status"]
    table = {}
    for name, mask in masks.items():
        chosen = mask & result.measured
        counts = {
            "finished": int((status[chosen] == FINISHED).sum()),
            "rejections": int((status[chosen] == REJECTED).sum()),
        }
        table[name] = {**of_requests(result, chosen), **counts, **rates(result, mask & result.arrived)}
    return table


def _slo_name(value: Floats) -> str:
    """`ttft 1 s, tbt 0.2 s`; without numbers where the value is `ANY`, `none` where there is no SLO."""
    limits = zip(SLO._fields, value, strict=True)
    parts = [name if limit == ANY else f"{name} {limit:g} s" for name, limit in limits if np.isfinite(limit)]
    return ", ".join(parts) or "none"
