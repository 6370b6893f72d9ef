"""Searches for the order of requests that maximises an objective, with the simulator in the loop.

It knows all arrivals and lengths. It starts from the execution orders of the policies (-p), from orders by length and
from putting the largest off, and changes the best again and again; the policies themselves are candidates, too, so that
what it finds is never worse than they are. Same seed and number of simulations, same outcome, on however many cores.

examples:
  slosim search --rate 0.6 --requests 400                          token goodput, two minutes, all cores
  slosim search --rate 8 --requests 400 --objective request_goodput --minutes 10
  slosim search study.toml --simulations 2000 -p accelgen -p oracle
  slosim compare --rate 0.6 --requests 400 --sweep none -p accelgen -p planned,plan=results/search/plan.json

Ctrl-C stops and keeps the best so far.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from math import inf

from experiments.commands.options import (
    add_machine,
    add_output,
    add_running,
    add_workload,
    count,
    positive,
    scenario_from,
    whole,
)

MINUTES = 2.0
"""How long it searches unless told otherwise."""


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO.toml", help="settings to start from")
    parser.add_argument("-p", "--policy", action="append", metavar="SPEC", help="a policy to start from; repeat")
    parser.add_argument("--rate", dest="one_rate", type=positive, metavar="R", help="arrivals, requests/s")
    parser.add_argument("--objective", default="goodput", metavar="METRIC", help="what to maximise (default: goodput)")
    parser.add_argument("--minutes", type=positive, metavar="M", help=f"how long to search (default: {MINUTES:g})")
    parser.add_argument("--simulations", type=count, metavar="N", help="how many to make at most, in place of minutes")
    parser.add_argument("--search-seed", type=whole, default=0, metavar="N", help="seed of the search (default 0)")
    parser.add_argument(
        "--together", type=count, default=8, metavar="N", help="neighbours simulated in one round (default 8)"
    )
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    add_output(parser, "results/search")
    parser.add_argument("--jobs", type=count, metavar="N", help="processes (default: all cores)")


def main(options: Namespace) -> int:
    """Searches."""
    from experiments.compare import DEFAULTS
    from experiments.console import console
    from experiments.header import numbers_meant
    from experiments.pool import processes
    from experiments.search.objective import objective
    from experiments.search.searching import Searching

    goal = objective(options.objective)
    if options.one_rate is not None:
        options.set.append(f"trace.rate={options.one_rate}")
    defaults = {"trace": DEFAULTS["trace"]} if options.trace is None else {}
    scenario = scenario_from(options, defaults).at(None)
    for told in numbers_meant([scenario.trace]):
        console().print(told, markup=False)
    minutes = options.minutes or (MINUTES if options.simulations is None else inf)
    Searching(
        scenario,
        goal,
        options.output,
        console(),
        processes(options.jobs),
        options.search_seed,
        options.together,
        60 * minutes,
        options.simulations,
    ).run()
    return 0
