"""What a roll-up says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from experiments.causes.table import NAMES
from experiments.drawing import duration
from experiments.escaping import literally
from sim.attribution import EXCESSES, Missed, RollUp

WORTH_SAYING = 0.05
"""Shares below this are left out of a sentence."""
THINGS = {"ttft": "first tokens", "tbt": "requests with late later tokens", "jct": "jobs"}


def why_late(name: str, rolled: RollUp) -> str:
    """One policy: how many first tokens (or jobs) were late, by how much, and of what that is made."""
    name = literally(name)
    kind = next((each for each in ("ttft", "jct", "tbt") if getattr(rolled, each).asked), "")
    if not kind:
        return f"{name}: no request has an SLO"
    missed: Missed = getattr(rolled, kind)
    if not missed.late:
        return f"{name}: no late {THINGS[kind]}"
    never = f", {missed.never:,} never came" if missed.never else ""
    late = f"{missed.late:,} of {missed.asked:,} {THINGS[kind]} late{never}"
    return f"{name}: {late}, by {duration(missed.total / missed.late)} on average: {shares(missed)}"


def shares(missed: Missed) -> str:
    """The largest causes as shares of all the time over the SLO."""
    parts = sorted(missed.excess.items(), key=lambda part: -part[1])
    told = [(name, seconds / missed.total) for name, seconds in parts if missed.total > 0]
    return ", ".join(f"{100 * share:.0f} % {NAMES[name]}" for name, share in told if share >= WORTH_SAYING)


def differences(rolled: Mapping[str, RollUp], baseline: str) -> Iterator[str]:
    """Each policy beside the baseline: where its completion times are shorter or longer."""
    theirs = rolled[baseline]
    for name, one in rolled.items():
        if name == baseline:
            continue
        change = {cause: one.delay[cause] - theirs.delay[cause] for cause in EXCESSES}
        total = sum(change.values())
        told = [
            f"{duration(abs(seconds))} {'more' if seconds > 0 else 'less'} for {NAMES[cause]}"
            for cause, seconds in sorted(change.items(), key=lambda part: -abs(part[1]))
            if cause != "alone" and abs(seconds) >= WORTH_SAYING * max(abs(total), 1e-9)
        ]
        if told:
            way = "longer" if total > 0 else "shorter"
            ours, others = literally(name), literally(baseline)
            yield f"{ours}'s mean JCT is {duration(abs(total))} {way} than {others}'s: {', '.join(told)}"
