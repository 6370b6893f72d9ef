"""Remaining time: how long a request may still wait (AccelGen section 4.3, Algorithm 1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from math import ceil, inf
from typing import TYPE_CHECKING, Literal

from sim.request import Phase, Request
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen.policy import AccelGen

Execution = Literal["chunks", "exact", "mean", "one"]
Completion = Literal["spread", "deadline", "proportional"]
Longest = Literal["ever", "recent", "budget"]
"""Which iteration is T_max, the longest: of all so far, of the latest, or as long as the token budget allows."""


class Slack:
    """T_r = SLO - T_w - T_e of requests, as of one moment on one server. All times in seconds.

    T_w is the wait since the latest token (since the arrival before the first). T_e is the number of chunks that its
    prompt still needs, by the mean chunk so far, times the longest iteration so far (both stated; the product and the
    rounding up are inferred, see ``execution``). A request with a completion SLO may wait for what its deadline leaves
    after its remaining execution; or, as stated, for this slack spread evenly over its remaining iterations, so that
    earliness and lateness carry over (see ``completion``); that execution is iterations left x mean iteration x
    (1 + preemptions per request) (inferred).
    """

    def __init__(
        self, server: Server, pivot: tuple[int, float], policy: AccelGen, longest: float | None = None
    ) -> None:
        history = server.history
        self.now = server.now
        self.history = history
        self.pivot = pivot
        self.policy = policy
        self.longest = (history.longest_iteration if longest is None else longest) or pivot[1]
        """T_max."""
        self.mean_chunk = history.mean_chunk or float(pivot[0])
        self.execution = policy.execution

    @cached_property
    def mean_iteration(self) -> float:
        """Seconds."""
        return self.history.mean_iteration or self.pivot[1]

    @cached_property
    def preempted_share(self) -> float:
        """Preemptions per request."""
        return self.history.preemptions / self.history.arrivals if self.history.arrivals else 0.0

    @cached_property
    def default_output(self) -> float:
        """Output tokens of a request of which nothing is predicted."""
        return self.history.mean_output or self.policy.default_output

    def chunks(self, request: Request) -> int:
        """Iterations until the next output token."""
        if request.phase is Phase.DECODING:
            return 1
        return ceil(request.prefill_left / self.mean_chunk) or 1

    def until_token(self, request: Request) -> float:
        """T_e: seconds of iterations until the next output token."""
        if self.execution == "chunks":
            return self.chunks(request) * self.longest
        if self.execution == "mean":
            return self.chunks(request) * self.mean_iteration
        if self.execution == "exact":
            return max(1.0, request.prefill_left / self.mean_chunk) * self.longest
        return self.longest

    def remaining(self, request: Request) -> float:
        """T_r; infinite without an SLO, negative when it cannot be met any more."""
        slo = request.slo
        if slo.jct < inf:
            return self._completion(request)
        if request.generated:
            return slo.tbt - (self.now - request.last_token_at) - self.until_token(request)
        return slo.ttft - (self.now - request.arrived_at) - self.until_token(request)

    def used_up(self, request: Request) -> float:
        """When T_r will be nought if it is not served, by what is known now; of completion SLOs, as of now."""
        if request.slo.jct < inf:
            return self.now + self._completion(request)
        return deadline(request) - self.until_token(request)

    def iteration_slo(self, request: Request) -> float:
        """The SLO of the next token: what the token budget must respect."""
        slo = request.slo
        if slo.jct < inf:
            return self.mean_iteration + max(0.0, self._completion(request))
        return slo.tbt if request.generated else slo.ttft

    def outputs_left(self, request: Request) -> float:
        """Output tokens still to come, by the prediction or else the mean so far; at least one."""
        predicted = self.default_output if request.predicted_output is None else request.predicted_output
        return max(1.0, predicted - request.generated)

    def _completion(self, request: Request) -> float:
        """Seconds that a request with a completion SLO may wait before its next token."""
        waited = self.now - request.arrived_at
        chunks, later = self.chunks(request), self.outputs_left(request) - 1
        iterations = chunks + later
        if self.policy.completion == "proportional":
            share = (request.generated + chunks) / (request.generated + iterations)
            return request.slo.jct * share - waited - chunks * self.mean_iteration
        execution = iterations * self.mean_iteration * (1 + self.preempted_share)
        slack = request.arrived_at + request.slo.jct - self.now - execution
        return slack if self.policy.completion == "deadline" else slack / iterations


class RecentIterations:
    """The longest of the latest iterations of one server, in constant time per iteration."""

    def __init__(self, number: int, ends: Sequence[float]) -> None:
        self.number = number
        self.ends = ends
        """When each iteration so far ended, seconds; the server adds to it."""
        self._count = 0
        self._falling: deque[tuple[int, float]] = deque()
        """Number and seconds of the iterations that no later one exceeds: each shorter than the one before."""

    @property
    def longest(self) -> float:
        """Seconds; 0 before the first iteration. Iterations without a call of ``ended`` began when the one before
        ended."""
        self._catch_up(len(self.ends))
        return self._falling[0][1] if self._falling else 0.0

    def ended(self, start: float) -> None:
        """Counts the latest iteration, which began at ``start``, seconds."""
        self._catch_up(len(self.ends) - 1)
        self._add(self.ends[-1] - start)

    def _catch_up(self, number: int) -> None:
        for place in range(self._count, number):
            self._add(self.ends[place] - self.ends[place - 1])

    def _add(self, seconds: float) -> None:
        while self._falling and self._falling[-1][1] <= seconds:
            self._falling.pop()
        self._falling.append((self._count, seconds))
        self._count += 1
        if self._falling[0][0] < self._count - self.number:
            self._falling.popleft()


def deadline(request: Request) -> float:
    """When the SLO of its next token, or of all of it, is broken."""
    if request.slo.jct < inf:
        return request.arrived_at + request.slo.jct
    if request.generated:
        return request.last_token_at + request.slo.tbt
    return request.arrived_at + request.slo.ttft
