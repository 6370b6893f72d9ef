"""The metrics of a run, computed from its raw tables: throughput, goodput, SLO attainment, latency, use of the machine.

Times are in seconds, rates per second, shares between 0 and 1; nan says that there was nothing to measure.

- Rates and shares of time are over the time from the first arrival (or the end of the warm-up) to the last finish (or
  the horizon, if that cut requests off), whoever the tokens belong to.
- Latencies and SLO attainment are of the requests that arrived in that time. TTFT is of those that got a first token,
  TBT of all gaps between their tokens, pooled; TPOT, JCT and normalised latency (JCT / output tokens) of the finished.
- SLO attainment and goodput are of the requests that have an SLO; the others are left out, and without any such
  request they are nan. They count what `sim.verdicts` says: rejected requests failed in everything; of requests cut off
  at the horizon, what was due by then and did not come failed, and the rest is left out.
- Events (preemptions, swaps, rejections, unfinished, recomputed tokens, iterations) are of the whole run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.recorder import FINISHED, NOT_ARRIVED, REJECTED, UNFINISHED
from sim.statistic import Sample
from sim.tokens import Booleans, Floats
from sim.utilization import utilization
from sim.verdicts import good_before

if TYPE_CHECKING:
    from sim.result import RunResult

LATENCIES = ("ttft", "tpot", "jct", "normalized_latency")


def summary(result: RunResult) -> dict[str, float]:
    """All metrics of a run."""
    return {
        **rates(result, result.arrived),
        **of_requests(result, result.measured),
        **_machine(result),
        **_events(result),
    }


def of_requests(result: RunResult, chosen: Booleans) -> dict[str, float]:
    """Latencies and SLO attainment of some requests (a mask)."""
    columns = latencies(result)
    figures: dict[str, float] = {"requests": int(chosen.sum())}
    figures |= attainment(result, chosen)
    figures |= Sample.of(columns["ttft"][chosen]).described("ttft")
    gaps = Sample.of(*result.tokens.only(chosen).pooled_gaps())
    figures |= gaps.described("tbt")
    figures["max_tbt"] = float(gaps.values[-1]) if gaps.size else float("nan")
    for name in LATENCIES[1:]:
        figures |= Sample.of(columns[name][chosen]).described(name)
    queued = result.requests["admitted_at"] - result.requests["arrived_at"]
    figures["mean_queue_time"] = Sample.of(queued[chosen]).mean
    return figures


def latencies(result: RunResult) -> dict[str, Floats]:
    """TTFT, TPOT, JCT and normalised latency of every request, seconds; nan where there is none.

    TPOT is undefined for requests of one token.
    """
    rows = result.requests
    generated = np.asarray(rows["generated"], np.float64)
    jct = rows["finished_at"] - rows["arrived_at"]
    later = np.where(generated > 1, generated - 1, np.nan)
    return {
        "ttft": rows["first_token_at"] - rows["arrived_at"],
        "tpot": (rows["finished_at"] - rows["first_token_at"]) / later,
        "jct": jct,
        "normalized_latency": jct / np.where(generated > 0, generated, np.nan),
    }


def attainment(result: RunResult, chosen: Booleans) -> dict[str, float]:
    """Shares of tokens and of requests that met their SLO, among some requests (a mask).

    `tokens`: each against its own SLO (iteration-level); `requests`: all SLOs that a request has, its mean gap (TPOT)
    against TBT; `strict`: requests all of whose tokens came in time, every gap within TBT. Requests without an SLO are
    left out, and each share is nan if nothing is left. `ttft`, `tbt` (tokens after the first) and `jct` are shares of
    those that have such an SLO.
    """
    verdicts, rows = result.verdicts, result.requests
    chosen = chosen & verdicts.promised
    generated = np.asarray(rows["generated"], np.int64)
    judged = generated - verdicts.open_tokens + verdicts.missed_tokens
    timed = chosen & np.isfinite(rows["slo_tbt"])
    gaps = np.maximum(generated - 1, 0)
    return {
        "slo_attainment_tokens": _share(verdicts.good_tokens[chosen], judged[chosen]),
        "slo_attainment_requests": _mean(verdicts.met[chosen]),
        "slo_attainment_strict": _mean(verdicts.strict[chosen]),
        "slo_attainment_ttft": _mean(verdicts.ttft[chosen]),
        "slo_attainment_tbt": _share((gaps - verdicts.late_gaps)[timed], (gaps + verdicts.missed_gaps)[timed]),
        "slo_attainment_jct": _mean(verdicts.jct[chosen]),
    }


def request_columns(result: RunResult) -> dict[str, NDArray[Any]]:
    """The requests' table with latencies and verdicts as columns beside the raw ones."""
    verdicts = result.verdicts
    more = {
        "good_tokens": verdicts.good_tokens,
        "missed_tokens": verdicts.missed_tokens,
        "late_gaps": verdicts.late_gaps,
    }
    shares = {
        "met_ttft": verdicts.ttft,
        "met_jct": verdicts.jct,
        "met_slo": verdicts.met,
        "met_strict": verdicts.strict,
    }
    return {**result.requests, **latencies(result), **more, **shares, "measured": result.measured}


