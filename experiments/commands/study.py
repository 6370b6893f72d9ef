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

from experiments.commands.options import add_output
from experiments.commands.sweep import add_executor


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="a study, several, or all (default: list them)")
    parser.add_argument("--seeds", type=int, metavar="N", help="replications (default: the study's)")
    parser.add_argument("--requests", type=int, metavar="N", help="requests of each run (default: the study's)")
    parser.add_argument("--quick", action="store_true", help="hardly any work: shows that it runs")
    add_output(parser, "results/studies")
    add_executor(parser)


def main(options: Namespace) -> int:
    """Studies."""
    from dataclasses import replace

    from experiments.console import console
    from experiments.studies import STUDIES, study_of
    from experiments.studies.running import Studying

    out = console()
    if not options.names:
        for name, what in STUDIES.items():
            out.print(f"{name:12} {what}", markup=False)
        return 0
    studies = [study_of(name) for name in (STUDIES if options.names == ["all"] else options.names)]
    studying = Studying(options.output, out, options.executor, options.jobs)
    for each in studies:
        sized = each.quick() if options.quick else each
        sized = replace(sized, seeds=options.seeds or sized.seeds, requests=options.requests or sized.requests)
        studying.run(sized)
    return 0
