"""Room until the end: whether the cache holds all that run, and one more, with the outputs that are predicted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from sim.request import Phase, Request
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen.slack import Slack


class Reservation:
    """How many tokens the members hold at each end to come, if they decode in every iteration.

    The use peaks when somebody ends. Blocks are taken to be half empty at the end of each sequence, as they are on
    average.
    """

    def __init__(self, server: Server, slack: Slack, members: Iterable[Request]) -> None:
        self.slack = slack
        self.size = server.total_blocks * server.block_size
        self.half = server.block_size / 2
        self.stays = [self._stay(request) for request in members]
        self.settled = False

    def _stay(self, request: Request) -> tuple[float, float]:
        """Steps that it stays, negative, and tokens that it holds already, all of its prompt included."""
        generated = request.generated
        known = request.prompt_tokens + generated + self.half
        predicted = request.predicted_output
        steps = (self.slack.default_output if predicted is None else predicted) - generated
        if steps < 1.0:
            steps = 1.0
        if request.phase is not Phase.DECODING:
            steps += self.slack.chunks(request) - 1
        most = self.size - known
        if steps > most:
            steps = most if most > 1.0 else 1.0
        return -steps, known

    def _settle(self) -> None:
        """Sorts, and notes for every end what is held then, with the steps that a newcomer decodes by then, too."""
        self.settled = True
        self.stays.sort()
        self.held = [0.0, *accumulate([known for _, known in self.stays])]
        self.loads = [self.held[n] - (n + 1) * stay for n, (stay, _) in enumerate(self.stays, 1)]

    def add(self, request: Request) -> None:
        """Takes a request in."""
        self.stays.append(self._stay(request))
        self.settled = False

    def holds(self, request: Request) -> bool:
        """Whether all have room to their ends with ``request`` among them; a request alone always has."""
        if not self.stays:
            return True
        if not self.settled:
            self._settle()
        stay, known = self._stay(request)
        longer = bisect_right(self.stays, (stay, float("inf")))
        at_its_end = self.held[longer] + known - (longer + 1) * stay
        others = bisect_right(self.stays, (stay, -1.0))
        before = max(self.loads[others:], default=0.0) + known
        return max(at_its_end, before) <= self.size
