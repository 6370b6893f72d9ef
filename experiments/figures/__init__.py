"""Figures and tables of the papers, made anew: each states its runs and claims. A module per figure holds `FIGURE`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from traces.errors import SlosimError

if TYPE_CHECKING:
    from experiments.figures.figure import Figure

FIGURES = {
    "mixed": "the main comparison on the mixed trace, from idle to 8 requests/s",
}
"""What there is, and what each shows."""


def figure_of(name: str) -> Figure:
    """The figure of a name; raises SlosimError with a suggestion if there is none."""
    if name not in FIGURES:
        near = get_close_matches(name, FIGURES, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FIGURES)}, and all"
        raise SlosimError(f"there is no figure {name!r}; {meant}")
    found: Figure = import_module(f"experiments.figures.{name}").FIGURE
    return found
