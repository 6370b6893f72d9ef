"""How far a sweep is: a bar on a terminal, a line now and then elsewhere, with the time that is left."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from experiments.console import Steps
from experiments.sweeps.running import Found, Running
from experiments.sweeps.store import Record

EVERY = 2.0
"""Seconds between two lines where there is no terminal."""


@dataclass
class Progress:
    """Counts points, and tells."""

    steps: Steps
    before: int = 0
    """Points that had been run before."""
    began: float = field(default_factory=perf_counter)
    last: float = float("-inf")
    """When something was told."""

    def told(self, found: Found) -> None:
        """One more is done; a failure is told in any case."""
        point, kept, before = found
        if before:
            self.kept()
        elif isinstance(kept, Record):
            self.finished(f"{point.title}: {kept.seconds:.1f} s")
        else:
            self.finished(f"{point.title}: FAILED: {kept.error}", urgent=True)

    def kept(self) -> None:
        """One more is done, and was so before."""
        self.before += 1
        self.steps.reached(self.steps.done + 1, "kept before")

    def finished(self, text: str, urgent: bool = False) -> None:
        """One more is done; what is urgent is told in any case."""
        steps, now = self.steps, perf_counter()
        done = steps.done + 1
        left = (now - self.began) / (done - self.before) * (steps.total - done)
        line = f"{text}; {said(left)} left" if done < steps.total else text
        steps.reached(done, line)
        if steps.out.is_terminal and not urgent:
            return
        if urgent or now - self.last >= EVERY or done == steps.total:
            self.last = now
            steps.out.print(f"[{done}/{steps.total}] {line}", markup=False)

    def mended(self, running: Running) -> None:
        """Prints how many workers died and how many kept points were damaged, if any."""
        for line in running.told():
            self.steps.out.print(line, markup=False, soft_wrap=True)


def said(seconds: float) -> str:
    """A time in words: `12 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
