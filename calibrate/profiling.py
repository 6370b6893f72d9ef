"""From measurements to a profile: the calibrated form, host time, copies, Equation (4) beside it, and where from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calibrate.copies import Copies, copies
from calibrate.fit import FitReport, as_json, fit_points
from calibrate.grid import HELD_OUT, UNIFORM
from calibrate.measurements import Measurements, points
from costmodel.facts import GPUS, ModelFacts
from costmodel.fitting import Errors, errors, errors_by_kind
from costmodel.model import Equation4
from costmodel.pivot import SATURATED
from costmodel.points import Array, Points
from costmodel.profile import Profile
from traces.errors import SlosimError


@dataclass(frozen=True)
class Calibration:
    """What measurements come to: the fit with its errors, the profile made of it, and what a report shows besides."""

    measurements: Measurements
    report: FitReport
    profile: Profile
    whole_errors: Mapping[str, Errors]
    """Of whole iterations that were held out, host time included."""
    equation: Equation4
    """Equation (4) at the rate of saturated prompts, whole iterations."""
    copies: Copies | None

    def lines(self) -> list[str]:
        """The outcome as text."""
        size, seconds, exact = self.profile.pivot
        scaling = scaling_errors(self)
        told = [
            *self.report.lines(),
            f"whole iterations, host time of {1000 * self.profile.provenance['host_time']['seconds']:.3f} ms included:",
            *(
                f"{kind:8}{error.points:6} points: median {error.median:6.2%}, p95 {error.p95:6.2%}, "
                f"bias {error.bias:+.2%}"
                for kind, error in self.whole_errors.items()
            ),
            _noise_line(self.measurements.noise),
            f"S_pf {size} tokens (from {exact}), T_pf {1000 * seconds:.1f} ms",
        ]
        if scaling is not None:
            told.append(
                f"Equation (4) on uniform prompts: {scaling['smallest']:+.1%} at the smallest batch, "
                f"{scaling['largest']:+.1%} at the largest; measured S_pf {scaling['pivot_measured']:.0f}"
            )
        if self.copies:
            told.append(_copies_line(self.copies))
        return told


def _noise_line(noise: float) -> str:
    return "noise floor: unknown, one pass only" if np.isnan(noise) else f"noise floor: passes differ by {noise:.2%}"


def _copies_line(found: Copies) -> str:
    return (
        f"copies: {1e6 * found.out.per_token:.3g} us/token out, {1e6 * found.back.per_token:.3g} us/token back; "
        f"from {found.crossover:.0f} tokens on, copying both ways takes less time than computing anew"
    )


def calibrated(
    measurements: Measurements, facts: ModelFacts, *, by: str, licence: str, resamples: int = 100, seed: int = 0
) -> Calibration:
    """Fits the measurements; raises SlosimError if there are too few of them.

    Parameters are fitted to device times; host time is the median of what iterations take beyond them, because a fit
    cannot tell it from the weights' time. Held out are the batches drawn for it, which are never fitted.
    """
    if not measurements.of("prompts"):
        raise SlosimError("no prompt is measured alone yet, which Equation (4) needs: measure longer (--minutes)")
    fitted, held_out = measurements.fitted, measurements.held_out
    report = fit_points(fitted, test=held_out if len(held_out) else None, resamples=resamples, seed=seed)
    moved = copies(measurements.rows)
    profile = _profile(measurements, report, facts, moved, {"by": by, "licence": licence})
    equation = equation4(points(measurements.of("prompts"), "whole_ms"), facts, profile.pivot.forward_size)
    model = replace(report.cost_model, host_time=measurements.host.seconds)
    whole = points(measurements.of(HELD_OUT), "whole_ms")
    made = Calibration(measurements, report, profile, errors(model, whole) if len(whole) else {}, equation, moved)
    scaling = scaling_errors(made)
    told: dict[str, Any] = {
        **profile.provenance,
        "held_out_errors_whole": {k: as_json(e) for k, e in made.whole_errors.items()},
    }
    told["equation_4"] = {"rate": equation.rate} | {name: round(value, 5) for name, value in (scaling or {}).items()}
    return replace(made, profile=replace(profile, provenance=told))


def equation4(prompts: Points, facts: ModelFacts, saturated: int) -> Equation4:
    """Equation (4) at the one rate that misses prompts of at least S_pf tokens least (log residuals; inferred).

    There it is at its best, because operations are all that it knows. Where no prompt is as long, the longest counts.
    """
    longest = float(prompts.prefill_tokens.max())
    prompts = prompts.take(prompts.prefill_tokens >= min(saturated, longest))
    unit = np.array([facts.operations(shape) for shape in prompts.shapes()])
    return Equation4(facts, float(np.exp(np.mean(np.log(unit / prompts.seconds)))))


def uniform(measurements: Measurements) -> tuple[Array, Array, Points] | None:
    """The paper's profiling experiment: forward sizes, tokens per second, and the whole iterations; None if missing."""
    batches = sorted(measurements.of(UNIFORM), key=lambda rows: rows[0]["prefill_tokens"])
    if len(batches) < 2:
        return None
    found = points(batches, "whole_ms")
    return found.prefill_tokens, found.prefill_tokens / found.seconds, found


