"""The open readings of AccelGen, each chosen otherwise."""

from experiments.studies.study import Study, Variant
from experiments.studies.verdicts import what_moves

READINGS = (
    "token_budget=inverse",
    "largest_budget=1.0",
    "members=candidates",
    "long_prompts=2",
    "long_prompts=4",
    "long_prompt=256",
    "urgency=0.5",
    "urgency=2.0",
    "first=remaining",
    "overdue=urgent",
    "overdue=last",
    "execution=exact",
    "execution=mean",
    "execution=one",
    "longest=recent",
    "longest=budget",
    "preemption=pause",
    "victims=by_slack",
    "victims=head_of_line",
    "overflow=deferrable",
    "stalls=False",
    "refresh=0.5",
    "gamma=0.0",
    "gamma=3.0",
    "normalized=True",
    "admission=chunk",
    "watermark=0.0",
    "after_preemption=True",
    "candidates=128",
)
STUDY = Study(
    "sensitivity",
    "How far do the headline results move when an open reading is chosen otherwise?",
    (Variant("accelgen"), *(Variant(f"accelgen,{reading}") for reading in READINGS)),
    what_moves,
)
