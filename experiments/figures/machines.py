"""Across models and machines."""

from experiments.figures.figure import (
    ACCELGEN,
    BASELINES,
    EQUATION_6,
    EVERYBODY,
    MORE,
    PAPER_RATE,
    Claim,
    Figure,
    grid,
    titles,
)
from experiments.studies.study import BIG, LARGE, SMALL, Setting

H200 = Setting("H200", "OPT-13B on one H200, the paper's cache of 12 GB", {"profile": "opt-13b@h200"}, (1, 2, 8))
SCALED = Setting("175B", "OPT-175B on eight A100, 270 GB", {"profile": "opt-175b@a100-80gb-tp8"}, (0.6, 2, 8))
LLAMA = Setting(
    "Llama 13B",
    "Llama-13B on one A100, the paper's cache of 12 GB; a prior: no iteration of it was measured",
    {"profile": "llama-13b@a100-80gb"},
    (0.6, 2, 8),
)
LLAMA_3 = Setting(
    "Llama 70B",
    "Llama-3-70B on four A100, the paper's cache of 135 GB; a prior: no iteration of it was measured",
    {"profile": "llama-3-70b@a100-80gb-tp4"},
    (1, 2, 8),
)
ALL = (
    SMALL._replace(rates=(0.6, 2, 8)),
    LARGE._replace(rates=(1, 2, 8)),
    H200,
    SCALED,
    BIG._replace(rates=(0.6, 2, 8)),
    LLAMA,
    LLAMA_3,
)
AT = tuple((each.name, PAPER_RATE) for each in ALL)
SAID = "the results of four models; no number of a single one is known"
FIGURE = Figure(
    grid(
        "machines",
        "Does it hold on other models and machines?",
        EVERYBODY,
        ALL,
        ("token_throughput", "goodput", "request_goodput", "slo_attainment_requests", "mean_jct"),
    ),
    (
        Claim(
            "goodput is higher on all models, in tokens",
            SAID,
            *("goodput", ACCELGEN.title, titles(BASELINES), MORE, "%", AT),
            why=f"it is where the cache is small: OPT-13B and Llama-13B in 12 GB. Elsewhere {EQUATION_6}",
        ),
        Claim(
            "goodput is higher on all models, in requests",
            SAID,
            *("request_goodput", ACCELGEN.title, titles(BASELINES), MORE, "%", AT),
            why="as above; and where hardly a request meets all of its SLOs, FastServe, which rejects long prompts, "
            "has more for the others.",
        ),
    ),
    "AccelGen has OPT-13B, OPT-175B, Llama-13B and Llama-3-70B. The iteration times of the two Llama are priors, "
    "measured A100 profiles scaled to their sizes, and those of the H200 are expectations: verdicts there are of the "
    "model, not of a measurement.",
    over="setting",
)
