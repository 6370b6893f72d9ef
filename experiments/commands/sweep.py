"""Runs every combination of the settings that a file lists, with every policy, load and seed.

The file is a scenario with lists of values (`grid`) for any of its settings, or with tables of settings that go
together (`cases`). Each run is kept in a file of its own, named by all that it depends on, so that the same command
does only what is missing: after an interrupt, a failure, or with more seeds. What failed is kept, told, and makes the
exit code 1.

  policies = ["vllm", "accelgen"]      # study.toml
  rates = [0.3, 0.6]
  seeds = 10

  [grid]
  cache.kv_blocks = [300, 457]

examples:
  slosim sweep study.toml
  slosim sweep study.toml --jobs 8 --seeds 20
  slosim sweep study.toml --set "grid.trace.burstiness=[0.25, 1]" --set trace.arrivals=gamma
  slosim sweep study.toml --executor dask:tcp://head:8786        workers of a Dask cluster
  slosim sweep study.toml --executor slurm:cluster.toml          workers as SLURM jobs, by dask-jobqueue
  slosim sweep study.toml --executor my_module:executor          what my_module.executor() returns
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.commands.options import add_machine, add_output, add_running, add_workload, count, overrides


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", metavar="FILE.toml", type=Path, help="a scenario with `grid` or `cases`")
    parser.add_argument("-p", "--policy", action="append", metavar="SPEC", help="a policy; repeat for more")
    parser.add_argument("--seeds", type=count, metavar="N", help="replications")
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    add_output(parser, "results/sweep")
    add_executor(parser)


def add_executor(parser: ArgumentParser) -> None:
    """Where it is run."""
    group = parser.add_argument_group("executor")
    group.add_argument(
        "--executor",
        default="local",
        metavar="WHERE",
        help="local (processes; the default), serial, dask:ADDRESS, slurm:FILE.toml, or module:callable",
    )
    group.add_argument(
        "--jobs", type=count, metavar="N", help="processes (default: all cores); elsewhere: runs at a time"
    )


def main(options: Namespace) -> int:
    """Sweeps."""
    from experiments.console import console
    from experiments.header import files_read, numbers_meant
    from experiments.settings import put, read_toml
    from experiments.sweeps.plan import points_of
    from experiments.sweeps.sweeping import Sweeping

    table = read_toml(options.file)
    for name, value in overrides(options):
        put(table, name, value)
    points, out = points_of(table), console()
    out.print(f"{len(points)} points, by {options.executor}", markup=False)
    for told in files_read(point.scenario.trace for point in points):
        out.print(f"read {told}", markup=False)
    for told in numbers_meant(point.scenario.trace for point in points):
        out.print(told, markup=False)
    sweep = Sweeping(points, options.output, out, table, options.executor, options.jobs)
    return 1 if sweep.run() else 0
