"""Output lengths as CacheOPT takes them: what was told, padded by a bound whose confidence falls with the load."""

from __future__ import annotations

from math import ceil, inf, log1p, sqrt
from typing import TYPE_CHECKING

from sim.history import History
from sim.request import Phase, Request

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.policy import CacheOpt


def confidence(alpha: float, beta: float, rate: float) -> float:
    """P_c = alpha / (1 + beta lambda): the more requests per second arrive, the less is padded."""
    return alpha / (1 + beta * rate)


def hoeffding(sure: float, spread: float) -> float:
    """The deviation t that is exceeded with probability 1 - ``sure`` at most: exp(-2 t^2 / (b - a)^2) = 1 - P_c.

    ``spread`` is (b - a), in tokens, and so is t. Stated is that Hoeffding's inequality is used; the form is a third
    party's, for one variable.
    """
    return spread * sqrt(-log1p(-sure) / 2)


class Lengths:
    """The output length assumed of each request, set when it arrives: X + t, or X - t where X is taken for too long."""

    def __init__(self, policy: CacheOpt, history: History) -> None:
        self.policy = policy
        self.history = history
        self._assumed: dict[Request, int] = {}
        self._told: dict[Request, float] = {}
        """What was told of those that were started and are not known to have finished."""
        self._seen = 0
        self._least, self._most = inf, -inf

    def arrived(self, request: Request) -> None:
        """Settles what is assumed of a new request, by what is known at that time."""
        if self.history.finished != self._seen:
            self._look_back()
        self._assumed[request] = self._padded(self._estimate(request))

    def started(self, request: Request) -> None:
        """It may have finished when its length is next looked at."""
        self._told[request] = self._estimate(request)

    def rejected(self, request: Request) -> None:
        """It is gone."""
        self._assumed.pop(request, None)

    def output(self, request: Request) -> int:
        """Output tokens that it is assumed to generate in all, at least one."""
        assumed = self._assumed.get(request)
        return self._padded(self._estimate(request)) if assumed is None else assumed

    def left(self, request: Request) -> int:
        """Output tokens still to come; nought or less if it has outlived what was assumed."""
        assumed = self._assumed.get(request)
        return (self.output(request) if assumed is None else assumed) - request.generated

    @property
    def spread(self) -> float:
        """(b - a): the range of what was seen so far, or what the policy says; tokens."""
        if self.policy.output_range is not None:
            return self.policy.output_range
        return max(0.0, self._most - self._least)

    def _estimate(self, request: Request) -> float:
        if request.predicted_output is not None:
            return request.predicted_output
        return self.history.mean_output or self.policy.default_output

    def _padded(self, told: float) -> int:
        policy, mean = self.policy, self.history.mean_output
        padding = 0.0
        if policy.padding:
            padding = hoeffding(confidence(policy.alpha, policy.beta, self.history.arrival_rate or 0.0), self.spread)
        over = policy.deviation == "mean" and mean is not None and told > mean
        return max(1, ceil(told - padding if over else told + padding))

    def _look_back(self) -> None:
        """Notes the lengths of those that finished since the last time."""
        self._seen = self.history.finished
        for request in [request for request in self._told if request.phase is Phase.FINISHED]:
            told = self._told.pop(request)
            del self._assumed[request]
            value = request.generated - (told if self.policy.spread == "deviations" else 0.0)
            self._least, self._most = min(self._least, value), max(self._most, value)
