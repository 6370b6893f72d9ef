"""Workloads: what requests come, when, how long they are, and what was promised to them.

A `Trace` is a table of requests in order of arrival. It comes from a file, from the paper's workloads, or from rows:

>>> from traces import JobCompletion, Observed, Poisson, Trace, TraceRow, assign_slos, load, paper_mix, workload
>>> trace = paper_mix(requests=1000, rate=8.0, seed=1)        # Alpaca, ShareGPT and BookCorpus, Poisson arrivals
>>> chat = workload("sharegpt", requests=1000, rate=4.0)      # one application alone
>>> tiny = Trace.from_rows([TraceRow(0.0, 100, 20), TraceRow(0.5, 2000, 300)])
>>> len(trace), tiny[1].prompt_tokens
(1000, 2000)

    mine = load("ShareGPT_V3_unfiltered_cleaned_split.json")  # or Azure, BurstGPT, Mooncake, Vidur, Alpaca, text ...
    mine = mine.with_arrivals(Poisson(6.0), seed=1)           # this file does not say when its requests came
    trace = paper_mix(sources={"sharegpt": Observed(mine)})   # your own lengths in the paper's mix

Objectives follow, given how long a prompt takes alone (any function from tokens to seconds, such as a cost model's):

>>> trace = assign_slos(trace, lambda tokens: 0.02 + 1e-4 * tokens, per_application={"bookcorpus": JobCompletion()})

    trace.save("mix.parquet")                                 # or .csv, .csv.gz; load("mix.parquet") reads it back

Every source of chance has a stream of its own: a run with another rate has the same requests with the same objectives,
closer together or further apart, and a longer run begins as the shorter one does.
"""

from traces.arrivals import Arrivals, Burst, Constant, Gamma, Poisson, Replay, time_scaled
from traces.distributions import Distribution, Fixed, LogNormal, MostlyFixed, Quantiles, Uniform
from traces.errors import SlosimError, TraceWarning
from traces.fits import lengths, lengths_names
from traces.pairs import Lengths, Observed, Pair
from traces.paper import PAPER_RATES, PAPER_REQUESTS, mix, paper_mix, workload
from traces.readers import FORMATS, Format, load
from traces.reading import Reading
from traces.rng import stream
from traces.slos import Interactive, JobCompletion, Promised, SLORule, assign_slos
from traces.tokens import OPT, Tokenizer, opt_tokens
from traces.trace import Trace
from traces.types import SLO, TraceRow

__all__ = [
    "FORMATS",
    "OPT",
    "PAPER_RATES",
    "PAPER_REQUESTS",
    "SLO",
    "Arrivals",
    "Burst",
    "Constant",
    "Distribution",
    "Fixed",
    "Format",
    "Gamma",
    "Interactive",
    "JobCompletion",
    "Lengths",
    "LogNormal",
    "MostlyFixed",
    "Observed",
    "Pair",
    "Poisson",
    "Promised",
    "Quantiles",
    "Reading",
    "Replay",
    "SLORule",
    "SlosimError",
    "Tokenizer",
    "Trace",
    "TraceRow",
    "TraceWarning",
    "Uniform",
    "assign_slos",
    "lengths",
    "lengths_names",
    "load",
    "mix",
    "opt_tokens",
    "paper_mix",
    "stream",
    "time_scaled",
    "workload",
]
