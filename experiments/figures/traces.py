"""The applications one by one, each at rates up to its own."""

from experiments.figures.figure import EVERYBODY, Figure, grid
from experiments.studies.study import Setting

ALPACA = Setting("Alpaca", "short prompts and outputs, 36/s", {"trace": {"source": "alpaca"}}, (2, 6, 12, 24, 36))
SHAREGPT = Setting("ShareGPT", "conversations, 28/s", {"trace": {"source": "sharegpt"}}, (0.5, 1, 2, 8, 28))
BOOKCORPUS = Setting(
    "BookCorpus", "long prompts, 1.2/s", {"trace": {"source": "bookcorpus"}}, (0.05, 0.1, 0.2, 0.4, 1.2)
)
FIGURE = Figure(
    grid(
        "traces",
        "How does AccelGen compare on Alpaca, ShareGPT and BookCorpus alone?",
        EVERYBODY,
        (ALPACA, SHAREGPT, BOOKCORPUS),
        ("token_throughput", "goodput", "slo_attainment_tokens", "slo_attainment_requests", "mean_jct"),
    ),
    paper="AccelGen measures the three traces one by one; its numbers are not known. The rates are those of the same "
    "authors' EconoServe (recalled). OPT-13B in the paper's 12 GB cache.",
)
