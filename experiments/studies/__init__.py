"""Studies: questions about schedulers, each with the runs that answer it. A module per study holds its ``STUDY``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.catalogue import held

if TYPE_CHECKING:
    from experiments.studies.study import Study

STUDIES = {
    "ablation": "AccelGen with one component less",
    "ordering": "ordering against first in, first out, and exclusive requests: Figures 6 and 7",
    "sensitivity": "every open reading of AccelGen chosen otherwise",
    "completion": "the readings that matter to completion SLOs",
    "distance": "the distance of Algorithm 2, normalised or not",
    "prediction": "how near to Oracle output-length prediction brings AccelGen",
    "chunking": "adaptive chunks for long prompts",
    "preemption": "whom preemption takes",
    "cacheopt": "CacheOPT with one part less, and beside others",
    "own": "this project's own scheduler against AccelGen",
}
"""What there is, and what each asks."""


def study_of(name: str) -> Study:
    """The study of a name; raises SlosimError with a suggestion if there is none."""
    found: Study = held(__name__, "study", name, STUDIES)
    return found
