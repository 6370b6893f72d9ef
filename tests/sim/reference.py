"""The metrics again, in plain Python, token by token and straight from their definitions: slow and obvious."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sim.result import RunResult
from tests.sim.synthetic import FINISHED, NOT_ARRIVED, REJECTED, UNFINISHED, span_times

NAN, INF = float("nan"), float("inf")


class Life:
    """One request and all its tokens."""

    def __init__(self, result: RunResult, number: int) -> None:
        row = {name: column[number].item() for name, column in result.requests.items()}
        self.arrived, self.status, self.asked = row["arrived_at"], row["status"], row["output_tokens"]
        self.ttft_limit, self.tbt_limit, self.jct_limit = row["slo_ttft"], row["slo_tbt"], row["slo_jct"]
        self.finished_at = row["finished_at"]
        spans = [
            {name: int(column[at]) for name, column in result.spans.items()}
            for at in range(len(result.spans["request"]))
            if result.spans["request"][at] == number
        ]
        self.times = [at for span in spans for at in span_times(span, dict(result.iterations))]
        self.gaps = [late - early for early, late in zip(self.times, self.times[1:], strict=False)]
        self.end = result.end
        self.measured = self.status != NOT_ARRIVED and self.arrived >= result.begin

    @property
    def ttft(self) -> float:
        return self.times[0] - self.arrived if self.times else NAN

    @property
    def jct(self) -> float:
        return self.finished_at - self.arrived

    @property
    def tpot(self) -> float:
        return sum(self.gaps) / len(self.gaps) if self.gaps and self.status == FINISHED else NAN

    @property
    def promised(self) -> bool:
        """Whether it has an SLO: the others are not judged."""
        return min(self.ttft_limit, self.tbt_limit, self.jct_limit) < INF

    def jct_verdict(self) -> bool | None:
        if self.jct_limit == INF or self.status == NOT_ARRIVED:
            return None
        if self.status == FINISHED:
            return self.jct <= self.jct_limit
        return False if self.status == REJECTED or self.end > self.arrived + self.jct_limit else None

    def ttft_verdict(self) -> bool | None:
        if self.ttft_limit == INF or self.status == NOT_ARRIVED:
            return None
        if self.times:
            return self.ttft <= self.ttft_limit
        return False if self.status == REJECTED or self.end > self.arrived + self.ttft_limit else None

    def tokens(self) -> list[tuple[float, bool | None]]:
        """When each token came, and whether it met its own SLO (None: not known yet); nan for one that was due."""
        if not self.promised:
            return [(at, None) for at in self.times]
        if self.jct_limit < INF:
            met = self.jct_verdict()
            return [(at, met) for at in self.times] + [(NAN, False)] * (self.asked - len(self.times)) * (met is False)
        waits = [self.ttft, *self.gaps] if self.times else []
        limits = [self.ttft_limit] + [self.tbt_limit] * len(self.gaps)
        came: list[tuple[float, bool | None]] = [
            (at, wait <= limit) for at, wait, limit in zip(self.times, waits, limits, strict=False)
        ]
        return came + [(NAN, False)] * self.owed()

    def owed(self) -> int:
        """Tokens that were due and did not come: each `tbt` after the one before, had they come at the last moment."""
        if self.status == REJECTED:
            return self.asked - len(self.times)
        if self.status != UNFINISHED:
            return 0
        due = self.times[-1] + self.tbt_limit if self.times else self.arrived + self.ttft_limit
        owed = 0
        while due < self.end and len(self.times) + owed < self.asked:
            owed += 1
            due += self.tbt_limit
        return owed

    def met(self) -> bool | None:
        """All SLOs, TPOT for TBT; None while open."""
        if self.status == NOT_ARRIVED or not self.promised:
            return None
        if self.status == REJECTED:
            return False
        until = self.finished_at if self.status == FINISHED else self.end
        mean = (until - self.times[0]) / (self.asked - 1) if self.times and self.asked > 1 else 0.0
        if self.ttft_verdict() is False or self.jct_verdict() is False or mean > self.tbt_limit:
            return False
        return True if self.status == FINISHED else None

    def strict(self) -> bool | None:
        if self.status == NOT_ARRIVED or not self.promised:
            return None
        if self.status == REJECTED or any(met is False for _, met in self.tokens()):
            return False
        return True if self.status == FINISHED else None


def mean(values: list[Any]) -> float:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return sum(known) / len(known) if known else NAN


def summary(result: RunResult, chosen: set[int] | None = None) -> dict[str, float]:
    """What `sim.metrics` must say of these requests (all, unless chosen)."""
    everyone = [Life(result, number) for number in range(len(result)) if chosen is None or number in chosen]
    lives = [life for life in everyone if life.measured]
    tokens = [met for life in lives for _, met in life.tokens() if met is not None]
    timed = [life for life in lives if life.tbt_limit < INF]
    later = [gap <= life.tbt_limit for life in timed for gap in life.gaps]
    later += [False for life in timed for _ in range(life.owed() - (not life.times and life.owed() > 0))]
    came = [(at, met) for life in everyone for at, met in life.tokens() if at >= result.begin]
    seconds = result.end - result.begin
    done = [life for life in everyone if life.finished_at >= result.begin]
    figures = {
        "slo_attainment_tokens": mean(tokens),
        "slo_attainment_requests": mean([life.met() for life in lives]),
        "slo_attainment_strict": mean([life.strict() for life in lives]),
        "slo_attainment_ttft": mean([life.ttft_verdict() for life in lives]),
        "slo_attainment_tbt": mean(later),
        "slo_attainment_jct": mean([life.jct_verdict() for life in lives]),
        "token_throughput": len(came) / seconds if seconds else NAN,
        "goodput": sum(met is True for _, met in came) / seconds if seconds else NAN,
        "request_throughput": len(done) / seconds if seconds else NAN,
        "request_goodput": sum(life.met() is True for life in done) / seconds if seconds else NAN,
    }
    if not any(life.promised and life.status != NOT_ARRIVED for life in everyone):
        figures |= {"goodput": NAN, "request_goodput": NAN}
    normalized = [life.jct / len(life.times) if life.times else NAN for life in lives]
    pools = {
        "ttft": [life.ttft for life in lives],
        "tbt": [gap for life in lives for gap in life.gaps],
        "tpot": [life.tpot for life in lives],
        "jct": [life.jct for life in lives],
        "normalized_latency": normalized,
    }
    for name, pool in pools.items():
        known = [value for value in pool if not math.isnan(value)]
        figures[f"mean_{name}"] = mean(known)
        for percent in (50, 90, 95, 99):
            figures[f"p{percent}_{name}"] = float(np.percentile(known, percent)) if known else NAN
    return figures


def series(result: RunResult, window: float) -> tuple[list[float], list[float]]:
    """Tokens and good tokens per second in windows from the first arrival on."""
    tokens = [one for number in range(len(result)) for one in Life(result, number).tokens() if not math.isnan(one[0])]
    number = max(math.ceil((result.end - result.first_arrival) / window), 1)
    total, good = [0.0] * number, [0.0] * number
    for at, met in tokens:
        place = min(int((at - result.first_arrival) / window), number - 1)
        total[place] += 1 / window
        good[place] += (met is True) / window
    lives = [Life(result, place) for place in range(len(result))]
    judged = any(life.promised and life.status != NOT_ARRIVED for life in lives)
    return total, good if judged else [NAN] * number


def time_share(result: RunResult, values: list[float], begin: float, end: float) -> float:
    """The integral of a value that iterations have while they run, over [begin, end] and all servers, per second."""
    rows = result.iterations
    total = 0.0
    for value, start, stop in zip(values, rows["start"], rows["end"], strict=True):
        total += value * max(0.0, min(stop, end) - max(start, begin))
    return float(total / (end - begin))
