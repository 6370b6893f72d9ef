"""Jobs that someone waits for as a whole: who completes them in time."""

from experiments.figures.figure import (
    ACCELGEN,
    BASELINES,
    EVERYBODY,
    FASTSERVE_REJECTS,
    MORE,
    PAPER_RATE,
    Claim,
    Figure,
    grid,
    titles,
)
from experiments.studies.completion import JOBS
from experiments.studies.study import SMALL, Variant

TOLD = Variant("accelgen", "AccelGen, told", "perfect")
GUESSED = (
    Variant("accelgen", "told the mean", "mean"),
    Variant("accelgen", "told roughly", "noisy,sigma=0.5"),
    Variant("accelgen", "told at random", "noisy,sigma=2.0"),
)
MIXED = JOBS._replace(
    name=SMALL.name,
    what="OPT-13B in the paper's 12 GB cache; BookCorpus, 35 % of the requests, has completion SLOs",
    rates=(0.3, 0.6, 0.8, 8),
)
AT = ((SMALL.name, PAPER_RATE),)
FIGURE = Figure(
    grid(
        "completion",
        "How many jobs are completed in time?",
        (*EVERYBODY, TOLD, *GUESSED),
        (MIXED,),
        ("slo_attainment_jct", "goodput", "request_goodput", "mean_jct"),
    ),
    (
        Claim(
            "SLO attainment of jobs is higher than the baselines'",
            "a digest of section 5; that per cent are points is inferred",
            *("slo_attainment_jct", ACCELGEN.title, titles(BASELINES), (34.0, 93.0), "points", AT),
            why="jobs have the most time left, and so are preempted for the urgent: at 0.6 requests/s eleven times "
            "each, with 9,000 tokens computed anew, where vLLM hardly preempts. At 8 requests/s no baseline's jobs "
            "end in time either.",
        ),
        Claim(
            "knowing output lengths raises the SLO attainment of jobs",
            "an experiment that a review suggests; no number is known",
            *("slo_attainment_jct", TOLD.title, (ACCELGEN.title,), MORE, "points", AT),
            expected=True,
            why="at 8 requests/s hardly any job ends in time, told or not. Around capacity lengths help, but told at "
            "random more than told truly: they halve what is computed anew. It seems to matter that jobs are told "
            "apart, so that they do not preempt each other in turn.",
        ),
    ),
    "AccelGen promises completion to jobs that run offline; how long they may take, and which requests they are, is "
    "not known. Here a job of BookCorpus may take three times what it takes alone, prompt and outputs (the form is "
    "recalled from the same authors' EconoServe, the three chosen). The paper leaves the prediction of output lengths "
    "out: AccelGen goes by the mean so far, and `told` knows them. " + FASTSERVE_REJECTS,
)