def rates(result: RunResult, chosen: Booleans) -> dict[str, float]:
    """Work of some requests (a mask) per second of the measured time; request goodput counts by `Verdicts.met`.

    The goodputs count requests that have an SLO; nan if none of the chosen has.
    """
    seconds = result.end - result.begin
    finished = chosen & (result.requests["finished_at"] >= result.begin)
    tokens, good = _tokens_in_time(result)
    totals = {
        "request_throughput": finished.sum(),
        "token_throughput": tokens[chosen].sum(),
        "goodput": good[chosen].sum(),
        "request_goodput": (result.verdicts.met[finished] == 1).sum(),
    }
    figures = {name: float(total / seconds) if seconds > 0 else float("nan") for name, total in totals.items()}
    if not result.verdicts.promised[chosen].any():
        figures |= dict.fromkeys(("goodput", "request_goodput"), float("nan"))
    return figures


def _tokens_in_time(result: RunResult) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens of each request that came in the measured time, and the good ones among them."""
    tokens, good = result.tokens.generated(len(result)), result.verdicts.good_tokens
    if result.begin == result.first_arrival:
        return tokens, good
    early, early_good = good_before(result.requests, result.tokens, result.verdicts, result.begin)
    return tokens - early, good - early_good


def _machine(result: RunResult) -> dict[str, float]:
    """Utilisation, and what iterations were like."""
    rows = result.iterations
    shares = utilization(result, np.array([result.begin, result.end]))
    seconds = rows["end"] - rows["start"]
    computed = np.flatnonzero((rows["prefill_tokens"] + rows["decode_tokens"] > 0) & (rows["start"] >= result.begin))
    each = {
        "iteration_time": seconds,
        "forward_size": rows["prefill_tokens"] + rows["decode_tokens"],
        "batch_size": rows["sequences"],
        "schedule_seconds": rows["schedule_seconds"],
    }
    return {name: float(share[0]) for name, share in shares.items()} | {
        f"mean_{name}": float(np.mean(values[computed])) if len(computed) else float("nan")
        for name, values in each.items()
    }


def _events(result: RunResult) -> dict[str, float]:
    """What happened how often in the whole run, and how long it was."""
    rows = result.requests
    counts = {
        name: int((rows["status"] == status).sum())
        for name, status in (
            ("finished", FINISHED),
            ("rejections", REJECTED),
            ("unfinished", UNFINISHED),
            ("not_arrived", NOT_ARRIVED),
        )
    }
    totals = {name: int(rows[name].sum()) for name in ("preemptions", "swaps", "recomputed_tokens")}
    finished = rows["finished_at"]
    last = np.max(finished, initial=-np.inf, where=~np.isnan(finished))
    return {
        **counts,
        **totals,
        "iterations": len(result.iterations["end"]),
        "makespan": float(last - result.first_arrival) if np.isfinite(last) else float("nan"),
        "duration": result.end - result.begin,
    }


def _share(part: NDArray[Any], whole: NDArray[Any]) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")


def _mean(verdicts: Floats) -> float:
    known = verdicts[~np.isnan(verdicts)]
    return float(known.mean()) if len(known) else float("nan")
