"""The missed SLOs of a run, rolled up: how many, how far, and what made them so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sim.attribution.attribution import Attribution
from sim.attribution.causes import EXCESSES, Parts, over
from sim.result import RunResult
from sim.tokens import Booleans, Floats

LEAST = 1e-6
"""Seconds below which a sum is rounding and shown as nought."""


@dataclass(frozen=True)
class Missed:
    """One kind of SLO."""

    asked: int
    """Requests that have such an SLO."""
    late: int
    """Of these, those that were late: a first token, any later token, the whole."""
    never: int
    """Of these, those that failed because something never came: rejected, or cut off. They have no causes here."""
    events: int
    """What was late: the requests, or of later tokens the tokens."""
    excess: Mapping[str, float]
    """Seconds over the SLO, all requests together, by `EXCESSES`."""
    mainly: Mapping[str, int]
    """Late requests by what made most of their excess."""

    @classmethod
    def of(cls, asked: Booleans, late: Booleans, never: Booleans, events: int, parts: Parts) -> Missed:
        """From masks over requests and the excess of the late ones."""
        sums = parts.sum(axis=1)
        most = np.bincount(parts.argmax(axis=0), minlength=len(EXCESSES)) if parts.size else np.zeros(len(EXCESSES))
        return cls(
            int(asked.sum()),
            int(late.sum()),
            int(never.sum()),
            events,
            {name: _rounded(value) for name, value in zip(EXCESSES, sums.tolist(), strict=True)},
            {name: int(value) for name, value in zip(EXCESSES, most.tolist(), strict=True)},
        )

    @property
    def total(self) -> float:
        """Seconds over the SLO in all."""
        return sum(self.excess.values())


@dataclass(frozen=True)
class RollUp:
    """Of the measured requests of one run."""

    ttft: Missed
    tbt: Missed
    jct: Missed
    delay: Mapping[str, float]
    """Mean seconds of a finished request's completion time: alone, and each cause."""
    first_delay: Mapping[str, float]
    """Mean seconds of the time to first token of those that got one: alone, and each cause."""

    def summary(self) -> dict[str, float]:
        """As flat numbers: `ttft_excess_queueing` (seconds per request that has the SLO), `jct_delay_queueing`, ..."""
        figures: dict[str, float] = {}
        for kind in ("ttft", "tbt", "jct"):
            missed: Missed = getattr(self, kind)
            figures[f"{kind}_late"], figures[f"{kind}_never"] = missed.late, missed.never
            for name, seconds in missed.excess.items():
                figures[f"{kind}_excess_{name}"] = seconds / missed.asked if missed.asked else float("nan")
                figures[f"{kind}_mainly_{name}"] = missed.mainly[name]
        for name in EXCESSES:
            figures[f"jct_delay_{name}"] = self.delay[name]
            figures[f"ttft_delay_{name}"] = self.first_delay[name]
        return figures


def roll_up(result: RunResult, causes: Attribution) -> RollUp:
    """Rolls up what `attribute` found."""
    requests, verdicts, measured = result.requests, result.verdicts, result.measured
    ttft = np.asarray(requests["first_token_at"] - requests["arrived_at"])
    timed = {kind: measured & np.isfinite(requests[f"slo_{kind}"]) for kind in ("ttft", "tbt", "jct")}
    came, finished = ~np.isnan(ttft), ~np.isnan(requests["finished_at"])
    first, whole = verdicts.ttft == 0, verdicts.jct == 0
    gaps = timed["tbt"] & (causes.late_gaps > 0)
    alone, parts = causes.first_alone + causes.later_alone, causes.first + causes.later
    return RollUp(
        _missed(timed["ttft"], first, came, causes.first_alone, causes.first, requests["slo_ttft"]),
        Missed.of(
            timed["tbt"],
            gaps,
            timed["tbt"] & ~gaps & (verdicts.missed_gaps > 0),
            int(causes.late_gaps[gaps].sum()),
            causes.late[:, gaps],
        ),
        _missed(timed["jct"], whole, finished, alone, parts, requests["slo_jct"]),
        _means(alone, parts, measured & finished),
        _means(causes.first_alone, causes.first, measured & came),
    )


def _missed(asked: Booleans, missed: Booleans, came: Booleans, alone: Floats, parts: Parts, limit: Floats) -> Missed:
    late = asked & missed & came
    excess = over(parts[:, late], alone[late], limit[late])
    return Missed.of(asked, late, asked & missed & ~came, int(late.sum()), excess)


def _means(alone: Floats, parts: Parts, chosen: Booleans) -> dict[str, float]:
    number = max(int(chosen.sum()), 1)
    sums = np.vstack([alone, parts])[:, chosen].sum(axis=1) / number
    return {name: _rounded(value) for name, value in zip(EXCESSES, sums.tolist(), strict=True)}


def _rounded(seconds: float) -> float:
    return seconds if abs(seconds) > LEAST else 0.0
