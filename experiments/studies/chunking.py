"""Open question: adaptive chunks for long prompts."""

from experiments.studies.study import HEADLINES, LARGE, SMALL, Study, Variant
from experiments.studies.verdicts import who_wins

STUDY = Study(
    "chunking",
    "Do adaptive chunks for long prompts help?",
    (
        Variant("accelgen"),
        Variant("accelgen,chunking=time", "as long as the calibrated model says ends in time, the context counted"),
        Variant("accelgen,token_budget=inverse", "the same without the prompt's own context"),
        Variant("accelgen,chunking=pace", "as long as the prompt's own deadline asks"),
        Variant("accelgen,dynamic_chunking=False,static_chunk=256", "static"),
        Variant("accelgen,dynamic_chunking=False,static_chunk=1024", "static"),
        Variant("accelgen,dynamic_chunking=False,static_chunk=4096", "static"),
    ),
    who_wins,
    (SMALL._replace(rates=(0.6, 2)), LARGE._replace(rates=(2,))),
    metrics=(*HEADLINES, "slo_attainment_strict", "p99_tbt", "mean_jct"),
)
