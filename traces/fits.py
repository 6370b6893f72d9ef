"""Length distributions of the paper's applications by name: measured quantiles and fitted forms.

What is behind the numbers:

* measured: the quantile tables of Alpaca and ShareGPT (`traces/data/README.md`), in OPT tokens, with their means and
  rank correlations; sigma of the Alpaca fit and of the ShareGPT outputs (truncated maximum likelihood, real sets).
* recalled: the averages that every fit meets, those of the paper's table: Alpaca 19.31 prompt and 58.41 output tokens,
  ShareGPT 161.31 and 337.99, BookCorpus 1952.11 and 681.2.
* inferred: the bounds of the fits are that table's shortest and longest, which for Alpaca are counts of characters
  rather than tokens (in tokens the real set spans 5 to 508); so they are loose.
* chosen: the log-normal form; sigma of the ShareGPT and BookCorpus prompts and of the BookCorpus outputs (no real
  outputs exist: the paper's authors generated them); BookCorpus cut at 100,000 tokens; `bookcorpus_3k_5k`, prompts that
  leave much of a small cache over, with BookCorpus's outputs.

The fits draw prompt and output independently; the measured distributions keep the rank correlation.
"""

import csv
import difflib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from traces.distributions import Distribution, LogNormal, MostlyFixed, Quantiles, Uniform
from traces.errors import SlosimError
from traces.pairs import Pair

__all__ = ["BOOKCORPUS_OUTPUTS", "lengths", "lengths_names"]


class _Fit(NamedTuple):
    """Prompt and output, for plain sampling and for a stratified draw, whose mu allows for the two pinned requests."""

    prompt: Distribution
    output: Distribution
    stratified_prompt: Distribution
    stratified_output: Distribution


class _Measured(NamedTuple):
    prompt_mean: float
    output_mean: float
    rank_correlation: float


BOOKCORPUS_OUTPUTS = LogNormal(6.93624, 0.60, 32, 1041)
"""Mean 681 tokens, as in the paper's table; the shape is chosen, and nearly immaterial."""
_PINNED_OUTPUTS = LogNormal(6.93637, 0.60, 32, 1041)
_TWO_THOUSAND = MostlyFixed(2048, 0.9056, 18)

_FITS = {
    "alpaca_fit": _Fit(
        LogNormal(2.54555, 0.63, 9, 2470),
        LogNormal(3.51551, 1.01, 13, 292),
        LogNormal(2.54143, 0.63, 9, 2470),
        LogNormal(3.51540, 1.01, 13, 292),
    ),
    "sharegpt_fit": _Fit(
        LogNormal(3.24247, 1.75, 16, 3200),
        LogNormal(5.83617, 1.10, 19, 991),
        LogNormal(3.24208, 1.75, 16, 3200),
        LogNormal(5.83615, 1.10, 19, 991),
    ),
    "bookcorpus_fit_100k": _Fit(
        LogNormal(6.77599, 1.27, 18, 100_000),
        BOOKCORPUS_OUTPUTS,
        LogNormal(6.77142, 1.27, 18, 100_000),
        _PINNED_OUTPUTS,
    ),
    "bookcorpus_fit": _Fit(
        LogNormal(6.76922, 1.27, 18, 461_000),
        BOOKCORPUS_OUTPUTS,
        LogNormal(6.74762, 1.27, 18, 461_000),
        _PINNED_OUTPUTS,
    ),
    "bookcorpus_3k_5k": _Fit(*(Uniform(3000, 5000), BOOKCORPUS_OUTPUTS, Uniform(3000, 5000), _PINNED_OUTPUTS)),
    "bookcorpus_fit_2k": _Fit(_TWO_THOUSAND, BOOKCORPUS_OUTPUTS, _TWO_THOUSAND, _PINNED_OUTPUTS),
}
_MEASURED = {"alpaca": _Measured(19.15, 58.45, -0.26), "sharegpt": _Measured(155.92, 310.93, 0.10)}


def lengths_names() -> list[str]:
    """Return the names that `lengths` knows."""
    return sorted([*_MEASURED, *_FITS])


def lengths(name: str, *, stratified: bool = False) -> Pair:
    """Return a named length distribution: "alpaca" and "sharegpt" as measured, the others fitted.

    `stratified` spreads the draws evenly and pins one to each end (see `Pair`). The fits' parameters for it allow for
    the two pinned requests at the size of the paper's data sets (52,000, 90,000 and 11,000 requests); with far fewer
    the pinned longest prompt weighs more and lifts the mean. Raises SlosimError for an unknown name.
    """
    if name in _MEASURED:
        return _measured(name, stratified)
    if name not in _FITS:
        near = difflib.get_close_matches(name, lengths_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SlosimError(f"no length distribution is called {name!r}; {hint}known are {', '.join(lengths_names())}")
    fit = _FITS[name]
    if stratified:
        return Pair(fit.stratified_prompt, fit.stratified_output, stratified=True)
    return Pair(fit.prompt, fit.output)


@cache
def _measured(name: str, stratified: bool) -> Pair:
    facts = _MEASURED[name]
    with (files("traces") / "data" / f"{name}-quantiles.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    prompts, outputs = (tuple(float(row[field]) for row in rows) for field in ("prompt_tokens", "output_tokens"))
    prompt, output = Quantiles(prompts, facts.prompt_mean), Quantiles(outputs, facts.output_mean)
    return Pair(prompt, output, facts.rank_correlation, stratified)
