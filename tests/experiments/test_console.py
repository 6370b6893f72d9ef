"""Progress: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from experiments.console import Steps, console


def test_plain_lines_count() -> None:
    out = StringIO()
    with Steps(Console(file=out, width=80), "work", 2) as steps:
        steps.finished("one [a]")
        steps.reached(1, "silent")
        steps.finished("two")
    assert out.getvalue() == "[1/2] one [a]\n[2/2] two\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    out = StringIO()
    with Steps(Console(file=out, width=80, force_terminal=True), "work", 3) as steps:
        steps.finished("first done")
        steps.reached(2, "nearly")
        assert steps.done == 2
    assert "work" in out.getvalue()
    assert "2/3" in out.getvalue()
    assert "[1/3]" not in out.getvalue()


def test_no_terminal_means_a_fixed_width() -> None:
    assert console().width == 120