def scaling_errors(made: Calibration) -> dict[str, float] | None:
    """How Equation (4) scales over the uniform prompts: relative errors at both ends, and S_pf as measured there."""
    measured = uniform(made.measurements)
    if measured is None:
        return None
    sizes, throughput, found = measured
    predicted = np.array([made.equation.iteration_time(shape) for shape in found.shapes()])
    relative = predicted / found.seconds - 1
    saturated = sizes[np.flatnonzero(throughput >= SATURATED * throughput.max())[0]]
    error = errors_by_kind(relative, found)["all"]
    ends = {"smallest": float(relative[0]), "largest": float(relative[-1])}
    return {**ends, "median": error.median, "bias": error.bias, "pivot_measured": float(saturated)}


def _profile(
    measurements: Measurements,
    report: FitReport,
    facts: ModelFacts,
    moved: Copies | None,
    who: Mapping[str, str],
) -> Profile:
    about, host = measurements.about, measurements.host
    gpu = GPUS.get(about["gpu"] or "")
    return report.profile(
        profile_name(about),
        _told(measurements, moved) | dict(who),
        model=facts,
        gpu=gpu,
        tensor_parallel=about["shards"],
        keep_draws=True,
        host_time=host.seconds,
        per_swapped_token=moved.per_token if moved else 0.0,
    )


def _told(measurements: Measurements, moved: Copies | None) -> dict[str, Any]:
    about, host = measurements.about, measurements.host
    evidence = "median by which an iteration with its answer exceeds the forward on the device, of all batches measured"
    shards = ", one tensor-parallel shard alone, without the others' all-reduce" if about["shards"] > 1 else ""
    told: dict[str, Any] = {
        "measured_on": about["device"],
        "what": f"iterations of {about['model']} in {about['dtype']}, {about['weights']} weights{shards}; device time",
        "prior": False,
        "host_time": {"seconds": host.seconds, "evidence": evidence, "by_launch": host.by_launch},
        "device": {name: about[name] for name in ("device", "driver", "cuda", "torch") if name in about},
        "attention": about["attention"],
        "noise_floor": measurements.noise if np.isfinite(measurements.noise) else None,
    }
    if measurements.clocks:
        told["clocks_mhz"] = measurements.clocks
    if moved:
        crossover = moved.crossover if np.isfinite(moved.crossover) else None
        told["copies"] = {"out": moved.out._asdict(), "back": moved.back._asdict(), "crossover_tokens": crossover}
    return told


def profile_name(about: Mapping[str, Any]) -> str:
    """model@device, with -tpN for one of N shards."""
    device = about["gpu"] or re.sub(r"[^a-z0-9]+", "-", about["device"].lower()).strip("-")
    return f"{about['model']}@{device}" + (f"-tp{about['shards']}" if about["shards"] > 1 else "")
