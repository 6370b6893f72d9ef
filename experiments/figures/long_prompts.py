"""Sensitivity to the share of long prompts."""

from experiments.figures.figure import ACCELGEN, BASELINES, ORACLE, Figure, grid
from experiments.studies.study import Setting

SHARES = (0.1, 0.2, 0.35, 0.5, 0.7)
FIGURE = Figure(
    grid(
        "long_prompts",
        "How does the share of long prompts move the results?",
        (ACCELGEN, *BASELINES, ORACLE),
        [
            Setting(
                f"{each:.0%}", f"so many BookCorpus prompts ({each:g})", {"trace": {"bookcorpus_share": each}}, (0.6, 8)
            )
            for each in SHARES
        ],
        ("token_throughput", "goodput", "request_goodput", "slo_attainment_requests", "mean_jct", "kvc_unallocated"),
    ),
    paper="AccelGen, Figure 12 (which of a to e is not known, nor its numbers). OPT-13B, 12 GB; the paper has 35 %.",
    over="setting",
)
