"""What scheduling itself takes."""

from experiments.figures.derived import SCHEDULE_SHARE, SCHEDULE_TIME
from experiments.figures.figure import ACCELGEN, BASELINES, EVERYBODY, STATED, Claim, Figure, grid, titles
from experiments.studies.study import BIG, SMALL

FCFS, FASTSERVE = titles(BASELINES[:-1]), titles(BASELINES[-1:])
OURS = (
    "ours is the wall time of this program's policies, over all iterations, of which most are not decided but "
    "repeated; the paper's is another program on another machine."
)
FIGURE = Figure(
    grid(
        "overhead",
        "What does scheduling take?",
        EVERYBODY,
        (SMALL._replace(rates=(0.3, 0.6, 2, 8)), BIG._replace(rates=(0.3, 0.6, 2, 8))),
        (SCHEDULE_TIME, SCHEDULE_SHARE),
    ),
    (
        Claim(
            "milliseconds to schedule an iteration",
            "Figure 12f, a review",
            *(SCHEDULE_TIME, ACCELGEN.title, (), (0.24, 2.4), "level", STATED),
            why=OURS,
        ),
        Claim(
            "per cent of the mean completion time that scheduling takes",
            "a digest of section 5",
            *(SCHEDULE_SHARE, ACCELGEN.title, (), (0.02, 0.02), "level", STATED),
            why=OURS,
        ),
        Claim(
            "schedulers by order of arrival take 28 to 93 % less time: ours takes 1.39 to 14.3 times theirs",
            "a digest of section 5",
            *(SCHEDULE_TIME, ACCELGEN.title, FCFS, (1.39, 14.3), "times", STATED),
            why=OURS,
        ),
        Claim(
            "FastServe takes 95 % more time",
            "a digest of section 5",
            *(SCHEDULE_TIME, ACCELGEN.title, FASTSERVE, (1.95, 1.95), "times less", STATED),
            why=OURS,
        ),
    ),
    "AccelGen, Figure 12f. Measured while the runs were made, beside whatever else the machine did.",
)
