"""Remaining time: how long a request may still wait (AccelGen section 4.3, Algorithm 1)."""

from __future__ import annotations

from math import ceil, inf

from sim.request import Phase, Request
from sim.server import Server


class Slack:
    """T_r = SLO - T_w - T_e of requests, as of one moment on one server. All times in seconds.

    T_w is the wait since the latest token (since the arrival before the first). T_e is the number of chunks that its
    prompt still needs, by the mean chunk so far, times the longest iteration so far (both stated; the product and the
    rounding up are inferred). A request with a completion SLO has per-iteration deadlines: what its deadline leaves
    after its remaining execution is spread evenly over its remaining iterations, so that earliness and lateness carry
    over (stated); that execution is iterations left x mean iteration x (1 + preemptions per request) (inferred).
    """

    def __init__(self, server: Server, pivot: tuple[int, float], default_output: float) -> None:
        history = server.history
        self.now = server.now
        self.longest = history.longest_iteration or pivot[1]
        self.mean_iteration = history.mean_iteration or pivot[1]
        self.mean_chunk = history.mean_chunk or float(pivot[0])
        self.preempted_share = history.preemptions / history.arrivals if history.arrivals else 0.0
        self.default_output = history.mean_output or default_output

    def chunks(self, request: Request) -> int:
        """Iterations until the next output token."""
        if request.phase is Phase.DECODING:
            return 1
        return ceil(request.prefill_left / self.mean_chunk) or 1

    def remaining(self, request: Request) -> float:
        """T_r; infinite without an SLO, negative when it cannot be met any more."""
        slo = request.slo
        if slo.jct < inf:
            return self._spread(request)
        if request.generated:
            return slo.tbt - (self.now - request.last_token_at) - self.chunks(request) * self.longest
        return slo.ttft - (self.now - request.arrived_at) - self.chunks(request) * self.longest

    def iteration_slo(self, request: Request) -> float:
        """The SLO of the next token: what the token budget must respect."""
        slo = request.slo
        if slo.jct < inf:
            return self.mean_iteration + max(0.0, self._spread(request))
        return slo.tbt if request.generated else slo.ttft

    def _spread(self, request: Request) -> float:
        predicted = self.default_output if request.predicted_output is None else request.predicted_output
        iterations = self.chunks(request) + max(0.0, predicted - request.generated - 1)
        execution = iterations * self.mean_iteration * (1 + self.preempted_share)
        return (request.arrived_at + request.slo.jct - self.now - execution) / iterations


def deadline(request: Request) -> float:
    """When the SLO of its next token, or of all of it, is broken."""
    if request.slo.jct < inf:
        return request.arrived_at + request.slo.jct
    if request.generated:
        return request.last_token_at + request.slo.tbt
    return request.arrived_at + request.slo.ttft
