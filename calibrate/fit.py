"""Fits a cost model to measured iterations and says how far to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from calibrate.points import read_points
from costmodel.facts import GPUS, MODELS, GPUFacts, ModelFacts
from costmodel.fitting import DEFAULT, Errors, cross_validate, draw, errors, fit, intervals, refits
from costmodel.model import Calibrated
from costmodel.points import Points
from costmodel.profile import Profile
from traces.errors import SlosimError

Facts = TypeVar("Facts", ModelFacts, GPUFacts)


@dataclass(frozen=True)
class FitReport:
    """A fitted cost model, its errors on points that were not fitted, and 95 % intervals of its parameters.

    `errors` has an entry for `all` and one for each kind of iteration; `held_out` says which points they come from.
    """

    cost_model: Calibrated
    errors: Mapping[str, Errors]
    intervals: Mapping[str, tuple[float, float]]
    points: int
    held_out: str
    draws: int = 1
    """How many fits to so many points the parameters are the mean of."""
    refits: Sequence[Calibrated] = ()
    """Fits to the points drawn again: what the intervals come from, and what a comparison can be run over."""
    ranges: Mapping[str, int] = field(default_factory=dict)
    """The largest batch among the points (`Points.ranges`): beyond it the model extrapolates."""

    def lines(self) -> list[str]:
        """The report as text: a line per parameter, then a line per kind."""
        parameters = [
            f"{name:24} {getattr(self.cost_model, name):12.5g}   ({low:.4g} to {high:.4g})"
            for name, (low, high) in self.intervals.items()
        ]
        kinds = [
            f"{kind:8}{error.points:6} points: median {error.median:6.2%}, p95 {error.p95:6.2%}, bias {error.bias:+.2%}"
            for kind, error in self.errors.items()
        ]
        fits = (
            f"fitted to {self.points} points"
            if self.draws == 1
            else (f"mean of {self.draws} fits to {self.points} points each; intervals are of the first")
        )
        return [fits, *parameters, f"errors on {self.held_out}:", *kinds]

    def profile(
        self,
        name: str,
        provenance: Mapping[str, Any],
        *,
        model: ModelFacts | None = None,
        gpu: GPUFacts | None = None,
        tensor_parallel: int = 1,
        paper: Mapping[str, float] | None = None,
        keep_draws: bool = False,
        **constants: float,
    ) -> Profile:
        """A profile of the fitted model; `constants` (`host_time`, `per_swapped_token`) are set rather than fitted.

        With `keep_draws` its provenance holds all refits as `draws`: the names of the fitted parameters and a list of
        values for each refit. The constants are not drawn; the refits scatter a little less than the intervals say,
        which are widened for the degrees of freedom that a fit uses.
        """
        rounded = {parameter: brief(getattr(self.cost_model, parameter)) for parameter in self.intervals}
        told = {
            **provenance,
            "fitted_points": self.points,
            "ranges": dict(self.ranges),
            "held_out": self.held_out,
            "held_out_errors": {kind: as_json(error) for kind, error in self.errors.items()},
            "intervals_95": {parameter: [brief(end) for end in ends] for parameter, ends in self.intervals.items()},
        }
        if keep_draws:
            told["draws"] = self._draws()
        cost_model = Calibrated(**rounded | {constant: brief(value) for constant, value in constants.items()})
        return Profile(name, cost_model, model, gpu, tensor_parallel, told, dict(paper or {}))

    def _draws(self) -> dict[str, Any]:
        names = list(self.intervals)
        values = [[brief(getattr(refit, name)) for name in names] for refit in self.refits]
        return {"parameters": names, "values": values}


def fit_points(
    points: Points,
    *,
    test: Points | None = None,
    count: int | None = None,
    draws: int = 1,
    terms: Sequence[str] = DEFAULT,
    resamples: int = 100,
    seed: int = 0,
) -> FitReport:
    """Fits the calibrated form and measures its error on points that were not fitted.

    With `count`, each of `draws` fits takes that many points, as evenly of each kind as there are, and the parameters
    are averaged; without, the model is fitted to all points. Held out are the `test` points if given; else those that
    no draw took (a fifth of each kind at least); else every fifth of the points under a fit of the rest. Raises
    SlosimError for too few points.
    """
    if count is None:
        cost_model, fitted = fit(points, terms), points
        found = errors(cost_model, test) if test else cross_validate(points, terms, seed=seed)
        held_out = "the test points" if test else "each fifth of the points, predicted from the rest"
    else:
        chosen = [draw(points, count, seed + number) for number in range(draws)]
        cost_model = _mean([fit(points.take(indices), terms) for indices in chosen])
        rest = np.setdiff1d(np.arange(len(points)), np.concatenate(chosen))
        fitted, found = points.take(chosen[0]), errors(cost_model, test or points.take(rest))
        held_out = "the test points" if test else f"the points outside {draws} random sets of {count}"
    drawn = refits(fitted, cost_model, terms, resamples, seed)
    reach = intervals(fitted, cost_model, drawn, terms)
    return FitReport(cost_model, found, reach, len(fitted), held_out, draws if count else 1, drawn, points.ranges())


def fit_file(
    path: str | Path,
    *,
    test: str | Path | None = None,
    name: str = "",
    model: str | None = None,
    gpu: str | None = None,
    tensor_parallel: int = 1,
    host_time: float = 0.0,
    terms: Sequence[str] = DEFAULT,
    by: str = "not stated",
    licence: str = "not stated",
) -> tuple[FitReport, Profile]:
    """Fits the points of a file into a profile that names what it was told of the model, the GPU and the measurement.

    `model` and `gpu` are names that `costmodel.MODELS` and `costmodel.GPUS` know, or None: then the profile knows no
    cache size. Raises SlosimError for a bad file or an unknown name.
    """
    facts, hardware = _known(model, MODELS, "model"), _known(gpu, GPUS, "GPU")
    report = fit_points(read_points(path), test=read_points(test) if test else None, terms=terms)
    what = f"iterations in {Path(path).name}" + (f", tested on {Path(test).name}" if test else "")
    told: dict[str, Any] = {
        "measured_on": gpu or "not stated",
        "what": what,
        "by": by,
        "licence": licence,
        "prior": False,
    }
    if host_time:
        told["host_time"] = {"seconds": host_time, "evidence": "set by hand"}
    profile = report.profile(
        name or Path(path).stem,
        told,
        model=facts,
        gpu=hardware,
        tensor_parallel=tensor_parallel,
        keep_draws=True,
        host_time=host_time,
    )
    return report, profile


def _known(name: str | None, facts: Mapping[str, Facts], what: str) -> Facts | None:
    if name is not None and name not in facts:
        raise SlosimError(f"there is no {what} {name!r}: choose from {', '.join(facts)}, or leave it out")
    return facts[name] if name else None


def _mean(models: Sequence[Calibrated]) -> Calibrated:
    names = [name for name in Calibrated.__dataclass_fields__ if not name.startswith("_")]
    return Calibrated(**{name: float(np.mean([getattr(model, name) for model in models])) for name in names})


def brief(value: float) -> float:
    """As far as numbers are told."""
    return float(f"{value:.6g}")


def as_json(error: Errors) -> dict[str, float]:
    """Errors as a JSON object, to a thousandth of a percent."""
    return {name: value if name == "points" else round(value, 5) for name, value in error._asdict().items()}
