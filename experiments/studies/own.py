"""This project's own scheduler against AccelGen, on seeds other than those on which it was chosen."""

from experiments.studies.study import LARGE, SMALL, Study, Variant
from experiments.studies.verdicts import who_wins

STUDY = Study(
    "own",
    "Does Punctual beat AccelGen, on seeds that had no part in its choice?",
    (
        Variant("accelgen"),
        Variant("punctual"),
        Variant("accelgen,overdue=last", "half of it"),
        Variant("accelgen,admission=output", "the other half"),
        Variant("accelgen,victims=by_slack", "the preempted wait by their remaining time"),
        Variant("punctual,victims=by_slack", "the same of Punctual"),
        Variant("punctual", "with noisy predictions", "noisy,sigma=0.5"),
        Variant("punctual", "with true ones", "perfect"),
        Variant("oracle"),
        Variant("sarathi"),
        Variant("vllm"),
    ),
    who_wins,
    settings=(SMALL, LARGE._replace(rates=(0.8, 2))),
    seeds=6,
    first_seed=1000,
)
