"""What the numbers of a study say by themselves, in words."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.replications import Interval
from experiments.studies.findings import LABELS, Findings, better, is_share, said
from experiments.studies.study import HEADLINES, Setting, Variant

SMALL = {True: 0.5, False: 1.0}
"""Changes up to so many points of a share, or so many per cent, are no matter."""
Place = tuple[Setting, float, str, Interval]


def changes(findings: Findings, variant: Variant, metrics: Sequence[str] = HEADLINES) -> list[Place]:
    """Where a variant differs from the baseline by more than chance and more than a trifle."""
    return [
        (setting, rate, metric, change)
        for setting in findings.study.settings
        for rate in setting.rates
        for metric in metrics
        if (change := findings.change(setting, rate, variant, metric)).certain
        and abs(change.mean) > SMALL[is_share(metric)]
        and not (metric == "request_goodput" and findings.rare(setting, rate, variant))
    ]


def wins(findings: Findings, variant: Variant) -> bool:
    """Whether it beats the baseline on goodput somewhere and loses nothing of the headlines anywhere."""
    places = changes(findings, variant)
    gains = [place for place in places if better(place[2], place[3].mean)]
    return len(gains) == len(places) and any("goodput" in metric for _, _, metric, _ in gains)


def told(place: Place) -> str:
    """A change in words: `goodput, tokens/s +4.1 ± 1.2 % (12GB, 2/s)`."""
    setting, rate, metric, change = place
    label = LABELS[metric].removesuffix(", %")
    unit = "points" if is_share(metric) else "%"
    return f"{label} {said(change).removesuffix('*')} {unit} ({setting.name}, {rate:g}/s)"


def most(places: Sequence[Place], number: int = 3) -> str:
    """The largest changes, each metric once."""
    ordered = sorted(places, key=lambda place: -abs(place[3].mean))
    first = {metric: place for place in reversed(ordered) for metric in [place[2]]}
    chosen = sorted(first.values(), key=lambda place: -abs(place[3].mean))[:number]
    return ", ".join(map(told, chosen))


def lowest_and_highest(findings: Findings, variant: Variant, metric: str) -> str:
    """The most that a variant loses and gains of a metric, and where; a dash if it does neither."""
    places = sorted(changes(findings, variant, [metric]), key=lambda place: place[3].mean)
    ends = [place for place in places[:1] if place[3].mean < 0] + [place for place in places[-1:] if place[3].mean > 0]
    told = (f"{said(change).removesuffix('*')} ({setting.name}, {rate:g}/s)" for setting, rate, _, change in ends)
    return "; ".join(told) or "\N{EN DASH}"


def what_moves(findings: Findings) -> str:
    """Which variants move the headlines, and how far at most; which do not."""
    moved, still = [], []
    for variant in findings.study.variants[1:]:
        places = changes(findings, variant)
        if places:
            moved.append((max(abs(place[3].mean) for place in places), f"`{variant.title}`: {most(places)}"))
        else:
            still.append(f"`{variant.title}`")
    lines = [text for _, text in sorted(moved, key=lambda each: -each[0])]
    found = f"What moves a headline by more than chance and a trifle, at most: {'; '.join(lines) or 'nothing'}."
    return found + (f" Nowhere: {', '.join(still)}." if still else "")


def who_wins(findings: Findings) -> str:
    """Which variants beat the baseline everywhere, and what the others gain and lose."""
    base = f"`{findings.study.baseline.title}`"
    parts = []
    for variant in findings.study.variants[1:]:
        places = changes(findings, variant)
        gains = [place for place in places if better(place[2], place[3].mean)]
        losses = [place for place in places if place not in gains]
        name = f"`{variant.title}`"
        if not places:
            parts.append(f"{name}: no difference")
        elif wins(findings, variant):
            parts.append(f"{name} beats it on goodput and loses nothing: {most(gains)}")
        elif gains:
            parts.append(f"{name} gains {most(gains, 2)}" + (f", but loses {most(losses, 2)}" if losses else ""))
        else:
            parts.append(f"{name} only loses: {most(losses, 2)}")
    return f"Beside {base}: " + "; ".join(parts) + "."
