"""A figure of a paper: the runs that make it anew, and what the paper says that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, NamedTuple

from experiments.studies.findings import Findings
from experiments.studies.study import BIG, SMALL, Setting, Study, Variant
from experiments.studies.verdicts import who_wins

Unit = Literal["times", "times less", "%", "points", "level"]
"""How a claim compares: a ratio either way round, a change in per cent, a change of a share in points; or not at all:
a level, in the metric's own unit."""
Load = tuple[str, float]
"""A setting's name and requests per second."""
EVERY = inf
"""In place of a load's rate: all loads of the setting together."""
MORE, LESS = (0.0, inf), (-inf, 0.0)
"""What a paper says that gives a direction and no number."""
REQUESTS, SEEDS = 1000, 10
"""Of each run, and replications: the full set."""
QUICK_REQUESTS, QUICK_SEEDS, QUICK_RATES = 60, 2, 2
"""The same of a quick one, and how many loads of each setting: the last ones, the paper's among them."""


class Claim(NamedTuple):
    """One sentence of a paper that a number of ours can contradict."""

    says: str
    source: str
    """Where it is said, and how surely it is known that it is."""
    metric: str
    """Of a run's summary, or of `derived`."""
    ours: str
    """Title of the variant that it is about."""
    beside: tuple[str, ...]
    """Titles of those that it is compared with; none if it is a level."""
    paper: tuple[float, float]
    """The paper's number, as the least and the most of what it says; equal for a single one."""
    unit: Unit
    at: tuple[Load, ...]
    """The loads that are the paper's."""
    best: bool = False
    """Whether the paper gives its best case ("up to"): one comparison at one of the loads is enough."""
    expected: bool = False
    """Not a paper's claim but what a review expects of an experiment that it suggests: judged, but not counted."""
    why: str = ""
    """Why it does not reproduce where it does not, as far as it is known; told only then."""
    share: float | None = None
    """If given, the claim is of the rate that is borne: the highest at which so much of the metric is attained, over
    all loads of a setting, which `at` then names with EVERY."""


@dataclass(frozen=True)
class Figure:
    """One picture, its tables and its claims, all drawn from the runs of one grid."""

    study: Study
    """Name, question, variants, machines, loads and metrics; the first variant is what tables compare with."""
    claims: tuple[Claim, ...] = ()
    paper: str = ""
    """Which figures of which paper, in words; what is not known of them."""
    over: Literal["rate", "setting"] = "rate"
    """What the pictures have on their x axis: the arrival rate, a picture per setting; or the other way round."""

    @property
    def name(self) -> str:
        """What it is called on the command line and in files."""
        return self.study.name

    def quick(self) -> Figure:
        """Hardly any work: shows that it runs."""
        few = tuple(each._replace(rates=each.rates[-QUICK_RATES:]) for each in self.study.settings)
        return replace(self, study=replace(self.study, settings=few, requests=QUICK_REQUESTS, seeds=QUICK_SEEDS))

    def sized(self, seeds: int | None, requests: int | None) -> Figure:
        """The same with other numbers of seeds and requests where they are given."""
        study = self.study
        return replace(self, study=replace(study, seeds=seeds or study.seeds, requests=requests or study.requests))


def grid(
    name: str,
    question: str,
    variants: Sequence[Variant],
    settings: Sequence[Setting],
    metrics: Sequence[str],
    verdict: Callable[[Findings], str] = who_wins,
) -> Study:
    """The runs of a figure, with the requests and seeds of the full set."""
    return Study(name, question, tuple(variants), verdict, tuple(settings), REQUESTS, SEEDS, metrics=tuple(metrics))


BASELINES = (
    Variant("vllm", "vLLM"),
    Variant("orca", "ORCA"),
    Variant("fastgen", "FastGen"),
    Variant("sarathi", "Sarathi"),
    Variant("fastserve", "FastServe"),
)
"""The paper's. FastServe is its artifact's: prompts above 2,048 tokens are rejected, and count as misses."""
FASTSERVE_REJECTS = (
    "FastServe's artifact rejects prompts of more than 2,048 tokens, some 10 % of this mix: they count as misses, and "
    "the others have more room. With such prompts let in (max_num_batched_tokens=None) it swaps at nearly every step."
)
EQUATION_6 = (
    "Equation (6) overlooks what decodes read of the cache. Where that is much (a large model, a large cache) "
    "AccelGen's iterations last longer than the tightest SLO between tokens allows: figure pivot has the "
    "same with the calibrated model inverted in its place."
)
ACCELGEN, ORACLE = Variant("accelgen", "AccelGen"), Variant("oracle", "Oracle")
EVERYBODY = (ACCELGEN, *BASELINES, ORACLE)
PAPER_RATE = 8.0
"""Requests per second of the paper's mixed trace."""
STATED: tuple[Load, ...] = ((SMALL.name, PAPER_RATE), (BIG.name, PAPER_RATE))
"""The paper's load on OPT-13B and on OPT-175B."""


def titles(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Their names in the files."""
    return tuple(variant.title for variant in variants)
