"""Open question: how near to Oracle does accurate output-length prediction bring AccelGen?"""

from experiments.studies.study import SMALL, Study, Variant
from experiments.studies.verdicts import who_wins

OUTPUT = "accelgen,admission=output"
STUDY = Study(
    "prediction",
    "How near to Oracle does output-length prediction bring AccelGen?",
    (
        Variant("accelgen"),
        Variant("accelgen", "what the paper would tell it: without completion SLOs nothing uses it", "perfect"),
        Variant(OUTPUT, "room to the end, by the mean of those that finished"),
        Variant(OUTPUT, "by the trace's mean", "mean"),
        Variant(OUTPUT, "by a padded estimate", "padded"),
        Variant(OUTPUT, "by noisy estimates", "noisy,sigma=1.0"),
        Variant(OUTPUT, "", "noisy,sigma=0.5"),
        Variant(OUTPUT, "", "noisy,sigma=0.2"),
        Variant(OUTPUT, "by the truth", "perfect"),
        Variant("accelgen,overflow=longest", "nearly finished requests are not preempted", "perfect"),
        Variant(f"{OUTPUT},overdue=last", "and the late last", "perfect"),
        Variant(f"{OUTPUT},overdue=last,token_budget=inverse", "and the calibrated budget", "perfect"),
        Variant("oracle"),
    ),
    who_wins,
    (SMALL._replace(rates=(0.6, 0.8, 2)),),
)
