"""The audit of Algorithm 2: what is available when it selects, what it takes, and what of that the distance decides."""

from experiments.figures.figure import LESS, PAPER_RATE, Claim, Figure, grid
from experiments.selections import SELECTION
from experiments.studies.study import LARGE, SMALL, Variant

AUDITED, PLAIN = Variant("accelgen,audit=True", "AccelGen"), Variant("accelgen,multi_resource=False", "queue order")
SETTINGS = (SMALL._replace(rates=(0.5, 0.6, 0.8, 2, 8)), LARGE._replace(rates=(1, 2, 8)))
AT = tuple((each.name, PAPER_RATE) for each in SETTINGS)
FIGURE = Figure(
    grid(
        "selection",
        "Does minimising the distance of Algorithm 2 leave less of the cache unallocated?",
        (AUDITED, PLAIN),
        SETTINGS,
        ("kvc_unallocated", *SELECTION),
    ),
    (
        Claim(
            "selecting by distance leaves less of the cache unallocated than the queue's order",
            "what section 4.4 is for; no number is known of the selection alone",
            *("kvc_unallocated", AUDITED.title, (PLAIN.title,), LESS, "points", AT),
            expected=True,
            why="few iterations have a choice at all, since newcomers wait until the cache has room for one of them. "
            "Where there is one, what a prompt's chunk takes of the budget it takes of the cache as well, to the "
            "block: the nearest is then the largest in both.",
        ),
    ),
    "AccelGen, section 4.4 and Figure 11e: A_c, A_m and the chosen D_c, D_m of every selection. `slosim run "
    "accelgen,audit=True` writes them one by one (`notes.parquet`). Means are over choices between several.",
)
