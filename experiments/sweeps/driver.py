"""Hands tasks to an executor, a few at a time, and again when a worker died over one; ends when nothing is left."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from typing import NamedTuple, Protocol, TypeVar

from traces.errors import SlosimError

MEMORY = " (probably killed for want of memory: use fewer --jobs or fewer --requests)"
"""What helps against processes that die."""


class Keyed(Protocol):
    """A task that has a name of its own."""

    @property
    def key(self) -> str:
        """The name."""
        ...


Task = TypeVar("Task", bound=Keyed)
Result = TypeVar("Result")


class Cluster(NamedTuple):
    """Something that runs tasks."""

    executor: Executor
    window: int
    """Tasks that it is given at a time: what a broken executor costs at most, and enough to keep all workers busy."""
    attempts: int = 3
    """How often a task may lose its worker before it is given up."""


class Lost(NamedTuple):
    """A task that never came back."""

    why: str


def drive(
    cluster: Cluster,
    work: Callable[[Task], Result],
    queue: deque[Task],
    again: Callable[[Task, str], None] = lambda task, why: None,
) -> Generator[tuple[Task, Result | Lost], None, None]:
    """Each task of the queue with its result, as they finish; more may be put into the queue meanwhile.

    `work` answers whatever happens in it, so an error means that its worker or the way to it is gone; `again` is told
    of those that are tried again. Leaving early calls off what has not begun. Raises SlosimError if the executor calls
    off work by itself.
    """
    tries: Counter[str] = Counter()
    flying: dict[Future[Result], Task] = {}
    try:
        while queue or flying:
            while queue and len(flying) < cluster.window:
                task = queue.popleft()
                flying[cluster.executor.submit(work, task)] = task
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                task = flying.pop(future)
                why = _trouble(future)
                if not why:
                    yield task, future.result()
                    continue
                tries[task.key] += 1
                if tries[task.key] < cluster.attempts:
                    again(task, why)
                    queue.append(task)
                else:
                    times = f"{cluster.attempts} times" if cluster.attempts > 1 else "for good"
                    helps = MEMORY if why.startswith("BrokenProcessPool") else ""
                    yield task, Lost(f"its worker was lost {times}: {why}{helps}")
    finally:
        for future in flying:
            future.cancel()


def _trouble(future: Future[Result]) -> str:
    """Why a future has no result, if it has none; raises SlosimError if the executor gave up by itself."""
    try:
        error = future.exception()
    except CancelledError:
        raise SlosimError(
            "the executor called off its work: its scheduler is gone or was stopped. What is finished is kept; start "
            "it again, and the same command goes on from here"
        ) from None
    return f"{type(error).__name__}: {error}".strip(": ") if error else ""
