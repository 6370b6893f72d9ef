"""What is promised to each request: first-token, between-token and completion objectives."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError
from traces.pairs import shares
from traces.trace import Trace

__all__ = ["Interactive", "JobCompletion", "Objectives", "PrefillTime", "Promised", "SLORule", "Work", "assign_slos"]

Seconds = NDArray[np.float64]
Mask = NDArray[np.bool_]
PrefillTime = Callable[[int], float]
"""Seconds that a prompt of so many tokens takes alone, such as a cost model's iteration with nothing else in it."""


class Objectives(NamedTuple):
    """One objective per request, in seconds; infinity means none."""

    ttft: Seconds | float = np.inf
    tbt: Seconds | float = np.inf
    jct: Seconds | float = np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Some requests as a rule sees them: their lengths, what they cost alone, and three random numbers for each."""

    output_tokens: NDArray[np.int32]
    prompt_time: Callable[[], Seconds]
    """Mean prefill latency of the bucket of each prompt; computed when asked for."""
    token_time: Callable[[], float]
    """Seconds of an iteration that computes one token alone."""
    ttft_share: Seconds
    """Uniform in [0, 1); one stream per kind of objective, so that none depends on another."""
    tbt_share: Seconds
    jct_share: Seconds


class SLORule(Protocol):
    """How the objectives of an application's requests come about."""

    def objectives(self, work: Work, /) -> Objectives:
        """Return the objectives of these requests."""
        ...


@dataclass(frozen=True, slots=True)
class Interactive:
    """The paper's rule: someone reads along.

    First token: mean prefill latency of requests of that prompt length (512-token buckets) x U[0.5, 1.5]. Each next
    token: reading speed, 0.1875 s, x U[0.75, 1.25] (all stated; 0.1875 = 0.25 s per word x 0.75 words per token is
    inferred). A request's factors are drawn once and hold for all its tokens (inferred).
    """

    ttft_factor: tuple[float, float] = (0.5, 1.5)
    tbt: float = 0.1875
    """Seconds."""
    tbt_factor: tuple[float, float] = (0.75, 1.25)
    tbt_mix: tuple[float, ...] = ()
    """Seconds of several kinds of readers: each request has one of them, all with the same chance, in place of `tbt`
    and its factor (this project's own, to ask for several kinds at once)."""

    def objectives(self, work: Work, /) -> Objectives:
        """Return first-token and between-token objectives."""
        first = work.prompt_time() * _between(self.ttft_factor, work.ttft_share)
        if self.tbt_mix:
            kinds = (work.tbt_share * len(self.tbt_mix)).astype(np.intp)
            return Objectives(ttft=first, tbt=np.asarray(self.tbt_mix)[kinds])
        return Objectives(ttft=first, tbt=self.tbt * _between(self.tbt_factor, work.tbt_share))


@dataclass(frozen=True, slots=True)
class JobCompletion:
    """Someone waits for the whole: scale x (prompt time + output tokens x token time) until the last token.

    The form and the scale of 2 are recalled from the same authors' EconoServe; the paper's own formula is not known.
    The prompt time is that of the prompt's bucket. `token_time` defaults to an iteration of a single token, the fastest
    there is, which makes the objective a strict one (chosen). The true output length goes into the number, and reaches
    a policy in no other way.
    """

    scale: float = 2.0
    token_time: float | None = None
    """Seconds per output token."""
    factor: tuple[float, float] = (1.0, 1.0)

    def objectives(self, work: Work, /) -> Objectives:
        """Return completion objectives."""
        token_time = work.token_time() if self.token_time is None else self.token_time
        alone = work.prompt_time() + work.output_tokens * token_time
        return Objectives(jct=self.scale * alone * _between(self.factor, work.jct_share))


@dataclass(frozen=True, slots=True)
class Promised:
    """The same objectives for every request, in seconds; none at all unless said."""

    ttft: float = np.inf
    tbt: float = np.inf
    jct: float = np.inf

    def objectives(self, work: Work, /) -> Objectives:
        """Return the fixed objectives."""
        return Objectives(self.ttft, self.tbt, self.jct)


