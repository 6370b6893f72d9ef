"""Fits the calibrated form to measured iterations: log residuals, bounds, several starts, equal weight per kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from costmodel.model import TILE, Calibrated
from costmodel.points import KINDS, Array, Points
from traces.errors import SlosimError

REQUIRED = ("per_token", "weight_time", "sharpness", "per_pair", "per_context_token", "per_decode")
OPTIONAL = ("tile_share", "per_mixed_context_token", "chunk_floor", "host_time")
DEFAULT = ("tile_share", "per_mixed_context_token", "chunk_floor")
"""The optional terms that are fitted unless told otherwise; host time cannot be told from tau_w by GPU times alone."""
LIMITS = {"sharpness": (1.0, 20.0), "tile_share": (0.0, 1.0), "chunk_floor": (0.0, 1024.0)}
STARTS = ({"sharpness": 1.5, "chunk_floor": 100.0}, {"sharpness": 3.0, "chunk_floor": 300.0}, {"sharpness": 8.0})
"""Where the search begins besides at the best sum of linear terms (p = 1)."""


class Errors(NamedTuple):
    """Relative errors, predicted / measured - 1: how many, median and 95th percentile of their size, and their mean."""

    points: int
    median: float
    p95: float
    bias: float


def predict(model: Calibrated, points: Points) -> Array:
    """Seconds of all iterations at once: `Calibrated.iteration_time` over columns."""
    prefill, pairs = points.prefill_tokens, points.attention_pairs
    size = prefill + points.decode_tokens
    rounded = size + model.tile_share * (TILE * np.ceil(size / TILE) - size)
    power = model.sharpness
    knee = (model.weight_time**power + (model.per_token * rounded) ** power) ** (1 / power)
    length = np.maximum(prefill, 1) / np.maximum(points.prefill_sequences, 1)
    reads = np.maximum(pairs - prefill * length / 2, 0)
    floored = pairs + reads * np.maximum(model.chunk_floor / length - 1, 0)
    slope = model.per_context_token + model.per_mixed_context_token * (prefill > 0)
    decodes = model.per_decode * points.decode_tokens + slope * points.context_tokens
    total: Array = model.host_time + knee + model.per_pair * floored + decodes
    return total


def errors(model: Calibrated, points: Points) -> dict[str, Errors]:
    """The model's relative errors on these points, for `all` and for every kind that occurs."""
    return errors_by_kind(predict(model, points) / points.seconds - 1, points)


def errors_by_kind(relative: Array, points: Points) -> dict[str, Errors]:
    """Sums up relative errors for `all` and for every kind that occurs."""
    groups = {"all": relative} | {kind: relative[points.kinds == index] for index, kind in enumerate(KINDS)}
    return {
        kind: Errors(
            group.size,
            float(np.median(np.abs(group))),
            float(np.percentile(np.abs(group), 95)),
            float(group.mean()),
        )
        for kind, group in groups.items()
        if group.size
    }


def fit(points: Points, terms: Sequence[str] = DEFAULT, start: Calibrated | None = None) -> Calibrated:
    """The parameters with the smallest squared log residuals, every kind weighing the same.

    `terms` are the optional terms to fit besides the required ones. Those that no point can tell (no decodes: beta and
    gamma) stay nought. `start` replaces the several starts, for a refit of nearly the same points. Raises SlosimError
    for an unknown term or fewer points than parameters.
    """
    from scipy.optimize import least_squares

    names = _told(points, terms)
    if len(points) <= len(names):
        raise SlosimError(f"{len(points)} points cannot tell {len(names)} parameters: measure more, or fit fewer terms")
    scale = np.array([_scale(name, points) for name in names])
    low, high = np.array([LIMITS.get(name, (0.0, np.inf)) for name in names]).T / scale
    weights, measured = _weights(points), np.log(points.seconds)

    def residuals(x: Array) -> Array:
        misses: Array = np.log(predict(_model(names, x * scale), points)) - measured
        return weights * misses

    begins = [_vector(names, begin) / scale for begin in ([start] if start else _starts(names, points))]
    searches = (
        least_squares(residuals, np.clip(begin, low, high), bounds=(low, high), method="dogbox", max_nfev=200)
        for begin in begins
    )
    return _model(names, min(searches, key=lambda search: float(search.cost)).x * scale)


def refits(
    points: Points, model: Calibrated, terms: Sequence[str] = DEFAULT, times: int = 100, seed: int = 0
) -> list[Calibrated]:
    """Fits to points drawn again with replacement within each kind, each begun at the fitted model."""
    generator, kinds = np.random.default_rng([seed, 1]), points.kinds
    groups = [np.flatnonzero(kinds == index) for index in np.unique(kinds)]
    draws = (np.concatenate([generator.choice(group, group.size) for group in groups]) for _ in range(times))
    return [fit(points.take(drawn), terms, model) for drawn in draws]


