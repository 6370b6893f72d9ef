"""Verdicts: each claim beside our numbers, with intervals over seeds, at the paper's load and at all others."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, isfinite, log
from typing import Literal, NamedTuple

from experiments.figures.figure import EVERY, Claim, Load
from experiments.figures.supported import supported
from experiments.replications import CONFIDENCE, Interval, interval
from experiments.studies.findings import Findings
from experiments.studies.study import Setting

NEAR = 0.25
"""How far from the paper's number, as a share of it, still counts as the same size (this project's choice)."""
PART = 0.25
"""Share of the paper's least amount from which on a claim holds in part (this project's choice)."""
TRIFLE = {"times": 0.01, "times less": 0.01, "%": 1.0, "points": 0.5, "level": 0.0}
"""Amounts up to which a direction without a number is no matter."""
Verdict = Literal["reproduced", "in part", "not", "not run"]


class Effect(NamedTuple):
    """A comparison's mean over the seeds with its 95 % interval, in the claim's unit."""

    low: float
    mean: float
    high: float


class Comparison(NamedTuple):
    """One variant beside another at one load; or its level."""

    load: Load
    beside: str
    """Empty: a level."""
    effect: Effect
    same: bool
    """Whether it goes the paper's way by more than chance and its interval meets the paper's numbers, or nearly."""
    some: bool
    """Whether it goes the paper's way by more than chance, however many comparisons are made, and by a good part of
    what the paper has."""


class Judgement(NamedTuple):
    """A claim with all of its comparisons."""

    claim: Claim
    comparisons: tuple[Comparison, ...]

    @property
    def stated(self) -> list[Comparison]:
        """Those at the paper's loads."""
        return [each for each in self.comparisons if each.load in self.claim.at]

    @property
    def verdict(self) -> Verdict:
        """Reproduced: all of those at the paper's loads agree in size; in part: any anywhere goes the same way."""
        if not self.stated:
            return "not run"
        enough = any if self.claim.best else all
        if enough(each.same for each in self.stated):
            return "reproduced"
        return "in part" if any(each.some for each in self.comparisons) else "not"

    def loads(self, kind: Literal["same", "some"]) -> list[Load]:
        """Loads at which all comparisons are of a kind; if not the paper's, surely so, as they are many."""
        every = dict.fromkeys(each.load for each in self.comparisons)
        return [load for load in every if all(self._is(kind, each) for each in self.comparisons if each.load == load)]

    def _is(self, kind: Literal["same", "some"], comparison: Comparison) -> bool:
        sure = comparison.some or comparison.load in self.claim.at
        return sure and bool(getattr(comparison, kind))


def judge(claim: Claim, findings: Findings) -> Judgement:
    """All comparisons of a claim, at every load that was run.

    Where one of many is enough, chance is given as much less (Bonferroni).
    """
    places = [
        (setting, rate, beside)
        for setting in findings.study.settings
        for rate in (setting.rates if claim.share is None else (EVERY,))
        for beside in claim.beside or ("",)
    ]
    strict = 1 - (1 - CONFIDENCE) / len(places)
    return Judgement(claim, tuple(_compared(claim, findings, *place, strict) for place in places))


def _compared(
    claim: Claim, findings: Findings, setting: Setting, rate: float, beside: str, strict: float
) -> Comparison:
    ours = values(claim, findings, setting, rate, claim.ours)
    theirs = values(claim, findings, setting, rate, beside) if beside else []
    effect, wider = effect_of(claim, ours, theirs), effect_of(claim, ours, theirs, strict)
    agrees = same(claim, effect) and (not claim.best or _certain(claim, wider))
    return Comparison((setting.name, rate), beside, effect, agrees, some(claim, wider))


def values(claim: Claim, findings: Findings, setting: Setting, rate: float, title: str) -> list[float]:
    """What a claim compares of a variant, seed by seed: its metric at a load, or the rate that it bears."""
    variant = next(each for each in findings.study.variants if each.title == title)
    if claim.share is None:
        return findings.values(setting, rate, variant, claim.metric)
    loads = (findings.values(setting, each, variant, claim.metric) for each in setting.rates)
    return [supported(setting.rates, attained, claim.share) for attained in zip(*loads, strict=True)]


def effect_of(claim: Claim, ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE) -> Effect:
    """Ours beside theirs, paired by seed; a ratio is a geometric mean, and nan if a number is nought or none.

    >>> claim = Claim("", "", "", "", ("a",), (2.0, 2.0), "times", ())
    >>> [round(each, 6) for each in effect_of(claim, [2.0, 4.0], [1.0, 2.0])]
    [2.0, 2.0, 2.0]
    """
    if claim.unit == "level":
        return _around(interval(ours, confidence))
    pairs = list(zip(ours, theirs, strict=True))
    if claim.unit in ("times", "times less"):
        if not all(isfinite(each) and each > 0 for pair in pairs for each in pair):
            return Effect(float("nan"), float("nan"), float("nan"))
        turn = 1 if claim.unit == "times" else -1
        low, mean, high = _around(interval([turn * log(own / other) for own, other in pairs], confidence))
        return Effect(_exp(low), _exp(mean), _exp(high))
    scale = 1.0 if claim.unit == "points" else abs(sum(theirs) / len(theirs))
    changes = [100 * (own - other) / scale if scale else float("nan") for own, other in pairs]
    return _around(interval(changes, confidence))


def _around(found: Interval) -> Effect:
    return Effect(found.mean - found.half, found.mean, found.mean + found.half)


def _exp(value: float) -> float:
    return exp(value) if value < 700 else float("inf")


def amounts(claim: Claim, effect: Effect) -> Effect:
    """How far an effect goes the paper's way: positive if it does; of a level, the level."""
    neutral = 1.0 if claim.unit in ("times", "times less") else 0.0
    low, mean, high = (each - neutral for each in effect)
    return Effect(-high, -mean, -low) if claim.unit != "level" and backwards(claim) else Effect(low, mean, high)


def backwards(claim: Claim) -> bool:
    """Whether the paper says less."""
    neutral = 1.0 if claim.unit in ("times", "times less") else 0.0
    return claim.paper[0] < neutral


def band(claim: Claim) -> tuple[float, float]:
    """The paper's numbers as amounts, widened by what still counts as the same size."""
    low, _, high = amounts(claim, Effect(claim.paper[0], claim.paper[0], claim.paper[1]))
    return low * (1 - NEAR), high * (1 + NEAR)


def same(claim: Claim, effect: Effect) -> bool:
    """Whether an effect is the paper's, its size included."""
    low, _, high = amounts(claim, effect)
    least, most = band(claim)
    return _certain(claim, effect) and high >= least and low <= most


def some(claim: Claim, effect: Effect) -> bool:
    """Whether an effect goes the paper's way by more than chance and by a good part of the paper's; a level: `same`."""
    if claim.unit == "level":
        return same(claim, effect)
    least = band(claim)[0] / (1 - NEAR) * PART
    return _certain(claim, effect) and amounts(claim, effect).mean >= least


def _certain(claim: Claim, effect: Effect) -> bool:
    """Whether the direction is the paper's by more than chance and more than a trifle; nan is not."""
    low, mean, _ = amounts(claim, effect)
    return isfinite(low) and (claim.unit == "level" or (low > 0 and mean > TRIFLE[claim.unit]))