def assign_slos(
    trace: Trace,
    prefill_time: PrefillTime,
    seed: int = 0,
    *,
    rule: SLORule | None = None,
    per_application: Mapping[str, SLORule] | None = None,
    bucket: int = 512,
    bucket_mean: Literal["range", "trace"] = "range",
) -> Trace:
    """Return the trace with objectives for every request: the paper's `Interactive` unless another `rule` is given.

    `per_application` gives single applications a rule of their own, such as {"bookcorpus": JobCompletion()}.

    Prompts of 1 to 512, 513 to 1,024 ... tokens share a bucket. What its mean latency is taken over is not stated. Here
    it is either every length in it ("range", chosen as default: the objectives then depend on no other request) or the
    prompts that this trace has in it ("trace", nearer to measuring a workload: it makes Alpaca's objectives tighter).

    The random factors have one stream per kind of objective: neither the rate nor another seed for the lengths changes
    them, and the first k requests keep theirs when their number grows ("trace" changes the means, though).

    >>> trace = assign_slos(Trace.from_columns(None, [100], [10]), lambda tokens: 0.02 + 1e-4 * tokens)
    >>> slo = trace[0].slo
    >>> 0.5 <= slo.ttft / (0.02 + 1e-4 * 256.5) <= 1.5, 0.75 <= slo.tbt / 0.1875 <= 1.25
    (True, True)
    """
    objectives = np.full((3, len(trace)), np.inf)
    draws = np.stack([shares(len(trace), seed, f"{kind} objectives") for kind in Objectives._fields])
    prompt_times = cache(partial(_bucket_times, trace.prompt_tokens, prefill_time, bucket, bucket_mean))
    for mine, chosen in _rules(trace, rule or Interactive(), per_application or {}):
        work = _work(trace, mine, prompt_times, prefill_time, draws[:, mine])
        for row, objective in zip(objectives, chosen.objectives(work), strict=True):
            row[mine] = objective
    return trace.with_slos(**dict(zip(Objectives._fields, objectives, strict=True)))


def _work(
    trace: Trace, mine: Mask, prompt_times: Callable[[], Seconds], prefill_time: PrefillTime, draws: Seconds
) -> Work:
    return Work(trace.output_tokens[mine], lambda: prompt_times()[mine], lambda: float(prefill_time(1)), *draws)


def _rules(trace: Trace, rule: SLORule, exceptions: Mapping[str, SLORule]) -> Iterator[tuple[Mask, SLORule]]:
    """Give every request to one rule: its application's own, or the general one."""
    unknown = set(exceptions) - set(trace.applications)
    if unknown:
        known = ", ".join(trace.applications) or "none: this trace has no labels"
        raise SlosimError(f"per_application: no application is called {min(unknown)!r}; the trace has {known}")
    left = np.ones(len(trace), dtype=bool)
    codes = np.full(len(trace), -1) if trace.application_codes is None else trace.application_codes
    for label, own_rule in exceptions.items():
        mine = codes == trace.applications.index(label)
        left &= ~mine
        yield mine, own_rule
    yield left, rule


def _bucket_times(prompts: NDArray[np.int32], prefill_time: PrefillTime, bucket: int, how: str) -> Seconds:
    """Return for each prompt the mean prefill time of its bucket, in seconds."""
    if bucket < 1 or how not in ("range", "trace"):
        raise SlosimError(f'bucket {bucket!r}, bucket_mean {how!r}: expected 1 or more, and "range" or "trace"')
    buckets, place = np.unique((prompts - 1) // bucket, return_inverse=True)
    if how == "range":
        spans = (range(index * bucket + 1, (index + 1) * bucket + 1) for index in buckets.tolist())
        means = [sum(map(prefill_time, span)) / bucket for span in spans]
        return np.array(means)[place]
    lengths, which = np.unique(prompts, return_inverse=True)
    times = np.array([prefill_time(length) for length in lengths.tolist()])[which]
    return (np.bincount(place, weights=times) / np.bincount(place))[place]


def _between(bounds: tuple[float, float], shares_of_range: Seconds) -> Seconds:
    low, high = bounds
    return low + (high - low) * shares_of_range
