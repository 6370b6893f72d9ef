"""How AccelGen fills one batch: the urgent first, then by distance from what is available (Algorithm 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.request import Request
from sim.schedulers.accelgen.decision import Candidate
from sim.schedulers.accelgen.distance import by_distance
from sim.schedulers.accelgen.urgent import Urgent
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.accelgen.bound import BoundAccelGen


class Filling(Urgent):
    """One decision of AccelGen, made on construction; ``batch`` is the result."""

    def __init__(self, bound: BoundAccelGen, server: Server) -> None:
        super().__init__(bound, server)
        if self.policy.members == "candidates":
            self.tightest = self._tightest_of_all()
        self.place_urgent()
        self._fill()
        if not self.batch.tokens:
            self._unlock()

    def _tightest_of_all(self) -> float:
        """The tightest SLO of the urgent and of the first window: all that may become members."""
        running = [*self.candidates(self.server.decoding), *self.started]
        ready = sorted([*running, *self.candidates(self._newcomers())], key=self.order)
        reach = ready[0].remaining + self.policy.gamma if ready else 0.0
        chosen = (each.request for each in ready if each.remaining <= reach or self.urgent(each))
        return min(map(self.slo_of, chosen), default=self.tightest)

    def _fill(self) -> None:
        """Windows of alike remaining time, one after the other, until GPU or cache is full."""
        if self.batch.blocks_left <= self.batch.watermark and not self.started and not self.decodes:
            return  # the common case of a full cache: all decodes run, and nobody else can
        queue = self._others()
        while queue and self.batch.tokens < self.budget(self.tightest):
            reach, put_off = queue[0].remaining + self.policy.gamma, self.put_off(queue[0].request)
            number = 1
            while number < len(queue) and queue[number].remaining <= reach:
                if put_off != self.put_off(queue[number].request):
                    break
                number += 1
            window, queue = [candidate.request for candidate in queue[:number]], queue[number:]
            if self.policy.multi_resource and number > 1:
                by_distance(self, window)
            else:
                for request in window:
                    self.offer(request)

    def _others(self) -> list[Candidate]:
        """Whoever was not placed yet, by remaining time: a started long prompt goes first (ERA)."""
        batch = self.batch
        for _, request in self.started:
            if (
                self.policy.exclusive
                and request.known_tokens > self.bound.long_prompt
                and request not in batch.prefills
            ):
                self.offer(request)
        placed = {**batch.prefills, **batch.decodes, **batch.preempted}
        decodes = [] if batch.everyone else self.decodes
        others = [candidate for candidate in [*decodes, *self.started] if candidate.request not in placed]
        others += self.candidates(self._newcomers())
        return sorted(others, key=self.order) if len(others) > 1 else others

    def _newcomers(self) -> list[Request]:
        """Waiting requests that the cache has room for; like vLLM, none in a step that preempted."""
        room = self.batch.blocks_left - self.batch.watermark
        preempted = self.batch.preempted and not self.policy.after_preemption
        if room < 1 or preempted or not self.server.waiting.size:
            return []
        most, taken = self.bound.most(room), self.batch.prefills
        return [request for front in self.bound.fronts() for request in front.up_to(most) if request not in taken]

    def _unlock(self) -> None:
        """Nobody could move for lack of memory: somebody makes room for the one of least remaining time."""
        running = (request for request in self.server.running if request not in self.batch.preempted)
        ready = sorted(self.candidates(running), key=self.order)
        if not ready:
            return
        first, *others = [candidate.request for candidate in ready]
        while others and self.batch.shortage(first, 1) > self.batch.blocks_left:
            victim = self.outgrown(others)
            others.remove(victim)
            self.batch.preempt(victim)
        self.grant(first, 1 << 62)
