"""Points at work: those that are kept already come from their files, the others are run and kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from experiments.sweeps.digests import key_of
from experiments.sweeps.driver import Cluster, Lost, drive
from experiments.sweeps.plan import Point
from experiments.sweeps.store import Kept, Store, damage_said
from experiments.sweeps.work import Answer, Task, as_text, failure, run_point
from traces.errors import SlosimError


class Found(NamedTuple):
    """A point with what is known of it."""

    point: Point
    kept: Kept
    before: bool
    """Whether it was kept before."""


@dataclass
class Running:
    """Runs points and keeps what comes of them."""

    store: Store
    cluster: Cluster
    lost: list[str] = field(default_factory=list)
    """Why points lost their workers and were run again."""

    def told(self) -> Iterator[str]:
        """What went wrong on the way and was mended by running points again, in a line each."""
        if self.lost:
            yield f"lost {len(self.lost)} of the workers; what they were at was run again ({self.lost[0]})"
        if words := damage_said(self.store.damaged):
            yield words

    def run(self, points: deque[Point]) -> Iterator[Found]:
        """What is known of each point, those kept before first; more may be put into `points` meanwhile."""
        tasks: deque[Task] = deque()
        running: dict[str, list[Point]] = {}
        yield from self._kept(points, tasks, running)
        while tasks:
            with closing(drive(self.cluster, run_point, tasks, self._again)) as driven:
                for task, answer in driven:
                    kept = self._keep(task, answer)
                    yield from (Found(point, kept, False) for point in running.pop(task.key))
                    yield from self._kept(points, tasks, running)

    def _kept(self, points: deque[Point], tasks: deque[Task], running: dict[str, list[Point]]) -> Iterator[Found]:
        """What is kept of the points; the others become tasks, those that come to the same one task."""
        while points:
            point = points.popleft()
            key = key_of(point.scenario)
            if record := self.store.record(key):
                yield Found(point, record, True)
            elif key in running:
                running[key].append(point)
            else:
                running[key] = [point]
                tasks.append(Task(point.scenario, key))

    def _keep(self, task: Task, answer: Answer | Lost) -> Kept:
        if isinstance(answer, Lost):
            answer = Answer(as_text(failure(task, answer.why)), failed=True)
        try:
            return self.store.keep(task.key, answer)
        except (ValueError, AttributeError) as error:
            if isinstance(error, SlosimError):
                raise
            words = f"the executor returned no answer for a point: {error}"
            return self.store.keep(task.key, Answer(as_text(failure(task, words)), failed=True))

    def _again(self, task: Task, why: str) -> None:
        self.lost.append(why)
