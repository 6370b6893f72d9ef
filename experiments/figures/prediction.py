"""What knowing output lengths would bring AccelGen, beside Oracle."""

from experiments.figures.figure import ACCELGEN, MORE, ORACLE, PAPER_RATE, Claim, Figure, grid
from experiments.studies.study import SMALL, Variant

OUTPUT = "accelgen,admission=output"
TRUTH = Variant(OUTPUT, "truth", "perfect")
SAID = "section 7, which leaves it to future work; no number is known"
AT = ((SMALL.name, PAPER_RATE),)
FIGURE = Figure(
    grid(
        "prediction",
        "How near to Oracle does output-length prediction bring AccelGen?",
        (
            ACCELGEN,
            Variant(OUTPUT, "mean so far"),
            Variant(OUTPUT, "mean", "mean"),
            Variant(OUTPUT, "padded", "padded"),
            Variant(OUTPUT, "sigma 1.0", "noisy,sigma=1.0"),
            Variant(OUTPUT, "sigma 0.5", "noisy,sigma=0.5"),
            Variant(OUTPUT, "sigma 0.2", "noisy,sigma=0.2"),
            TRUTH,
            ORACLE,
        ),
        (SMALL,),
        ("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests", "mean_jct", "preemptions"),
    ),
    (
        Claim(
            "accurate prediction raises goodput, in requests",
            SAID,
            *("request_goodput", TRUTH.title, (ACCELGEN.title,), MORE, "%", AT),
        ),
        Claim(
            "accurate prediction raises goodput, in tokens",
            SAID,
            *("goodput", TRUTH.title, (ACCELGEN.title,), MORE, "%", AT),
        ),
    ),
    "AccelGen's outlook: who starts must have room to its end by the prediction (this project's option).",
)
