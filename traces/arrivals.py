"""When requests come: arrival processes, recorded arrivals, and recorded arrivals at another rate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError
from traces.rng import stream
from traces.trace import Trace

__all__ = ["Arrivals", "Burst", "Constant", "Gamma", "Poisson", "Replay", "time_scaled"]

Times = NDArray[np.float64]


class Arrivals(Protocol):
    """A way for requests to come. Its random numbers belong to the purpose "arrivals" and to nothing else.

    Under one seed the gaps of all rates are the same but for the unit of time, and the first k times are the same for
    every number of requests, unless `rescale` is on.
    """

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the arrival of each request in seconds, never decreasing."""
        ...


@dataclass(frozen=True, slots=True)
class Gamma:
    """Independent gamma gaps with mean 1/rate: burstiness 1 is Poisson, less is burstier, infinity is constant.

    The gaps' coefficient of variation is 1/sqrt(burstiness), as in vLLM's benchmark. `rescale` stretches all times so
    that the last request comes at exactly requests/rate, as that benchmark does: number and span are both fixed. An
    infinite rate sends everything at 0.
    """

    rate: float
    """Requests per second."""
    burstiness: float = 1.0
    rescale: bool = False

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the arrival of each request in seconds, never decreasing."""
        rate, burstiness = _positive(self.rate, "rate"), _positive(self.burstiness, "burstiness")
        if np.isinf(rate) or np.isinf(burstiness):
            return np.arange(1, requests + 1) / rate
        gaps = stream(seed, "arrivals").standard_gamma(burstiness, requests) / (rate * burstiness)
        times = np.cumsum(gaps)
        return times * (requests / rate / times[-1]) if self.rescale and requests else times


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests come independently of each other, at a mean rate; the first one after a random gap, too.

    `rescale` as in `Gamma`.
    """

    rate: float
    """Requests per second."""
    rescale: bool = False

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the arrival of each request in seconds, never decreasing."""
        return Gamma(self.rate, 1.0, self.rescale).times(requests, seed)


@dataclass(frozen=True, slots=True)
class Constant:
    """A request every 1/rate seconds, the first one after 1/rate."""

    rate: float
    """Requests per second."""

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the arrival of each request in seconds, never decreasing."""
        return np.arange(1, requests + 1) / _positive(self.rate, "rate")


@dataclass(frozen=True, slots=True)
class Burst:
    """All requests come at once."""

    at: float = 0.0
    """Seconds."""

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the same time for every request."""
        return np.full(requests, float(self.at))


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Recorded arrivals, from their first on; with `rate`, all gaps are stretched alike to that mean rate.

    The first k requests keep their times when their number grows: the mean is taken over the whole record.
    """

    recorded: Sequence[float] | NDArray[np.float64] = field(repr=False)
    """Seconds, never decreasing, such as `trace.arrived_at` of another trace."""
    rate: float | None = None
    """Requests per second: one less than the recorded requests, divided by the time from first to last."""

    def times(self, requests: int, seed: int = 0) -> Times:
        """Return the first `requests` arrivals; raise SlosimError when fewer were recorded."""
        recorded = np.asarray(self.recorded, dtype=np.float64)
        if requests > len(recorded):
            raise SlosimError(f"cannot replay {requests} arrivals: only {len(recorded)} were recorded")
        since_first = recorded[:requests] - recorded[:1]
        return since_first if self.rate is None else since_first * self._stretch(recorded, self.rate)

    @staticmethod
    def _stretch(recorded: Times, rate: float) -> float:
        span = float(recorded[-1] - recorded[0]) if len(recorded) else 0.0
        if not span > 0:
            raise SlosimError("recorded arrivals that all come at once have no rate that could be scaled")
        return (len(recorded) - 1) / span / _positive(rate, "rate")


def time_scaled(trace: Trace, rate: float) -> Trace:
    """Return the trace with its own arrivals, bursts and all, stretched to another mean rate (requests/s)."""
    return trace.with_arrivals(Replay(trace.arrived_at, rate))


def _positive(number: float, what: str) -> float:
    if not number > 0:
        raise SlosimError(f"{what}: {number!r} is not above 0")
    return number
