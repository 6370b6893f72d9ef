"""How AccelGen fills one batch: the urgent first, then by distance from what is available (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

from sim.request import Request
from sim.schedulers.accelgen.decision import Candidate
from sim.schedulers.accelgen.distance import by_distance, crowds_of
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
        self._place_long()
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
        if self.batch.blocks_left <= self.batch.watermark and not (self.started or self.decodes or self.alike):
            return  # the common case of a full cache: all decodes run, and nobody else can
        if self.bound.returning:
            self._place_victims()
        for window, decodes in self._windows(self._others()):
            if self.batch.tokens >= self.budget(self.tightest):
                return
            if decodes:
                self._fill_with_decodes(window)
            elif self.policy.multi_resource and len(window) > 1:
                by_distance(self, window)
            else:
                for request in window:
                    self.offer(request)

    def _windows(self, queue: list[Candidate]) -> Iterator[tuple[list[Request], bool]]:
        """Requests of alike remaining time, and whether the decodes that were not listed are among them."""
        due = self.alike
        while queue:
            first, put_off, number = queue[0].remaining, self.put_off(queue[0].request), 1
            if due and put_off:
                due = False
                yield [], True
            while number < len(queue) and queue[number].remaining <= first + self.policy.gamma:
                if put_off != self.put_off(queue[number].request):
                    break
                number += 1
            yield [candidate.request for candidate in queue[:number]], due and first == inf
            due, queue = due and first < inf, queue[number:]
        if due:
            yield [], True

    def _fill_with_decodes(self, window: list[Request]) -> None:
        if not self.batch.preempted:
            by_distance(self, window, crowds_of(self))
        else:
            stay = [each for each in self.server.decoding if each not in self.batch.preempted]
            by_distance(self, window + sorted(stay, key=attrgetter("id")))

    def _place_long(self) -> None:
        """Offers the started long prompts what they can get, before all others (ERA)."""
        for _, request in self.started:
            is_long = request.known_tokens > self.bound.long_prompt
            if self.policy.exclusive and is_long and request not in self.batch.prefills:
                self.offer(request)

    def _place_victims(self) -> None:
        """Restarts the preempted requests for which the cache has room, in order of arrival."""
        for request in self._returning() if self._may_admit else ():
            if self.holds(request):
                self.admit(request)
            elif self.policy.victims == "head_of_line":
                return

    def _returning(self) -> Iterator[Request]:
        """Preempted requests that wait, but for long prompts that ERA keeps out."""
        prefills = self.batch.prefills
        return (each for each in self.bound.returning if each not in prefills and self.exclusive(each))

    def _others(self) -> list[Candidate]:
        """All requests that were not placed yet, by remaining time."""
        batch = self.batch
        placed = {**batch.prefills, **batch.decodes, **batch.preempted}
        decodes = [] if batch.everyone else self.decodes
        others = [candidate for candidate in [*decodes, *self.started] if candidate.request not in placed]
        others += self.candidates(self._newcomers())
        return sorted(others, key=self.order) if len(others) > 1 else others

    @property
    def _may_admit(self) -> bool:
        """Whether waiting requests may start; like vLLM, not in a step that preempted."""
        return not self.batch.preempted or self.policy.after_preemption

    def _newcomers(self) -> list[Request]:
        """Waiting requests that the cache has room for; none while one blocks the line for which it has no room."""
        room = self.batch.blocks_left - self.batch.watermark
        if room < 1 or not self._may_admit or not self.server.waiting.size:
            return []
        most, taken = self.bound.most(room), self.batch.prefills
        if self.policy.victims == "head_of_line" and not all(map(self.holds, self._returning())):
            return []
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