def intervals(
    points: Points, model: Calibrated, drawn: Sequence[Calibrated], terms: Sequence[str] = DEFAULT
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the fitted parameters, from refits of the points.

    Each is the fitted value plus and minus Student's t times the refits' standard deviation, which is widened for the
    degrees of freedom that the fit itself uses: plain percentiles of so few refits cover too little.
    """
    from scipy.stats import t

    names = _told(points, terms)
    values, free = np.array([_vector(names, refit) for refit in drawn]), len(points) - len(names)
    reach = t.ppf(0.975, free) * np.sqrt(len(points) / free) * values.std(axis=0, ddof=1)
    return {
        name: (max(value - width, LIMITS.get(name, (0.0,))[0]), value + width)
        for name, value, width in zip(names, _vector(names, model).tolist(), reach.tolist(), strict=True)
    }


def bootstrap(
    points: Points, model: Calibrated, terms: Sequence[str] = DEFAULT, times: int = 100, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the fitted parameters: `intervals` of so many `refits`."""
    return intervals(points, model, refits(points, model, terms, times, seed), terms)


def cross_validate(points: Points, terms: Sequence[str] = DEFAULT, folds: int = 5, seed: int = 0) -> dict[str, Errors]:
    """Held-out errors: every point is predicted by a fit of the other folds, which are drawn within each kind."""
    fold = np.empty(len(points), np.int64)
    generator, kinds = np.random.default_rng([seed, 2]), points.kinds
    for index in range(len(KINDS)):
        where = np.flatnonzero(kinds == index)
        fold[where] = generator.permutation(where.size) % folds
    relative = np.empty(len(points))
    for held_out in (fold == number for number in range(folds)):
        if held_out.any():
            model, tested = fit(points.take(~held_out), terms), points.take(held_out)
            relative[held_out] = predict(model, tested) / tested.seconds - 1
    return errors_by_kind(relative, points)


def draw(points: Points, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Indices of `count` random points, evenly from the kinds; one and the same fifth of each kind is never drawn."""
    generator, reserve, kinds = np.random.default_rng([seed, 3]), np.random.default_rng(4), points.kinds
    ranks = np.empty(len(points))
    for index in range(len(KINDS)):
        where = reserve.permutation(np.flatnonzero(kinds == index))
        drawn = where[: where.size - where.size // 5]
        ranks[where] = np.inf
        ranks[drawn] = generator.permutation(drawn.size)
    return np.sort(np.lexsort((kinds, ranks))[: min(count, int(np.isfinite(ranks).sum()))])


def _told(points: Points, terms: Sequence[str]) -> list[str]:
    """The parameters that are asked for and that the points can tell."""
    for term in terms:
        if term not in OPTIONAL:
            raise SlosimError(f"there is no optional term {term!r}: choose from {', '.join(OPTIONAL)}")
    untold = set[str]()
    if not points.decode_tokens.any():
        untold |= {"per_context_token", "per_decode", "per_mixed_context_token"}
    if not points.prefill_tokens.any():
        untold |= {"per_pair", "chunk_floor", "per_mixed_context_token"}
    return [name for name in (*REQUIRED, *terms) if name not in untold]


def _weights(points: Points) -> Array:
    shares: Array = 1 / np.sqrt(np.bincount(points.kinds, minlength=len(KINDS)))[points.kinds]
    return shares


def _column(name: str, points: Points) -> Array:
    """What a linear parameter is multiplied by."""
    ones = np.ones(len(points))
    return {
        "per_token": points.prefill_tokens + points.decode_tokens,
        "per_pair": points.attention_pairs,
        "per_context_token": points.context_tokens,
        "per_decode": points.decode_tokens,
        "per_mixed_context_token": points.context_tokens * (points.prefill_tokens > 0),
    }.get(name, ones)


def _scale(name: str, points: Points) -> float:
    """The size of a parameter that alone would explain the measured times, so that the search sees numbers near one."""
    if name in LIMITS:
        return LIMITS[name][1] if name != "sharpness" else 1.0
    column = _column(name, points)
    return float(points.seconds.mean() / max(column.mean(), 1e-12))


def _starts(names: Sequence[str], points: Points) -> list[Calibrated]:
    """The best sum of linear terms, which is the form at p = 1, with several guesses of what is not linear."""
    from scipy.optimize import nnls

    linear = [name for name in REQUIRED if name in names and name not in LIMITS]
    weights = _weights(points) / points.seconds
    scale = np.array([_scale(name, points) for name in linear])
    columns = np.stack([_column(name, points) for name in linear], axis=1) * scale
    values = np.maximum(nnls(columns * weights[:, None], points.seconds * weights)[0], 1e-3) * scale
    sum_of_terms = dict(zip(linear, values.tolist(), strict=True))
    guesses = ({"sharpness": 1.1}, *STARTS)
    return [Calibrated(**sum_of_terms | {"tile_share": 0.3} | guess) for guess in guesses]


def _vector(names: Sequence[str], model: Calibrated) -> Array:
    return np.array([getattr(model, name) for name in names])


def _model(names: Sequence[str], values: Array) -> Calibrated:
    return Calibrated(**dict(zip(names, values.tolist(), strict=True)))
