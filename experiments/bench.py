"""Prints how fast the simulator is, as ratios to a bare SimPy timeout loop measured in the same run.

examples:
  python -m experiments.bench
  python -m experiments.bench light heavy --json bench.json
  python -m experiments.bench --million
  python -m experiments.bench --sweep
  python -m experiments.bench --reading
"""

from __future__ import annotations

import json
import platform
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.measure import QUICK, Bench, Line, Scale, bare_timeouts, million
from experiments.policy_cost import MOST_GROWTH, MOST_TIMES, Cost
from experiments.reading_cost import HEADER as READING
from experiments.reading_cost import reading_costs
from experiments.sweep_cost import sweep_cost

TITLES = {
    "light": "Light load: ShareGPT with SLOs at 60 % of capacity",
    "heavy": "Heavy load: the same at 150 %, in the paper's 12 GB cache",
    "reference": "Reference: 5,000 ShareGPT requests, 128 sequences, 512-token budget, 7168 blocks of 16",
    "batch": "One iteration against the number of running requests (none skipped)",
    "queue": "One iteration against the number of waiting requests (none skipped)",
    "backlog": "Every policy with a backlog: the paper's mix at 8 requests/s in its 12 GB cache.\n"
    f"PASS: at most {MOST_TIMES:g} times sarathi with the middle backlog, and growing at most as n^{MOST_GROWTH:g}",
}

HEADER = f"{'':28}{'iterations/s':>14}{'ratio':>8}{'us each':>9}{'requests/s':>12}{'preempted':>11}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _options(arguments)
    scale = QUICK if options.quick else Scale()
    bench = Bench(scale)
    rate = bare_timeouts(scale.timeouts)
    print(f"Python {platform.python_version()}; SimPy: {rate:,.0f} bare timeouts per CPU second, which is ratio 1")
    lines: list[Line | Cost] = []
    alone = options.million or options.sweep or options.reading
    for name in options.groups or ([] if alone else bench.groups()):
        print(f"\n{TITLES[name]}\n{HEADER if name != 'backlog' else _header(scale.backlogs)}")
        for line in bench.groups()[name]():
            print(_in_words(line) if isinstance(line, Line) else _with_verdict(line), flush=True)
            lines.append(line)
    figures: dict[str, Any] = {"bare_timeouts_per_second": rate, "lines": [line._asdict() for line in lines]}
    figures["peak_memory_bytes"] = _peak_memory()
    print(f"\nPeak memory so far: {figures['peak_memory_bytes'] / 1e6:,.0f} MB")
    if options.million:
        figures["million"] = _million(scale.million)
    if options.sweep:
        cost = sweep_cost(scale.points)
        print(f"\n{cost}")
        figures["sweep"] = asdict(cost)
    if options.reading or not (alone or options.groups):
        figures["reading"] = _reading(scale.rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


def _options(arguments: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser("experiments.bench", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(TITLES)} (all, unless said)")
    parser.add_argument("--million", action="store_true", help="a million requests through vllm: CPU seconds, memory")
    parser.add_argument("--sweep", action="store_true", help="CPU time of a sweep per point, beside its simulation")
    parser.add_argument("--reading", action="store_true", help="CPU time of reading trace files, beside pyarrow's")
    parser.add_argument("--quick", action="store_true", help="hardly any work: shows that it runs")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - TITLES.keys():
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    return options


def _in_words(line: Line) -> str:
    rate = line.iterations_per_second
    requests = "" if line.requests_per_second != line.requests_per_second else f"{line.requests_per_second:,.0f}"
    return f"{line.name:28}{rate:14,.0f}{line.ratio:8.3f}{1e6 / rate:9.1f}{requests:>12}{line.preemptions:11,}"


def _header(backlogs: Sequence[int]) -> str:
    columns = "".join(f"{f'{backlog:,}':>8}" for backlog in backlogs)
    return f"{'us per iteration, waiting:':32}{columns}{'ratio':>8}{'x sarathi':>11}{'of rounds':>15}{'growth':>9}"


def _with_verdict(cost: Cost) -> str:
    each = "".join(f"{microseconds:8.1f}" for microseconds in cost.microseconds.values())
    rounds = f"{cost.lowest:.2f} to {cost.highest:.2f}"
    told = f"{cost.name:32}{each}{cost.ratio:8.3f}{cost.times_sarathi:11.2f}{rounds:>15}"
    return f"{told}{f'n^{cost.growth:.2f}':>9}  {cost.verdict}"


def _peak_memory() -> float:
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * 1024.0


def _reading(rows: int) -> list[dict[str, Any]]:
    print(f"\n{READING}")
    costs = []
    for cost in reading_costs(rows):
        print(cost, flush=True)
        costs.append({**cost._asdict(), "ratio": cost.ratio, "verdict": cost.verdict})
    return costs


def _million(requests: int) -> dict[str, float]:
    figures = million(requests)
    print(
        f"\n{requests:,} ShareGPT requests through vllm: {figures['simulate_cpu_seconds']:.1f} s of CPU to simulate "
        f"({figures['process_cpu_seconds']:.1f} s for all of the process), {figures['iterations']:,.0f} iterations, "
        f"{figures['peak_memory_bytes'] / 1e9:.2f} GB at the peak"
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
