"""Sensitivity to gamma, the remaining time within which requests count as alike."""

from experiments.figures.figure import ACCELGEN, Figure, grid
from experiments.studies.study import BIG, SMALL, Variant
from experiments.studies.verdicts import what_moves

GAMMAS = (0.0, 0.25, 1.5, 3.0, 30.0)
STUDY = grid(
    "gamma",
    "How does gamma move the results?",
    (ACCELGEN, *(Variant(f"accelgen,gamma={each}", f"{each:g} s") for each in GAMMAS)),
    (SMALL._replace(rates=(0.3, 0.6, 0.8, 2, 8)), BIG._replace(rates=(0.3, 0.6, 2, 8))),
    ("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests", "mean_jct"),
    verdict=what_moves,
)
FIGURE = Figure(STUDY, paper="AccelGen, Figure 12 (which of a to e is not known, nor its numbers). Its own is 0.75 s.")
