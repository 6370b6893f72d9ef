"""Answers a question about schedulers by a grid of runs: tables (text, Markdown, CSV) and a verdict.

Finished runs are kept and not run again while scenario and source are the same, so an interrupted study goes on where
it was, and studies share what they have in common.

examples:
  slosim study                        what there is
  slosim study ablation
  slosim study all --jobs 2
  slosim study sensitivity --seeds 3 --requests 200       smaller
  slosim study all --quick                                hardly any work: shows that it runs
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments.commands.options import add_named, named
from experiments.commands.sweep import add_executor


def configure(parser: ArgumentParser) -> None:
    """The options."""
    add_named(parser, "study", "results/studies")
    add_executor(parser)


def main(options: Namespace) -> int:
    """Studies."""
    from dataclasses import replace

    from experiments.console import console
    from experiments.studies import STUDIES, study_of
    from experiments.studies.running import Studying

    names = named(options, STUDIES)
    if not names:
        return 0
    studies = [study_of(name) for name in names]
    studying = Studying(options.output, console(), options.executor, options.jobs)
    for each in studies:
        sized = each.quick() if options.quick else each
        sized = replace(sized, seeds=options.seeds or sized.seeds, requests=options.requests or sized.requests)
        studying.run(sized)
    return 0
