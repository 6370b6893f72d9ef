"""The bounds of one workload as a table."""

from __future__ import annotations

from math import isnan
from typing import NamedTuple

import numpy as np
from rich.table import Table

from experiments.bound.bounds import Goodput, at_most, of_any, of_serving, shortest
from experiments.bound.demand import demand
from experiments.inputs import Inputs
from sim.machine import Machine


class Bounded(NamedTuple):
    """What no scheduler exceeds on one trace."""

    serving: Goodput
    """Of those that serve all requests that the cache can hold; tokens/s and requests/s."""
    refusing: Goodput
    """Of those that last until the last of these requests comes, whomever they refuse."""
    stopping: Goodput
    """Of all, those included that stop when it pays."""
    most: Goodput
    """Good tokens and good requests in all, however long it takes."""
    shortest: float
    """Seconds from the first arrival within which nobody serves all of them."""
    requests: int
    fitting: int
    """Requests that the cache can hold."""


def bounded(inputs: Inputs, replicas: int = 1) -> Bounded:
    """Bounds on the scenario's trace; raises SlosimError for a cost model without known floors."""
    trace, found, kv_blocks, block_size, _ = inputs
    needs = demand(trace, Machine.of(found, kv_blocks, block_size))
    everybody = np.ones(len(needs), bool)
    return Bounded(
        of_serving(needs, everybody, everybody, replicas),
        of_any(needs, float(needs.arrived.max(initial=0.0)), replicas=replicas),
        of_any(needs, 0.0, replicas=replicas),
        at_most(needs, replicas),
        shortest(needs, everybody, replicas),
        len(trace),
        len(needs),
    )


def table(found: Bounded) -> Table:
    """For rich."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1))
    for title in ("no scheduler exceeds", "good tokens/s", "good requests/s"):
        shown.add_column(title, justify="left" if title.startswith("no") else "right", no_wrap=True)
    rows = {
        f"if it serves the {found.fitting:,} requests that fit the cache": found.serving,
        "if it may refuse some, but lasts until the last one comes": found.refusing,
        "if it may refuse some, and stop when it pays": found.stopping,
    }
    for what, goodput in rows.items():
        shown.add_row(what, *(_said(each, f"{each:.4g}") for each in goodput))
    tokens, requests = found.most
    share = 100 * requests / found.requests
    shown.add_row(
        "in all, per trace", _said(tokens, f"{tokens:,.0f}"), _said(requests, f"{requests:,.0f} ({share:.1f} %)")
    )
    return shown


def _said(value: float, text: str) -> str:
    """The text; a dash where no request has an SLO."""
    return "-" if isnan(value) else text
