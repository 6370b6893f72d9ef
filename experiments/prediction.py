"""Predicts a measured run: calibrate on some of the engine's iterations, simulate its requests, compare.

The cost model is fitted by `calibrate.fit` to a few of the iterations, several times, and averaged. Host time, which
GPU times alone do not tell, is the only quantity set on the trace: by bisection, so that the mean latency agrees. All
else is prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.fit import FitReport, fit_points
from calibrate.points import read_points
from costmodel.model import Calibrated
from experiments.engine_case import EngineCase
from sim.result import RunResult
from sim.simulation import simulate
from traces.errors import SlosimError

Floats = NDArray[np.float64]
METRICS = ("ttft", "tpot", "latency")
LONGEST_HOST_TIME = 0.25
"""Seconds of host time per iteration that are tried at most."""
PLAUSIBLE_HOST_TIME = 0.005
"""Seconds of host time per iteration that engines take at most; more stands for something else (inferred)."""
STATISTICS = ("mean", "p50", "p90", "p99")


class Pair(NamedTuple):
    """A figure as simulated and as measured."""

    predicted: float
    real: float

    @property
    def error(self) -> float:
        """Relative: predicted / real - 1."""
        return self.predicted / self.real - 1 if self.real else float("nan")


@dataclass(frozen=True)
class Prediction:
    """A measured run beside its simulation; seconds."""

    case: EngineCase
    report: FitReport
    host_time: float
    predicted: Mapping[str, Floats]
    """Per request: ttft, tpot (nan for one token), latency, finished_at."""
    real: Mapping[str, Floats]
    preemptions: int
    fitted: bool = True
    """Whether the host time was set on the trace."""
    ignored: tuple[str, ...] = ()
    """Settings of the engine that are not modelled and were ignored on request."""

    @property
    def warnings(self) -> list[str]:
        """What makes the prediction less than one: a host time that stands for something else, a cache not said."""
        told = [f"{name} is not modelled and was ignored" for name in self.ignored]
        if self.fitted and self.host_time <= 0:
            told.append(
                "the fitted host time is clipped at 0: even without any, the simulation is slower than measured"
            )
        elif self.fitted and self.host_time > PLAUSIBLE_HOST_TIME:
            told.append(
                f"the fitted host time of {1e3 * self.host_time:.1f} ms is beyond the few milliseconds that an engine "
                "takes: it makes up for something that the cost model or the policy lacks"
            )
        if self.case.cache_unlimited:
            told.append("num_gpu_blocks is not given: cache assumed unlimited")
        return told

    def figures(self, metric: str) -> dict[str, Pair]:
        """Mean and percentiles over requests."""
        ours, theirs = (_statistics(each[metric]) for each in (self.predicted, self.real))
        return {name: Pair(ours[name], theirs[name]) for name in STATISTICS}

    def request_errors(self, metric: str) -> dict[str, float]:
        """Relative errors request by request: mean, median and 95th percentile of their size."""
        real = self.real[metric]
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(self.predicted[metric] / real - 1)
        known = size[np.isfinite(size)]
        if not len(known):
            return dict.fromkeys(("mean", "median", "p95"), float("nan"))
        return {"mean": float(known.mean()), "median": float(np.median(known)), "p95": float(np.percentile(known, 95))}

    @property
    def makespan(self) -> Pair:
        """From the first arrival to the last finish."""
        begin = float(self.case.trace.arrived_at[0])
        return Pair(float(self.predicted["finished_at"].max()) - begin, float(self.real["finished_at"].max()) - begin)

    def as_json(self) -> dict[str, object]:
        """Everything as an object of numbers."""
        return {
            "case": self.case.name,
            "requests": len(self.case.trace),
            "failed_requests_left_out": self.case.failed,
            "policy": repr(self.case.policy()),
            "kv_blocks": self.case.kv_blocks,
            "block_size": self.case.block_size,
            "host_time": self.host_time,
            "set_on_the_trace": ["host_time"] if self.fitted else [],
            "cache_assumed_unlimited": self.case.cache_unlimited,
            "warnings": self.warnings,
            "fitted_points": self.report.points,
            "cost_model": {name: getattr(self.report.cost_model, name) for name in self.report.intervals},
            "held_out_errors": {kind: error._asdict() for kind, error in self.report.errors.items()},
            "metrics": {metric: self._metric(metric) for metric in METRICS},
            "makespan": _as_json(self.makespan),
            "preemptions": self.preemptions,
        }

    def _metric(self, metric: str) -> dict[str, object]:
        figures = {name: _as_json(pair) for name, pair in self.figures(metric).items()}
        return {**figures, "request_errors": self.request_errors(metric)}


def predict(
    case: EngineCase,
    points: int = 160,
    draws: int = 5,
    host_time: float | None = None,
    seed: int = 0,
    ignored: Sequence[str] = (),
) -> Prediction:
    """Calibrates, sets the host time on the trace unless it is given (seconds), simulates.

    Raises NotModelled for settings of the engine that no policy models, unless they are ``ignored``.
    """
    case.refuse_unmodelled(ignored)
    fitted = host_time is None
    report = fit_points(read_points(case.folder / "iterations.csv"), count=points, draws=draws, resamples=20, seed=seed)
    real = latencies(case, case.first_token_at, case.finished_at)
    if host_time is None:
        host_time = solve_host_time(case, report.cost_model, float(real["latency"].mean()))
    result = serve(case, report.cost_model, host_time)
    rows = result.requests
    predicted = latencies(case, rows["first_token_at"], rows["finished_at"])
    return Prediction(case, report, host_time, predicted, real, int(rows["preemptions"].sum()), fitted, tuple(ignored))


def serve(case: EngineCase, cost_model: Calibrated, host_time: float) -> RunResult:
    """The case's requests, simulated with the engine's settings."""
    result = simulate(
        case.trace,
        case.policy(),
        replace(cost_model, host_time=host_time),
        kv_blocks=case.kv_blocks,
        block_size=case.block_size,
        coast=False,
    )
    if result.rejections:
        number, why = next(iter(result.rejections.items()))
        raise SlosimError(
            f"{case.folder}: request {number + 1} in order of arrival was served by the real engine, but {why}"
        )
    return result


def solve_host_time(case: EngineCase, cost_model: Calibrated, mean_latency: float, steps: int = 24) -> float:
    """The host time (seconds) at which the simulated mean latency is the measured one; 0 if even that is too slow."""

    def latency(host_time: float) -> float:
        return float((serve(case, cost_model, host_time).requests["finished_at"] - case.trace.arrived_at).mean())

    low, high = 0.0, 0.002
    if latency(low) >= mean_latency:
        return 0.0
    while latency(high) < mean_latency and high < LONGEST_HOST_TIME:
        low, high = high, 2 * high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if latency(middle) < mean_latency else (low, middle)
    return (low + high) / 2


def latencies(case: EngineCase, first_token_at: Floats, finished_at: Floats) -> dict[str, Floats]:
    """TTFT, TPOT and latency of each request, seconds."""
    later = np.where(case.trace.output_tokens > 1, case.trace.output_tokens - 1.0, np.nan)
    return {
        "ttft": first_token_at - case.trace.arrived_at,
        "tpot": (finished_at - first_token_at) / later,
        "latency": finished_at - case.trace.arrived_at,
        "finished_at": finished_at,
    }


def _statistics(values: Floats) -> dict[str, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return dict.fromkeys(STATISTICS, float("nan"))
    percentiles = np.percentile(known, (50, 90, 99)).tolist()
    return dict(zip(STATISTICS, (float(known.mean()), *percentiles), strict=True))


def _as_json(pair: Pair) -> dict[str, float]:
    return {"predicted": pair.predicted, "real": pair.real, "error": pair.error}
