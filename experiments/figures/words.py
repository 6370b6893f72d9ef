"""Verdicts in words: the paper's number, ours with its interval, the loads at which it holds."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isinf

from experiments.figures.figure import EVERY, Claim, Load
from experiments.figures.judging import Comparison, Effect, Judgement, amounts
from experiments.studies.study import Study

UNITS = {"times": " times", "times less": " times less", "%": " %", "points": " points", "level": ""}
NONE = "\N{EN DASH}"


def paper_said(claim: Claim) -> str:
    """The paper's number: `1.42 to 11.21 times`, `-97 %`, `more`."""
    low, high = claim.paper
    if isinf(low) or isinf(high):
        return "less" if isinf(low) else "more"
    number = _number(claim, low) if low == high else f"{_number(claim, low)} to {_number(claim, high)}"
    return number + UNITS[claim.unit]


def effect_said(claim: Claim, effect: Effect) -> str:
    """Ours: `1.03 (1.01 to 1.05) times`; a dash where there is none."""
    if not isfinite(effect.mean):
        return NONE
    ends = f" ({_number(claim, effect.low)} to {_number(claim, effect.high)})" if isfinite(effect.low) else ""
    return f"{_number(claim, effect.mean)}{ends}{UNITS[claim.unit]}"


def _number(claim: Claim, value: float) -> str:
    if claim.unit in ("%", "points"):
        return f"{value:+.3g}" if abs(value) < 100 else f"{value:+.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def load_said(load: Load) -> str:
    """A load: `12GB, 8/s`; all of a setting's: `12GB`."""
    return load[0] if load[1] == EVERY else f"{load[0]}, {load[1]:g}/s"


def loads_said(loads: Sequence[Load]) -> str:
    """Loads, by setting: `12GB at 0.6, 2 and 8/s; 176B at 8/s`; all of a setting's: `12GB`."""
    by: dict[str, list[str]] = {}
    for name, rate in loads:
        by.setdefault(name, []).extend([f"{rate:g}"] if rate != EVERY else [])
    return "; ".join(f"{name} at {_listed(rates)}/s" if rates else name for name, rates in by.items())


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def ours_said(judgement: Judgement, study: Study) -> str:
    """Our numbers at the paper's loads, the least and the most of those that it is compared with; or our best case."""
    claim, parts = judgement.claim, []
    known = [each for each in judgement.stated if isfinite(each.effect.mean)]
    if claim.best and known:
        most = max(known, key=lambda each: amounts(claim, each.effect).mean)
        return f"at most {effect_said(claim, most.effect)}{_beside(most, study)} ({load_said(most.load)})"
    for load in dict.fromkeys(each.load for each in judgement.stated):
        here = [each for each in judgement.stated if each.load == load]
        parts.append(f"{load_said(load)}: {_range(claim, here, study)}")
    return "; ".join(parts) or NONE


def _range(claim: Claim, comparisons: Sequence[Comparison], study: Study) -> str:
    known = sorted((each for each in comparisons if isfinite(each.effect.mean)), key=lambda each: each.effect.mean)
    ends = known[:1] + known[1:][-1:]
    told = " to ".join(effect_said(claim, each.effect) + _beside(each, study) for each in ends) or NONE
    unknown = [label(study, each.beside) for each in comparisons if each not in known and each.beside]
    why = "a seed has nought" if claim.share is None else "a seed attains it at all loads or at none"
    return told + (f" (none beside {_listed(unknown)}: {why})" if unknown else "")


def _beside(comparison: Comparison, study: Study) -> str:
    return f" beside {label(study, comparison.beside)}" if comparison.beside else ""


def label(study: Study, title: str) -> str:
    """What a variant is called in words."""
    return next((each.what or each.title for each in study.variants if each.title == title), title)


def where_said(judgement: Judgement, study: Study) -> str:
    """The loads at which a claim holds: in size, else in part, else beside whom at least."""
    if whole := judgement.loads("same"):
        return f"{loads_said(whole)}"
    if part := judgement.loads("some"):
        return f"the direction only: {loads_said(part)}"
    found: dict[str, list[Load]] = {}
    for each in judgement.comparisons:
        if each.some:
            found.setdefault(each.beside, []).append(each.load)
    told = (f"beside {label(study, beside)} only: {loads_said(loads)}" for beside, loads in found.items())
    return "; ".join(told) or "nowhere"
