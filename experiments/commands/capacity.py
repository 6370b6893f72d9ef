"""Finds the highest rate at which each policy keeps a target, by bisection, with an interval over seeds.

All rates and all policies see the same requests under one seed, only nearer to each other. Each run is kept in a file
of its own, as `slosim sweep` does, so that the same command does only what is missing; a file with `grid` or `cases`
gives a capacity for each of its settings (its rates are not used).

examples:
  slosim capacity -p vllm -p accelgen --target "slo_attainment_requests>=0.5"
  slosim capacity study.toml --target "p99_ttft<=2" --target "p99_tbt<=0.2" --seeds 20
  slosim capacity --target "mean_jct<=30" --requests 3000 --tolerance 0.005 --executor dask:tcp://head:8786
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.commands.options import add_machine, add_output, add_running, add_workload, count, overrides, positive
from experiments.commands.sweep import add_executor

DEFAULT = {"trace": {"source": "paper_mix", "requests": 1000}}
"""What is served unless told otherwise: the paper's mix."""
SEEDS = 10
"""Replications unless told otherwise."""


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", nargs="?", metavar="FILE.toml", type=Path, help="a scenario; with `grid` or `cases`")
    parser.add_argument("-p", "--policy", action="append", metavar="SPEC", help="a policy; repeat for more")
    parser.add_argument(
        "--target",
        action="append",
        required=True,
        metavar="METRIC>=VALUE",
        help="what is to be kept, or METRIC<=VALUE, of the metrics of `slosim run`; repeat for more",
    )
    parser.add_argument("--tolerance", type=positive, default=0.01, metavar="X", help="relative error (default 0.01)")
    parser.add_argument(
        "--start", type=positive, default=1.0, metavar="R", help="where to begin, requests/s (default 1)"
    )
    parser.add_argument("--seeds", type=count, metavar="N", help=f"replications (default {SEEDS})")
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    add_output(parser, "results/capacity")
    add_executor(parser)


def main(options: Namespace) -> int:
    """Searches."""
    from experiments.console import console
    from experiments.header import numbers_meant
    from experiments.named import check_metric
    from experiments.selections import SELECTION
    from experiments.settings import put, read_toml
    from experiments.sweeps.capacities import Capacities
    from experiments.sweeps.capacity import Target
    from experiments.sweeps.plan import points_of
    from traces.errors import SlosimError

    if not options.tolerance < 1:
        raise SlosimError(f"--tolerance {options.tolerance:g}: write a share between 0 and 1")
    if not 1e-6 <= options.start <= 1e6:
        raise SlosimError(f"--start {options.start:g}: write requests/s from 1e-06 to 1e+06")
    targets = [Target.of_text(text) for text in options.target]
    for target in targets:
        check_metric(target.metric, f"--target {target}", SELECTION)
    table = {"seeds": SEEDS, **(read_toml(options.file) if options.file else DEFAULT)}
    for name, value in overrides(options):
        put(table, name, value)
    points, out = points_of(table | {"rates": [], "sweep": []}), console()
    out.print(f"{len(points)} searches, by {options.executor}", markup=False)
    for told in numbers_meant(point.scenario.trace for point in points):
        out.print(told, markup=False)
    asked = {**table, "targets": [str(target) for target in targets]}
    settings = (options.executor, options.jobs, options.start, options.tolerance)
    return 1 if Capacities(points, targets, options.output, out, asked, *settings).run() else 0
