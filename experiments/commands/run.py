"""Serves one workload with one policy and prints its metrics.

examples:
  slosim run accelgen --rate 0.6
  slosim run sarathi,chunk_size=256 --trace conversations.csv --profile my-gpu.json
  slosim run accelgen --rate 0.6 --requests 500 --timeline       open the timeline in ui.perfetto.dev
  slosim run vllm study.toml --set slos.rule=none
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.commands.options import add_machine, add_output, add_running, add_workload, positive, scenario_from

if TYPE_CHECKING:
    from rich.console import Console

    from sim.result import RunResult


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("spec", metavar="POLICY", help="name,key=value,... or module:Class")
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO.toml", help="settings to start from")
    parser.add_argument("--rate", dest="one_rate", type=positive, metavar="R", help="arrivals, requests/s")
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    add_output(parser, "results/run")
    parser.add_argument("--timeline", action="store_true", help="also write timeline.json.gz, for Perfetto")
    parser.add_argument("--window", metavar="FROM:TO", help="seconds that the timeline shows (default: all that fit)")


def main(options: Namespace) -> int:
    """Runs."""
    from experiments.compare import DEFAULTS
    from experiments.console import Steps, console
    from experiments.grid import Cell, keep
    from experiments.header import cautions, print_header
    from experiments.inputs import build, quiet_reading, run
    from experiments.named import split_spec
    from experiments.runs_table import replica_table
    from experiments.table import Comparison

    window = _window(options.window)
    defaults = {"trace": DEFAULTS["trace"]} if options.trace is None else {}
    options.rate, options.policy = None, [split_spec(options.spec)]
    if options.one_rate is not None:
        options.set.append(f"trace.rate={options.one_rate}")
    scenario = scenario_from(options, defaults)
    scenario = scenario.at(None)
    cell = Cell(scenario, 0, scenario.trace.rate, scenario.trace.seed, options.output, detailed=True)
    out = console()
    with quiet_reading():
        inputs = build(scenario)
    print_header(out, scenario, inputs, [scenario.trace.rate] if scenario.trace.rate else [])
    with Steps(out, cell.title, len(inputs.trace)) as steps:
        result = run(scenario, scenario.policies[0], inputs, lambda done, _, now: steps.reached(done, f"{now:.0f} s"))
    keep(result, cell, options.output)
    for table in Comparison.of({cell.title: result.summary()}).tables(out.width):
        out.print(table)
    if replicas := replica_table({cell.title: result}):
        out.print(f"\n{replicas}", markup=False, highlight=False)
    for line in cautions({cell.title: result}):
        out.print(line, markup=False, highlight=False)
    out.print(f"Files are in {options.output}", markup=False)
    if options.timeline:
        _write_timeline(result, options.output / "timeline.json.gz", window, out)
    return 0


def _write_timeline(result: RunResult, path: Path, window: tuple[float, float] | None, out: Console) -> None:
    from experiments.timeline import write_timeline

    written = write_timeline(result, path, window)
    cut = "; more does not fit, see --window" if written.cut else ""
    shown = f"{written.events:,} events from {written.begin:.1f} to {written.end:.1f} s{cut}"
    out.print(f"{path.name}: {shown}; open it in ui.perfetto.dev", markup=False)


def _window(text: str | None) -> tuple[float, float] | None:
    from traces.errors import SlosimError

    if text is None:
        return None
    try:
        begin, end = (float(part) for part in text.split(":"))
    except ValueError:
        raise SlosimError(f"--window {text}: write it as FROM:TO in seconds, such as 100:160") from None
    if not -inf < begin < end < inf:
        raise SlosimError(f"--window {text}: it must begin before it ends, as in 100:160")
    return begin, end
