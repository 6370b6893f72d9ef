"""Prints the progress of a command: a bar on a terminal, plain lines elsewhere; all text literally."""

from __future__ import annotations

from io import StringIO
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from experiments.escaping import literally

WIDTH = 120
"""Characters of a line where there is no terminal to ask."""


class Literal(Console):
    """A console that shows text literally: no markup, no emoji codes, no terminal escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text, with control characters escaped."""
        return super().render_str(literally(text, lines=True), **options)


def console() -> Console:
    """Standard output; without colours and at a fixed width where it is no terminal."""
    out = Literal(soft_wrap=False)
    return out if out.is_terminal else Literal(width=WIDTH)


def as_text(width: int, *shown: RenderableType) -> str:
    """Things of rich as plain text, one below the other, also where rich would draw into a notebook."""
    out = Literal(file=StringIO(), width=width, color_system=None, force_jupyter=False)
    for each in shown:
        out.print(each)
    assert isinstance(out.file, StringIO)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines()) + "\n"


class Steps:
    """Counts finished steps of some work, as a context."""

    def __init__(self, out: Console, what: str, total: int) -> None:
        self.out = out
        self.what = what
        self.total = total
        self.done = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Steps:
        if self.out.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=self.out, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(literally(self.what), total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def finished(self, text: str) -> None:
        """One more step is done."""
        self.done += 1
        if self._bar:
            self._bar.update(self._task, advance=1, description=literally(text))
        else:
            self.out.print(f"[{self.done}/{self.total}] {literally(text)}", markup=False)

    def reached(self, done: int, text: str) -> None:
        """So many are done, for work that counts by itself; told only where a bar shows it."""
        self.done = done
        if self._bar:
            self._bar.update(self._task, completed=done, description=literally(text))
