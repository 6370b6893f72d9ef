"""The search itself: from the best start on to better neighbours, in rounds that do not depend on who works on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from experiments.search.moves import Workload, neighbour
from experiments.search.objective import WORST, Score
from experiments.search.problem import Story
from experiments.search.starts import by_length, execution_order
from sim.schedulers.planned import Agenda
from traces.rng import stream

Evaluate = Callable[[Sequence[Agenda | str]], Iterator[Story]]
"""Simulates candidates; the stories come in their order."""


class Found(NamedTuple):
    """Something that was better than all before it."""

    simulations: int
    """How many it took."""
    score: Score
    what: str
    """What it is: a policy, a start, or what was changed."""


@dataclass
class Climb:
    """Hill climbing with sideways steps over neighbours of changing size.

    A round simulates ``together`` neighbours of the current order and goes to the best of them if it is no worse. So
    the outcome depends on the seed and the number of simulations only. Policies are candidates as they are, beside
    their execution orders: what is found is never worse than any of them.
    """

    workload: Workload
    policies: Sequence[str]
    evaluate: Evaluate
    seed: int = 0
    together: int = 8
    simulations: int = 0
    scores: dict[str, Score] = field(default_factory=dict)
    """Of the policies and of all starts."""
    history: list[Found] = field(default_factory=list)
    best: Agenda = field(default_factory=Agenda)
    """The best order found; or the policy that beats all orders."""
    best_score: Score = WORST
    _current: tuple[Agenda, Story] | None = None

    def run(self, most: int | None = None) -> Iterator[None]:
        """Searches on, with a pause after every round, for at most so many simulations in all."""
        yield from self._start()
        number = 0
        while len(self.workload.lengths) > 1 and (most is None or self.simulations < most):
            size = self.together if most is None else min(self.together, most - self.simulations)
            self._round(number, size)
            number += 1
            yield

    def _start(self) -> Iterator[None]:
        """Policies as they are, then their execution orders and others: all are simulated, whatever the limit."""
        starts: dict[str, Agenda] = {}
        for policy, story in zip(self.policies, self.evaluate(self.policies), strict=True):
            self.scores[policy] = story.score
            self._note(Agenda(policy=policy), story, policy)
            starts[f"execution order of {policy}"] = execution_order(story, self.workload)
        yield
        starts |= by_length(self.workload)
        for (name, agenda), story in zip(starts.items(), self.evaluate(list(starts.values())), strict=True):
            self.scores[name] = story.score
            self._note(agenda, story, name)
            self._step(agenda, story)
        yield

    def _round(self, number: int, size: int) -> None:
        assert self._current is not None
        randoms = [stream(self.seed, f"search {number} {each}") for each in range(size)]
        found = [neighbour(*self._current, self.workload, random) for random in randoms]
        for (agenda, what), story in zip(found, self.evaluate([agenda for agenda, _ in found]), strict=True):
            self._note(agenda, story, what)
            self._step(agenda, story)

    def _step(self, agenda: Agenda, story: Story) -> None:
        if self._current is None or story.score >= self._current[1].score:
            self._current = agenda, story

    def _note(self, agenda: Agenda, story: Story, what: str) -> None:
        self.simulations += 1
        if story.score > self.best_score:
            self.best, self.best_score = agenda, story.score
            self.history.append(Found(self.simulations, story.score, what))
