"""Metrics of figures that follow from those of a run."""

from __future__ import annotations

from experiments.grid import Summary
from experiments.selections import SELECTION

SCHEDULE_TIME = "schedule_milliseconds"
"""Wall time that the policy took to decide, an iteration."""
SCHEDULE_SHARE = "schedule_per_cent"
"""The same, in per cent of the iterations' time."""


def derived(summary: Summary) -> Summary:
    """The metrics of a run and what follows from them; those of the audit are nan where there was none.

    >>> found = derived({"mean_schedule_seconds": 0.25, "mean_iteration_time": 0.5})
    >>> found["schedule_milliseconds"], found["schedule_per_cent"]
    (250.0, 50.0)
    """
    audit = {name: summary.get(name, float("nan")) for name in SELECTION}
    seconds, each = summary["mean_schedule_seconds"], summary["mean_iteration_time"]
    return {**summary, **audit, SCHEDULE_TIME: 1e3 * seconds, SCHEDULE_SHARE: 1e2 * seconds / each}
