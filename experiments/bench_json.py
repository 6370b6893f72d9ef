"""Results in the form of `vllm bench serve --save-result`, so that tools that read its JSON read ours.

Definitions are those of vLLM 0.33 (read in its source), but for the peak concurrency: milliseconds in the keys that
say so; only completed requests count; TPOT leaves out requests of one token, which count as TPOT 0 for goodput; ITL
pools all gaps; percentiles are linear and standard deviations have ddof 0; `duration` runs from the first dispatch to
the last completion; the most output tokens are over 1 s bins from the first dispatch on.

`max_concurrent_requests` is exact, as in vLLM's code after 0.33 (commit 009e6d4a): the most requests in flight at one
moment, each from its dispatch up to, not including, its completion. vLLM 0.33 itself counted a request in every 1 s bin
that it touched, which exceeds the true peak.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.served import Served, served_by
from sim.recorder import FINISHED
from sim.result import RunResult
from sim.statistic import Sample
from sim.tokens import Booleans, Floats
from traces.errors import SlosimError

GOODPUT_NAMES = ("ttft", "tpot", "e2el")


def metrics(
    run: Served,
    good: Booleans | None = None,
    selected: Sequence[str] = ("ttft", "tpot", "itl", "e2el"),
    percentiles: Sequence[float] = (99,),
) -> dict[str, Any]:
    """vLLM's figures under its keys; `good` says which completed requests met their goals (None: nobody asked)."""
    completed, inputs, outputs = len(run.latency), int(run.input_lens.sum()), int(run.output_lens.sum())
    tokens, concurrent = _peaks(run)
    figures: dict[str, Any] = {
        "duration": run.duration,
        "completed": completed,
        "failed": run.failed,
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": _rate(completed, run.duration),
        "request_goodput": None if good is None else _rate(int(good.sum()), run.duration),
        "output_throughput": _rate(outputs, run.duration),
        "total_token_throughput": _rate(inputs + outputs, run.duration),
        "max_output_tokens_per_s": tokens,
        "max_concurrent_requests": concurrent,
        "rtfx": 0.0,
    }
    samples = {"ttft": run.ttft, "tpot": run.tpot, "e2el": run.latency}
    for name in selected:
        sample = run.itl if name == "itl" else Sample.of(samples[name])
        figures |= _described(sample, name, percentiles)
    return figures


def good_requests(run: Served, limits: Mapping[str, float]) -> Booleans:
    """Which completed requests stay within `limits`: milliseconds for ttft, tpot or e2el; raises SlosimError."""
    values = {"ttft": run.ttft, "tpot": np.nan_to_num(run.tpot), "e2el": run.latency}
    good = np.ones(len(run.latency), np.bool_)
    for name, limit in limits.items():
        if name not in values or not limit >= 0:
            raise SlosimError(
                f"goodput {name}:{limit}: expected one of {', '.join(GOODPUT_NAMES)} and milliseconds of at least 0"
            )
        good &= values[name] <= limit / 1000
    return good


def own_goodput(result: RunResult) -> Booleans | None:
    """Which finished requests met the SLOs that the trace gave them; None if it gave none."""
    slos = [np.isfinite(result.requests[f"slo_{name}"]).any() for name in ("ttft", "tbt", "jct")]
    if not any(slos):
        return None
    return np.asarray(result.verdicts.met[result.requests["status"] == FINISHED] == 1)


def bench_json(
    result: RunResult,
    *,
    date: str = "",
    label: str | None = None,
    model: str = "",
    request_rate: float = math.inf,
    burstiness: float = 1.0,
    goodput: Mapping[str, float] | None = None,
    percentiles: Sequence[float] = (50, 90, 95, 99),
    detailed: bool = False,
) -> dict[str, Any]:
    """A run as the object that `vllm bench serve --save-result` writes; `detailed` adds what `--save-detailed` keeps.

    `goodput` are limits in milliseconds (ttft, tpot, e2el); without them a request is good by its own SLOs, if it has
    any. Numbers that do not exist are null.
    """
    run = served_by(result)
    good = own_goodput(result) if goodput is None else good_requests(run, goodput)
    head: dict[str, Any] = {
        "date": date,
        "endpoint_type": "slosim",
        "backend": "slosim",
        "label": label,
        "model_id": model,
        "tokenizer_id": model,
        "num_prompts": int(result.arrived.sum()),
        "request_rate": request_rate if math.isfinite(request_rate) else "inf",
        "burstiness": burstiness,
        "max_concurrency": None,
    }
    lists = {"latencies": run.latency.tolist(), "queue_times": [0.0] * len(run.latency)}
    body = metrics(run, good, percentiles=percentiles) | lists | (_details(result) if detailed else {})
    return head | {key: _json_number(value) for key, value in body.items()}


def _details(result: RunResult) -> dict[str, list[Any]]:
    """Per request that came, in order of arrival, as a client would have seen it; seconds since the run's start."""
    rows, came = result.requests, np.flatnonzero(result.arrived)
    times = [result.token_times(int(number)) for number in came]
    return {
        "input_lens": rows["prompt_tokens"][came].tolist(),
        "output_lens": rows["generated"][came].tolist(),
        "ttfts": np.nan_to_num(rows["first_token_at"] - rows["arrived_at"])[came].tolist(),
        "itls": [np.diff(each).tolist() for each in times],
        "start_times": rows["arrived_at"][came].tolist(),
        "generated_texts": [""] * len(came),
        "errors": [_error(result, int(number)) for number in came],
    }


def _error(result: RunResult, number: int) -> str:
    if result.requests["status"][number] == FINISHED:
        return ""
    return result.rejections.get(number, "unfinished at the horizon")


def _described(sample: Sample, name: str, percentiles: Sequence[float]) -> dict[str, float]:
    """`mean_ttft_ms` and its like; 0 where there is nothing, as vLLM has it."""
    figures = {"mean": sample.mean, "median": sample.percentile(50), "std": sample.deviation}
    figures |= {f"p{percent:g}": sample.percentile(percent) for percent in percentiles}
    return {f"{kind}_{name}_ms": value * 1000 if sample.size else 0.0 for kind, value in figures.items()}


def _peaks(run: Served) -> tuple[float, int]:
    """Most output tokens in any 1 s bin, and most requests in flight at one moment."""
    if not len(run.started):
        return 0.0, 0
    came = run.token_numbers > 0
    seconds = (run.token_times[came] - run.started.min()).astype(np.int64)
    tokens = np.bincount(seconds, run.token_numbers[came])
    return float(tokens.max()), peak_concurrency(run.started, run.started + run.latency)


def peak_concurrency(started: Floats, ended: Floats) -> int:
    """The most of the intervals [started, ended) that hold one moment; seconds, one row per request."""
    moments = np.concatenate([ended, started])
    changes = np.concatenate([np.full(len(ended), -1), np.ones(len(started), np.int64)])
    order = np.argsort(moments, kind="stable")
    return int(np.cumsum(changes[order]).max(initial=0))


def _rate(number: int, seconds: float) -> float:
    return number / seconds if seconds > 0 else 0.0


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
