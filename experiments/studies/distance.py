"""The distance of Algorithm 2: tokens and cache as they are, or as shares of what is free."""

from experiments.studies.study import LARGE, SMALL, Study, Variant
from experiments.studies.verdicts import what_moves

STUDY = Study(
    "distance",
    "What does the distance of Algorithm 2 change, and what normalising it?",
    (
        Variant("accelgen"),
        Variant("accelgen,normalized=True"),
        Variant("accelgen,multi_resource=False"),
        Variant("accelgen,gamma=30.0", "more compete by distance"),
        Variant("accelgen,gamma=30.0,normalized=True"),
        Variant("accelgen,admission=chunk"),
        Variant("accelgen,admission=chunk,normalized=True"),
    ),
    what_moves,
    (SMALL._replace(rates=(0.6, 2)), LARGE._replace(rates=(2,))),
)
