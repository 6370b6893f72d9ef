"""Metrics of figures that follow from those of a run."""

from __future__ import annotations

from experiments.grid import Summary
from experiments.selections import SELECTION

SCHEDULE_SHARE = "schedule_share_of_time"
"""Wall time that the policy took to decide, per second of the iterations that it decided on."""


def derived(summary: Summary) -> Summary:
    """The metrics of a run and what follows from them; those of the audit are nan where there was none.

    >>> derived({"mean_schedule_seconds": 1e-4, "mean_iteration_time": 0.05})["schedule_share_of_time"]
    0.002
    """
    share = summary["mean_schedule_seconds"] / summary["mean_iteration_time"]
    return {**summary, **{name: summary.get(name, float("nan")) for name in SELECTION}, SCHEDULE_SHARE: share}
