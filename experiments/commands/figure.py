"""Makes figures and tables of the papers anew: pictures, tables, and a verdict on each claim.

The runs are points of a sweep: what is finished is kept and not run again while scenario and source are the same, so
an interrupted command goes on where it was, and figures share what they have in common. reproduction.md holds every
claim beside our number, with the loads at which it holds; --docs puts it, with its pages and pictures, elsewhere.

examples:
  slosim figure                       what there is
  slosim figure mixed
  slosim figure all --jobs 2
  slosim figure all --quick           hardly any work: shows that it runs
  slosim figure all --docs docs       writes docs/reproduction.md and docs/figures/
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.options import add_named, named
from experiments.commands.sweep import add_executor

if TYPE_CHECKING:
    from experiments.figures.figure import Figure


def configure(parser: ArgumentParser) -> None:
    """The options."""
    add_named(parser, "figure", "results/figures")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="also write reproduction.md there; not if --quick")
    add_executor(parser)


def main(options: Namespace) -> int:
    """Figures."""
    from experiments.figures import FIGURES, figure_of
    from traces.errors import SlosimError

    names = named(options, FIGURES)
    if not names:
        return 0
    if options.docs and (options.quick or options.names != ["all"]):
        raise SlosimError("--docs is for all figures in full: slosim figure all --docs FOLDER")
    chosen = [figure_of(name) for name in names]
    sized = [each.quick() if options.quick else each for each in chosen]
    _make([each.sized(options.seeds, options.requests) for each in sized], options)
    return 0


def _make(figures: list[Figure], options: Namespace) -> None:
    from experiments.console import console
    from experiments.figures.running import Figuring, publish
    from experiments.studies.running import Studying

    command = " ".join(["slosim figure", *options.names, *(["--quick"] if options.quick else [])])
    studying = Studying(options.output, console(), options.executor, options.jobs)
    drawn = Figuring(studying).run(figures, command)
    if options.docs:
        publish(drawn, options.docs, f"{command} --docs {options.docs}")
