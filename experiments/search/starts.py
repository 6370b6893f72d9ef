"""Where a search starts: the execution orders of policies, orders by length, and putting the largest off."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.search.moves import MOMENT, Workload
from experiments.search.problem import Story
from sim.schedulers.planned import Agenda

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of all requests, the largest, that are put off until the last one has arrived."""


def execution_order(story: Story, workload: Workload) -> Agenda:
    """In which order a run first admitted the requests; who never was comes last."""
    return _sorted(np.nan_to_num(story.admitted_at, nan=np.inf), workload)


def by_length(workload: Workload) -> Iterator[tuple[str, Agenda]]:
    """Orders by arrival and by the cache that requests fill; and these with the largest put off."""
    yield "in order of arrival", _sorted(workload.arrived_at, workload)
    yield "largest first", _sorted(-workload.volume, workload)
    smallest_first = _sorted(workload.volume, workload)
    yield "smallest first", smallest_first
    number, last = len(smallest_first.order), float(workload.arrived_at.max(initial=0.0)) + MOMENT
    for share in SHARES:
        late = smallest_first.order[number - int(share * number) :]
        held = tuple((row, last) for row in sorted(late))
        yield f"the largest {share:.0%} put off, smallest first", smallest_first._replace(not_before=held)


def _sorted(key: np.ndarray, workload: Workload) -> Agenda:
    return Agenda(tuple(np.argsort(key, kind="stable").tolist()), lengths=workload.lengths)
