"""Sensitivity to the size of the key-value cache."""

from experiments.figures.figure import ACCELGEN, BASELINES, ORACLE, Figure, grid
from experiments.studies.study import Setting

GIGABYTES = (8, 12, 16, 24, 36)
FIGURE = Figure(
    grid(
        "cache",
        "How does the size of the key-value cache move the results?",
        (ACCELGEN, *BASELINES, ORACLE),
        [
            Setting(f"{each} GB", "the cache of OPT-13B on one A100", {"cache": {"kvc_bytes": each * 1e9}}, (0.6, 8))
            for each in GIGABYTES
        ],
        ("token_throughput", "goodput", "request_goodput", "slo_attainment_requests", "mean_jct", "kvc_unallocated"),
    ),
    paper="AccelGen, Figure 12 (which of a to e is not known, nor its numbers). 12 GB is the paper's.",
    over="setting",
)
