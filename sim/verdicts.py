"""Which tokens and which requests met their SLO.

A token's own SLO: the first token comes within `ttft` of the arrival, each later one within `tbt` of the one before.
Where a request has a JCT SLO, all its tokens stand or fall with that alone. A token without an SLO of its own, of a
request that has one for other tokens, meets it.

A request without any SLO is not judged: its verdicts are nan, and its tokens are neither good nor missed.

What never came: a rejected request failed in all the tokens that were asked of it and did not come. A request that the
horizon cut off failed in what was due by then (the tokens that a server exactly on time would have given), and the rest
is left open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.lateness import late_gaps
from sim.recorder import FINISHED, NOT_ARRIVED, REJECTED, UNFINISHED
from sim.tokens import Booleans, Floats, Integers, Tokens, coverage

Requests = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One row per request, unless said otherwise. A float is 1 (met), 0 (missed) or nan (open, or no such SLO)."""

    promised: Booleans
    """Which requests have an SLO: only those are judged."""
    ttft: Floats
    jct: Floats
    met: Floats
    """All SLOs that the request has: TTFT, mean gap (TPOT) within `tbt` (as vLLM's goodput has it), JCT."""
    strict: Floats
    """Every one of its tokens came in time: every gap within `tbt`."""
    good_tokens: Integers
    """Tokens that came and met their own SLO."""
    missed_tokens: Integers
    """Tokens that were due and never came."""
    open_tokens: Integers
    """Tokens that came and cannot be judged yet, because their request's JCT is open."""
    late_gaps: Integers
    """Tokens after the first that came more than `tbt` after the one before."""
    missed_gaps: Integers
    """Tokens after the first that were due by `tbt` and never came."""
    good_single: Booleans
    """Which of the tokens in `Tokens.singles` were good (one row each)."""
    good_inner: Integers
    """Good plain tokens of each decode step (one row each)."""


def judge(requests: Requests, tokens: Tokens, end: float) -> Verdicts:
    """Judges all requests as things stand at `end` (seconds)."""
    whole, asked = np.isfinite(requests["slo_jct"]), promised(requests)
    ttft, jct = _objective(requests, "ttft", "first_token_at", end), _objective(requests, "jct", "finished_at", end)
    late = late_gaps(tokens, np.where(whole, np.inf, requests["slo_tbt"]))
    of_whole = late_gaps(tokens, np.where(whole, requests["slo_tbt"], np.inf)).of_request if whole.any() else 0
    missed_first, missed_gaps = _missed(requests, tokens, end)
    generated = tokens.generated(len(whole))
    good = np.where(asked, _good(whole, generated, late.of_request, ttft, jct), 0)
    left_open = np.where(whole & np.isnan(jct), generated, 0)
    lost = np.where(jct == 0, requests["output_tokens"] - generated, 0)
    missed = np.where(asked, np.where(whole, lost, missed_first + missed_gaps), 0)
    met = _together(requests, (ttft == 0) | (_tpot(requests, end) == 0) | (jct == 0))
    strict = _together(requests, good + left_open < generated + missed)
    return Verdicts(
        asked,
        ttft,
        jct,
        np.where(asked, met, np.nan),
        np.where(asked, strict, np.nan),
        good,
        missed,
        left_open,
        late.of_request + of_whole,
        missed_gaps,
        _good_single(requests, tokens, whole, ttft, jct) & asked[tokens.singles.request],
        _good_inner(tokens, ~asked | whole & ~(jct == 1)) - late.at_step,
    )


def promised(requests: Requests) -> Booleans:
    """Which requests have an SLO of any kind."""
    return np.asarray(np.isfinite([requests[f"slo_{name}"] for name in ("ttft", "tbt", "jct")]).any(axis=0))


def good_before(requests: Requests, tokens: Tokens, verdicts: Verdicts, moment: float) -> tuple[Integers, Integers]:
    """Tokens of each request that came before a moment (seconds), and how many of them were good."""
    whole = np.isfinite(requests["slo_jct"])
    early = tokens.before(moment)
    generated = early.generated(len(whole))
    late = late_gaps(early, np.where(whole, np.inf, requests["slo_tbt"])).of_request
    return generated, np.where(verdicts.promised, _good(whole, generated, late, verdicts.ttft, verdicts.jct), 0)


def _good(whole: Booleans, generated: Integers, late: Integers, ttft: Floats, jct: Floats) -> Integers:
    """Of the tokens generated, those that met their own SLO; `late` counts late gaps."""
    in_time = generated - late - ((ttft == 0) & (generated > 0))
    return np.asarray(np.where(whole, np.where(jct == 1, generated, 0), in_time))


def _objective(requests: Requests, name: str, event: str, end: float) -> Floats:
    """The verdict on a time since arrival."""
    limit, came = requests[f"slo_{name}"], requests[event]
    never = (requests["status"] == REJECTED) | (end - requests["arrived_at"] > limit)
    verdict = np.where(np.isnan(came), np.where(never, 0.0, np.nan), came - requests["arrived_at"] <= limit)
    return np.where(np.isfinite(limit), verdict, np.nan)


def _tpot(requests: Requests, end: float) -> Floats:
    """The verdict on the mean gap against `tbt`; a cut-off request fails once its mean cannot come down to it."""
    finished = ~np.isnan(requests["finished_at"])
    until = np.where(finished, requests["finished_at"], end)
    mean = (until - requests["first_token_at"]) / np.maximum(requests["output_tokens"] - 1, 1)
    verdict = np.where(mean > requests["slo_tbt"], 0.0, np.where(finished, 1.0, np.nan))
    return np.where(np.isfinite(requests["slo_tbt"]), verdict, np.nan)


def _together(requests: Requests, failed: Booleans) -> Floats:
    """One verdict on a request of which something may have failed."""
    status = requests["status"]
    passed = np.where(status == FINISHED, 1.0, np.nan)
    return np.where(failed & (status != NOT_ARRIVED) | (status == REJECTED), 0.0, passed)


def _missed(requests: Requests, tokens: Tokens, end: float) -> tuple[Integers, Integers]:
    """Tokens that were due and never came: first ones, and later ones."""
    generated, asked = requests["generated"], np.asarray(requests["output_tokens"], np.int64)
    rejected, cut_off = requests["status"] == REJECTED, requests["status"] == UNFINISHED
    none = generated == 0
    due_at = np.where(
        none, requests["arrived_at"] + requests["slo_ttft"], tokens.last_at(len(none)) + requests["slo_tbt"]
    )
    over = np.where(due_at < end, end - due_at, 0.0)
    owed = np.where(over > 0, np.maximum(np.ceil(over / requests["slo_tbt"]), 1.0), 0.0)
    left = asked - generated
    owed = np.where(cut_off, np.minimum(owed, left), np.where(rejected, left, 0)).astype(np.int64)
    first = (none & (owed > 0)).astype(np.int64)
    return first, owed - first


def _good_single(requests: Requests, tokens: Tokens, whole: Booleans, ttft: Floats, jct: Floats) -> Booleans:
    owner, _, gap = tokens.singles
    in_time = np.where(np.isnan(gap), ttft[owner] != 0, gap <= requests["slo_tbt"][owner])
    return np.asarray(np.where(whole[owner], jct[owner] == 1, in_time))


def _good_inner(tokens: Tokens, spoilt: Booleans) -> Integers:
    """Plain tokens of each step, those of spoilt requests aside."""
    begin, end = (edge[~spoilt[tokens.request]] for edge in tokens.inner())
    return coverage(begin, end, len(tokens.step_ends))
