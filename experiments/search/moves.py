"""Neighbours of an order: small changes at random, most of them aimed at a request that missed its SLO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.search.problem import Story
from sim.schedulers.planned import Agenda
from traces import Trace

Floats = NDArray[np.float64]

MOMENT = 1e-6
"""Seconds after a moment: when it is over."""
CHANGES = (1, 1, 1, 2, 2, 3, 5)
"""How many changes make a neighbour."""
VICTIMS = (1, 1, 1, 2, 2, 3, 5)
"""How many are held back for one."""


class Workload(NamedTuple):
    """What is known of the requests, all of them: the search is clairvoyant."""

    arrived_at: Floats
    """Seconds."""
    volume: Floats
    """Cache x steps that a request fills, in tokens."""
    lengths: tuple[int, ...]
    """Prompt tokens."""

    @classmethod
    def of(cls, trace: Trace) -> Workload:
        prompt, output = trace.prompt_tokens.astype(np.float64), trace.output_tokens.astype(np.float64)
        lengths = tuple(trace.prompt_tokens.tolist())
        return cls(trace.arrived_at.astype(np.float64), output * (prompt + output / 2), lengths)


@dataclass
class Draft:
    """An order that is being changed."""

    order: list[int]
    held: dict[int, float]
    workload: Workload
    story: Story
    """What came of the order before it was changed."""
    random: np.random.Generator

    def agenda(self) -> Agenda:
        """The order as it stands now."""
        return Agenda(tuple(self.order), tuple(sorted(self.held.items())), self.workload.lengths)

    def anybody(self) -> int:
        """A place in the order."""
        return int(self.random.integers(len(self.order)))

    def stretch(self, most: int) -> int:
        """A number from 1 to ``most``; small ones are likely."""
        return int(np.exp(self.random.uniform(0.0, log(most)))) if most > 1 else 1


def shift(draft: Draft) -> None:
    """One request goes some places up or down."""
    place = draft.anybody()
    request = draft.order.pop(place)
    by = draft.stretch(len(draft.order) + 1)
    draft.order.insert(max(0, place - by) if draft.random.random() < 0.5 else place + by, request)


def swap(draft: Draft) -> None:
    """Two requests change places."""
    one, other = draft.anybody(), draft.anybody()
    draft.order[one], draft.order[other] = draft.order[other], draft.order[one]


def segment(draft: Draft) -> None:
    """Some that follow each other go elsewhere."""
    first = draft.anybody()
    last = first + draft.stretch(max(2, len(draft.order) // 4))
    part, rest = draft.order[first:last], draft.order[:first] + draft.order[last:]
    place = int(draft.random.integers(len(rest) + 1))
    draft.order[:] = rest[:place] + part + rest[place:]


def rescue(draft: Draft) -> None:
    """One that missed its SLO comes first, and some that missed theirs anyway are held back until it has arrived."""
    story, random = draft.story, draft.random
    missed = np.flatnonzero(~story.met & ~np.isnan(story.finished_at))
    if not len(missed):
        return
    chosen = int(random.choice(missed))
    arrived = draft.workload.arrived_at[chosen]
    draft.order.remove(chosen)
    draft.order.insert(0 if random.random() < 0.7 else int(random.integers(len(draft.order) + 1)), chosen)
    draft.held.pop(chosen, None)
    in_the_way = (story.finished_at > arrived) & (story.admitted_at <= story.admitted_at[chosen]) & ~story.met
    in_the_way &= (story.admitted_at <= arrived) | (draft.workload.arrived_at <= arrived)
    in_the_way[chosen] = False
    others = random.permutation(np.flatnonzero(in_the_way))
    if random.random() < 0.5:
        others = others[np.argsort(-draft.workload.volume[others], kind="stable")]
    for other in others[: int(random.choice(VICTIMS))].tolist():
        draft.held[other] = float(arrived + random.choice((MOMENT, MOMENT, 0.5, 2.0)))


def hold(draft: Draft) -> None:
    """One is held back until some others have arrived."""
    request, arrivals = draft.anybody(), draft.workload.arrived_at
    later = np.searchsorted(arrivals, arrivals[request]) + draft.stretch(len(arrivals))
    draft.held[request] = float(arrivals[min(int(later), len(arrivals) - 1)] + MOMENT)


def let_go(draft: Draft) -> None:
    """One is not held back any more."""
    if draft.held:
        del draft.held[sorted(draft.held)[int(draft.random.integers(len(draft.held)))]]


MOVES: dict[Callable[[Draft], None], float] = {
    rescue: 0.35,
    shift: 0.25,
    swap: 0.1,
    segment: 0.1,
    hold: 0.1,
    let_go: 0.1,
}
"""All kinds of changes, and how likely each is."""


def neighbour(agenda: Agenda, story: Story, workload: Workload, random: np.random.Generator) -> tuple[Agenda, str]:
    """A neighbour of an order, given what came of it; and what was changed, in words."""
    draft = Draft(list(agenda.order), dict(agenda.not_before), workload, story, random)
    kinds = list(MOVES)
    chosen = random.choice(len(kinds), size=int(random.choice(CHANGES)), p=list(MOVES.values()))
    for kind in chosen.tolist():
        kinds[kind](draft)
    return draft.agenda(), " + ".join(kinds[kind].__name__.replace("_", " ") for kind in chosen.tolist())
