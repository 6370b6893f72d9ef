"""Open question: whom to preempt, by length and SLO."""

from experiments.studies.study import HEADLINES, SMALL, Study, Variant
from experiments.studies.verdicts import who_wins

STUDY = Study(
    "preemption",
    "Which request should preemption take, and what happens to it?",
    (
        Variant("accelgen"),
        *(
            Variant(f"accelgen,victim={victim}", "for the urgent")
            for victim in ("loosest", "longest", "largest", "newest")
        ),
        *(
            Variant(f"accelgen,overflow={victim}", "when the decodes outgrow the cache")
            for victim in ("deferrable", "loosest", "longest", "largest")
        ),
        Variant("accelgen,overflow=longest", "by the truth: nearly finished requests stay", "perfect"),
        Variant("accelgen,preemption=pause", "the cache is kept: only the place in the batch is lost"),
        Variant("accelgen,victims=by_slack", "the preempted wait by their remaining time"),
        Variant("accelgen,victims=head_of_line", "the preempted wait first, and block the others"),
        Variant("accelgen,urgent=False", "nobody is preempted for another"),
        Variant("accelgen,admission=output", "fewer preemptions: nobody starts who would outgrow the cache"),
    ),
    who_wins,
    (SMALL._replace(rates=(0.6, 0.8, 2)),),
    metrics=(*HEADLINES, "mean_jct", "preemptions"),
)
