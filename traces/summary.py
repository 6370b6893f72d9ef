"""A trace in numbers and in a few lines: how many requests, how fast, how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from traces.trace import Trace

__all__ = ["describe", "summary"]

_PERCENTILES = (50, 90, 99)


def summary(trace: Trace) -> dict[str, float]:
    """Return the trace's statistics; nan where there are too few requests to say.

    Keys: requests, duration (s, first to last arrival), rate (requests/s: gaps per duration), gap_cv (coefficient of
    variation of the gaps: 1 for Poisson, more when bursty), and mean, min, p50, p90, p99, max and total of
    prompt_tokens and output_tokens, such as prompt_tokens_mean.
    """
    numbers = {"requests": float(len(trace)), **_arrivals(trace.arrived_at)}
    for field in ("prompt_tokens", "output_tokens"):
        numbers |= {f"{field}_{name}": value for name, value in _lengths(getattr(trace, field)).items()}
    return numbers


def describe(trace: Trace) -> str:
    """Return the summary as text: arrivals, lengths, applications, objectives."""
    numbers = summary(trace)
    lines = [f"{trace.name or 'trace'}: {len(trace):,} requests {_coming(numbers)}"]
    for field in ("prompt_tokens", "output_tokens"):
        told = (f"{name} {numbers[f'{field}_{name}']:,.6g}" for name in ("mean", "min", "p50", "p90", "p99", "max"))
        lines.append(f"  {field.replace('_', ' ')}: {', '.join(told)}")
    return "\n".join([*lines, *_labels(trace), _objectives(trace)])


def _arrivals(times: NDArray[np.float64]) -> dict[str, float]:
    gaps = np.diff(times)
    span = float(gaps.sum())
    if not span > 0:
        return {"duration": 0.0, "rate": float("nan"), "gap_cv": float("nan")}
    return {"duration": span, "rate": len(gaps) / span, "gap_cv": float(gaps.std() / gaps.mean())}


def _lengths(tokens: NDArray[np.int32]) -> dict[str, float]:
    if not len(tokens):
        return dict.fromkeys(("mean", "min", *(f"p{share}" for share in _PERCENTILES), "max"), float("nan")) | {
            "total": 0.0
        }
    percentiles = np.percentile(tokens, _PERCENTILES)
    middle = {f"p{share}": float(value) for share, value in zip(_PERCENTILES, percentiles, strict=True)}
    ends = {"max": float(tokens.max()), "total": float(tokens.sum(dtype=np.int64))}
    return {"mean": float(tokens.mean()), "min": float(tokens.min()), **middle, **ends}


def _coming(numbers: dict[str, float]) -> str:
    if not numbers["duration"]:
        return "at once"
    return f"in {numbers['duration']:,.1f} s, {numbers['rate']:.3g} requests/s, gap CV {numbers['gap_cv']:.2f}"


def _labels(trace: Trace) -> list[str]:
    if trace.application_codes is None or not len(trace):
        return []
    counts = np.bincount(trace.application_codes, minlength=len(trace.applications))
    told = (f"{label} {count / len(trace):.1%}" for label, count in zip(trace.applications, counts, strict=True))
    return [f"  applications: {', '.join(told)}"]


def _objectives(trace: Trace) -> str:
    held = {kind: getattr(trace, kind) for kind in ("ttft", "tbt", "jct")}
    told = (f"{kind} of {np.isfinite(values).sum():,}" for kind, values in held.items() if values is not None)
    return f"  objectives: {', '.join(told) or 'none'}"
