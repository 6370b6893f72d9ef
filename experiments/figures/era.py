"""Exclusive requests (ERA): no new long prompt while one is unfinished."""

from experiments.figures.figure import ACCELGEN, LESS, STATED, Claim, Figure, grid
from experiments.studies.study import BIG, SMALL, Variant

WITHOUT = Variant("accelgen,exclusive=False", "no ERA")
FIGURE = Figure(
    grid(
        "era",
        "What does ERA bring?",
        (
            ACCELGEN,
            WITHOUT,
            Variant("accelgen,long_prompts=2", "two at a time"),
            Variant("accelgen,long_prompts=4", "four at a time"),
        ),
        (SMALL, BIG),
        ("mean_jct", "token_throughput", "goodput", "kvc_used"),
    ),
    (
        Claim(
            "ERA shortens job completion times",
            "Figure 6, a review; no number is known",
            *("mean_jct", ACCELGEN.title, (WITHOUT.title,), LESS, "%", STATED),
            why="a prompt starts only if all of it fits the cache, with or without ERA, so that few long prompts can "
            "hold cache half-done in 12 GB.",
        ),
    ),
    "AccelGen, Figure 6. How many long prompts may be unfinished is not known: one, read literally.",
)
