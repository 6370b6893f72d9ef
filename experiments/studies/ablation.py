"""The paper's ablation: AccelGen with one component less."""

from experiments.studies.study import HEADLINES, WHOLE_RANGE, Study, Variant
from experiments.studies.verdicts import what_moves

STUDY = Study(
    "ablation",
    "What does each component of AccelGen bring?",
    (
        Variant("accelgen"),
        Variant("accelgen,dynamic_chunking=False", "a static chunk of 512 tokens"),
        Variant("accelgen,dynamic_chunking=False,static_chunk=100000", "no chunks: whole prompts"),
        Variant("accelgen,slo_ordering=False", "order of arrival"),
        Variant("accelgen,slo_ordering=False,stalls=False", "order of arrival, and no decode waits for a block"),
        Variant("accelgen,urgent=False", "order, but nobody gets a place by force"),
        Variant("accelgen,urgent=False,stalls=False", "the same, and no decode waits for a block"),
        Variant("accelgen,multi_resource=False", "in order rather than by distance"),
        Variant("accelgen,exclusive=False", "no ERA"),
    ),
    what_moves,
    settings=WHOLE_RANGE,
    metrics=("token_throughput", *HEADLINES, "mean_jct"),
)
