"""How much of the GPU and of the cache is used."""

from experiments.figures.figure import ACCELGEN, BASELINES, EVERYBODY, STATED, Claim, Figure, grid, titles
from experiments.studies.study import BIG, SMALL, Variant

ALL = titles(BASELINES)
FIGURE = Figure(
    grid(
        "utilization",
        "How much of the GPU and of the cache is used?",
        (
            *EVERYBODY,
            Variant("accelgen,multi_resource=False", "no distance"),
            Variant("accelgen,normalized=True", "shares"),
        ),
        (SMALL, BIG),
        ("gpu_utilization", "pivot_utilization", "kvc_used", "kvc_unallocated"),
    ),
    (
        Claim(
            "GPU utilisation is higher than the baselines'",
            "Figure 11e, a review and a digest; that it is a share of the level is inferred",
            *("gpu_utilization", ACCELGEN.title, ALL, (31.0, 63.0), "%", STATED),
            why="the paper asks gpustat, which tells the share of time in which a kernel runs: here that is all of it, "
            "so operations, of the peak, are compared.",
        ),
        Claim(
            "less of the cache is unallocated, by points",
            "Figure 11e, a review; that they are points is inferred",
            *("kvc_unallocated", ACCELGEN.title, ALL, (-13.2, -7.4), "points", STATED),
            why="in overload all but ORCA's reserves fill: vLLM leaves 12 % unallocated in 12 GB, for which no waiting "
            "prompt is short enough, AccelGen 7. Below capacity ORCA and FastServe differ for what they reserve and "
            "reject, not for how they batch.",
        ),
    ),
    "AccelGen, Figure 11e. The last two variants ask what the distance of Algorithm 2 has to do with it.",
)
