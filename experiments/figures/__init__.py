"""Figures and tables of the papers, made anew: each states its runs and claims. A module per figure holds `FIGURE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.catalogue import held

if TYPE_CHECKING:
    from experiments.figures.figure import Figure

FIGURES = {
    "mixed": "the main comparison on the mixed trace, from idle to 8 requests/s: Figure 11",
    "traces": "Alpaca, ShareGPT and BookCorpus alone",
    "era": "exclusive requests: Figure 6",
    "ordering": "ordering against first in, first out: Figure 7",
    "ablation": "AccelGen with one component less",
    "long_prompts": "sensitivity to the share of long prompts: Figure 12",
    "cache": "sensitivity to the size of the cache: Figure 12",
    "gamma": "sensitivity to gamma: Figure 12",
    "overhead": "what scheduling takes: Figure 12f",
    "bands": "objectives between tokens of 0.05, 0.1875 and 0.5 s, mixed",
    "fragmentation": "mostly prompts of 3,000 to 5,000 tokens",
    "prediction": "what output-length prediction brings",
    "utilization": "use of the GPU and of the cache: Figure 11e",
    "selection": "what Algorithm 2 selects, and from what",
    "machines": "other models and machines",
    "pivot": "one machine's pivot forward size on others",
    "completion": "jobs completed in time",
    "cacheopt": "CacheOPT's headlines",
}
"""What there is, and what each shows."""


def figure_of(name: str) -> Figure:
    """The figure of a name; raises SlosimError with a suggestion if there is none."""
    found: Figure = held(__name__, "figure", name, FIGURES)
    return found
