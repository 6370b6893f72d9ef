"""The workloads of the AccelGen paper, and mixes like them.

Stated by the paper: 35 % BookCorpus in the mix; 20,000 requests sampled with replacement; Poisson arrivals at 8
requests/s. Recalled from the same authors' EconoServe: 36, 28 and 1.2 requests/s for the applications alone. Inferred:
the other 65 % are half Alpaca, half ShareGPT. The lengths, and what is known of them, are in `traces.fits`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from traces.arrivals import Arrivals, Poisson
from traces.distributions import Shares
from traces.errors import SlosimError
from traces.fits import lengths
from traces.pairs import Lengths, shares
from traces.trace import Trace

__all__ = ["PAPER_RATES", "PAPER_REQUESTS", "mix", "paper_mix", "workload"]

PAPER_RATES: Mapping[str, float] = {"alpaca": 36.0, "sharegpt": 28.0, "bookcorpus": 1.2}
"""Requests per second of each application served alone."""
PAPER_REQUESTS: Mapping[str, int] = {"alpaca": 52_000, "sharegpt": 90_000, "bookcorpus": 11_000}
"""Requests of each application's trace."""
_MEASURED = {"alpaca": "alpaca", "sharegpt": "sharegpt", "bookcorpus": "bookcorpus_fit_100k"}
_FITTED = {"alpaca": "alpaca_fit", "sharegpt": "sharegpt_fit", "bookcorpus": "bookcorpus_fit_100k"}


def paper_mix(
    requests: int = 20_000,
    rate: float = 8.0,
    seed: int = 0,
    bookcorpus_share: float = 0.35,
    *,
    alpaca_share_of_rest: float = 0.5,
    fitted: bool = False,
    stratified: bool = False,
    sources: Mapping[str, Lengths | str] | None = None,
    arrivals: Arrivals | None = None,
    max_prompt_tokens: int | None = None,
) -> Trace:
    """Return the paper's mixed workload, without SLOs; its applications are labelled alpaca, sharegpt and bookcorpus.

    Alpaca and ShareGPT come from their measured quantiles unless `fitted`, BookCorpus from its fit up to 100,000.
    `sources` replaces single applications, by a name that `lengths` knows or by `Observed(your_trace)`; `arrivals`
    replaces the Poisson process; prompts above `max_prompt_tokens` are cut to it (OPT has 2,048 positions).

    Lengths, labels and gaps have streams of their own: another rate moves arrivals only, another share changes only the
    requests that switch application, and the first k requests do not change when their number grows (unless
    `stratified`, which spreads lengths evenly within each application, or rescaled arrivals are asked for).

    >>> trace = paper_mix(1000)
    >>> sorted(trace.applications), trace[0].arrived_at > 0
    (['alpaca', 'bookcorpus', 'sharegpt'], True)
    """
    _within("bookcorpus_share", bookcorpus_share)
    _within("alpaca_share_of_rest", alpaca_share_of_rest)
    rest = 1 - bookcorpus_share
    weights = {"alpaca": rest * alpaca_share_of_rest, "sharegpt": rest * (1 - alpaca_share_of_rest)}
    weights["bookcorpus"] = bookcorpus_share
    chosen = {**(_FITTED if fitted else _MEASURED), **(sources or {})}
    _known("sources", chosen, weights)
    parts = {label: (weight, _drawn_from(chosen[label], stratified)) for label, weight in weights.items()}
    trace = mix(parts, requests, arrivals or Poisson(rate), seed, name="paper_mix")
    return trace if max_prompt_tokens is None else trace.clipped(prompt_tokens=max_prompt_tokens)


def workload(
    application: str,
    requests: int | None = None,
    rate: float | None = None,
    seed: int = 0,
    *,
    fitted: bool = False,
    stratified: bool = False,
    source: Lengths | str | None = None,
    arrivals: Arrivals | None = None,
    max_prompt_tokens: int | None = None,
) -> Trace:
    """Return one of the paper's applications alone: "alpaca", "sharegpt" or "bookcorpus", without SLOs.

    `requests` and `rate` default to the paper's (36, 28 and 1.2 requests/s); the rest is as in `paper_mix`.
    """
    _known("workload", [application], PAPER_RATES)
    lengths_of = _drawn_from(source or (_FITTED if fitted else _MEASURED)[application], stratified)
    coming = arrivals or Poisson(PAPER_RATES[application] if rate is None else rate)
    count = PAPER_REQUESTS[application] if requests is None else requests
    trace = mix({application: (1.0, lengths_of)}, count, coming, seed, name=application)
    return trace if max_prompt_tokens is None else trace.clipped(prompt_tokens=max_prompt_tokens)


def mix(
    parts: Mapping[str, tuple[float, Lengths]],
    requests: int,
    arrivals: Arrivals,
    seed: int = 0,
    *,
    name: str = "mix",
) -> Trace:
    """Return a workload in which each request belongs to one application, drawn by weight.

    `parts` maps a label to its weight and its lengths; weights need not add up to 1.

    >>> from traces import Fixed, Pair
    >>> mix({"chat": (3, Pair(Fixed(100), Fixed(200))), "code": (1, Pair(Fixed(900), Fixed(30)))}, 1000, Poisson(5))
    <Trace mix: 1,000 requests>
    """
    if requests < 1:
        raise SlosimError(f"requests: {requests} is not 1 or more")
    codes = _applications([weight for weight, _ in parts.values()], shares(requests, seed, "application"))
    first, second = (shares(requests, seed, purpose) for purpose in ("prompt lengths", "output lengths"))
    prompts, outputs = np.empty((2, requests), dtype=np.int32)
    for code, (_, lengths_of) in enumerate(parts.values()):
        mine = codes == code
        prompts[mine], outputs[mine] = lengths_of.draw(first[mine], second[mine])
    times, labels = arrivals.times(requests, seed), tuple(parts)
    return Trace.from_columns(times, prompts, outputs, application_codes=codes, applications=labels, name=name)


def _applications(weights: list[float], chances: Shares) -> NDArray[np.intp]:
    if not weights or min(weights) < 0 or not 0 < sum(weights) < np.inf:
        raise SlosimError(f"the weights of a mix must be 0 or more, and one above 0; got {weights}")
    upper = np.cumsum(weights) / sum(weights)
    return np.minimum(np.searchsorted(upper, chances, side="right"), len(weights) - 1)


def _drawn_from(source: Lengths | str, stratified: bool) -> Lengths:
    return lengths(source, stratified=stratified) if isinstance(source, str) else source


def _within(name: str, share: float) -> None:
    if not 0 <= share <= 1:
        raise SlosimError(f"{name}: {share!r} is not a share from 0 to 1")


def _known(what: str, labels: Iterable[str], known: Mapping[str, object]) -> None:
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise SlosimError(f"{what}: no application is called {unknown[0]!r}; known are {', '.join(known)}")
