"""The open readings that matter to requests with a completion SLO: BookCorpus as jobs."""

from experiments.studies.study import SMALL, Study, Variant
from experiments.studies.verdicts import what_moves

JOBS = SMALL._replace(
    name="12GB, jobs",
    what="BookCorpus has completion SLOs",
    overrides={"slos": {"per_application": {"bookcorpus": {"rule": "jct", "jct_scale": 3.0}}}},
    rates=(0.6, 0.8),
)
STUDY = Study(
    "completion",
    "How far do the forms of iteration deadlines from completion SLOs, and predictions for them, move the results?",
    (
        Variant("accelgen"),
        Variant("accelgen,completion=spread", "the stated form"),
        Variant("accelgen,completion=proportional"),
        Variant("accelgen,default_output=1000"),
        Variant("accelgen", predictor="perfect"),
        Variant("accelgen,completion=spread", predictor="perfect"),
        Variant("accelgen,completion=proportional", predictor="perfect"),
        Variant("accelgen", predictor="noisy,sigma=0.5"),
        Variant("accelgen", predictor="padded"),
        Variant("accelgen", predictor="mean"),
    ),
    what_moves,
    (JOBS,),
    requests=200,
    metrics=("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_jct", "mean_jct"),
)
