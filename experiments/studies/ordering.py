"""Figures 6 and 7 of the paper: exclusive requests (ERA), and ordering against first in, first out."""

from experiments.studies.study import HEADLINES, Study, Variant
from experiments.studies.verdicts import what_moves

ALONE = "multi_resource=False,exclusive=False"
STUDY = Study(
    "ordering",
    "What do ordering by remaining time (Figure 7) and ERA (Figure 6) change in the machine's use, SLOs and JCT?",
    (
        Variant("accelgen"),
        Variant("accelgen,slo_ordering=False", "first in, first out"),
        Variant("accelgen,slo_ordering=False,stalls=False", "and no decode waits for a block"),
        Variant("accelgen,slo_ordering=False,multi_resource=False", "first in, first out, and no distance either"),
        Variant(f"accelgen,{ALONE}", "ordering alone"),
        Variant(f"accelgen,slo_ordering=False,{ALONE}", "neither"),
        Variant("accelgen,exclusive=False", "no ERA"),
        Variant("accelgen,long_prompts=2", "two long prompts at a time"),
        Variant("accelgen,long_prompt=256", "ERA for all prompts above 256 tokens"),
        Variant("accelgen,admission=chunk", "chunks admitted, with ERA; without ERA nobody ever finishes"),
    ),
    what_moves,
    metrics=("gpu_utilization", "kvc_used", *HEADLINES, "mean_jct"),
)
