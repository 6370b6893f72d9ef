"""Bounds the goodput of a workload on a machine: figures that no scheduler can exceed, and why (docs/bound.md).

Nothing is simulated. `slosim compare` shows each policy's share of the bound.

examples:
  slosim bound
  slosim bound --rate 0.5,1,2 --requests 1000
  slosim bound --trace AzureLLMInferenceTrace_conv.csv --requests 2000 --profile opt-13b@a100-80gb
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments.commands.options import add_machine, add_workload, rates, scenario_from


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO.toml", help="settings to start from")
    parser.add_argument("--rate", type=rates, metavar="R,...", help="loads, requests/s")
    add_workload(parser)
    add_machine(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="any setting, e.g. slos.scale=2"
    )


def main(options: Namespace) -> int:
    """Bounds."""
    from experiments.bound.report import bounded, table
    from experiments.compare import DEFAULTS
    from experiments.console import console
    from experiments.header import numbers_meant
    from experiments.inputs import build, load_in_words

    scenario = scenario_from(options, DEFAULTS if options.trace is None else {})
    out = console()
    for told in numbers_meant([scenario.trace]):
        out.print(told, markup=False)
    for rate in scenario.rates or (scenario.trace.rate,):
        at = scenario.at(rate)
        found = bounded(build(at), at.replicas)
        out.rule(load_in_words(at.trace, rate), align="left")
        out.print(table(found))
        out.print(f"serving all of them takes {found.shortest:,.1f} s or more", markup=False)
    return 0
