"""Makes, describes or converts a trace.

SOURCE is paper_mix, alpaca, sharegpt, bookcorpus, or a file or folder in any format of `slosim list formats`.

examples:
  slosim trace ShareGPT_V3_unfiltered_cleaned_split.json              what is in it
  slosim trace azure.csv -o azure.parquet                             convert; .csv and .csv.gz, too
  slosim trace log.csv --columns arrived_at=ts,prompt_tokens=n_in,output_tokens=n_out --time-unit ms
  slosim trace azure.csv --from 2023-11-16T18:20 --to 2023-11-16T18:30     a window; or seconds after the first arrival
  slosim trace books --format text                                    prose: each text is a prompt
  slosim trace paper_mix --requests 20000 --rate 8 -o mix.parquet     make one
  slosim trace sharegpt.json --rate 4 --set trace.arrivals=gamma --set trace.burstiness=0.5 -o bursty.csv
  slosim trace mix.csv --slos --profile opt-13b@a100-80gb -o with-slos.csv
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.commands.options import add_reading, count, positive, whole
from experiments.escaping import say


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("source", metavar="SOURCE", help="what to make or read")
    add_reading(parser)
    parser.add_argument("--requests", type=count, metavar="N", help="how many (of a file: the first ones)")
    parser.add_argument("--rate", dest="one_rate", type=positive, metavar="R", help="arrivals, requests/s")
    parser.add_argument("--seed", type=whole, metavar="N", help="seed of everything random (default 0)")
    parser.add_argument("--slos", action="store_true", help="give every request objectives (the paper's, unless --set)")
    parser.add_argument("--profile", metavar="NAME", help="whose prefill times the objectives follow")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="any setting, e.g. trace.fitted=true"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help=".parquet, .csv or .csv.gz to write")


def main(options: Namespace) -> int:
    """Makes, describes, writes."""
    from experiments.commands.options import scenario_from
    from experiments.inputs import quiet_reading, readings, the_profile, the_trace, with_objectives

    options.trace = options.source
    if options.one_rate is not None:
        options.set.append(f"trace.rate={options.one_rate}")
    scenario = scenario_from(options)
    with quiet_reading():
        trace, read = the_trace(scenario.trace), readings(scenario.trace)
    if options.slos:
        trace = with_objectives(trace, scenario.slos, the_profile(scenario), scenario.trace.seed)
    say(trace.describe())
    for reading in read:
        say(f"  read {reading.path}: {reading.describe()}")
    if options.output:
        about = {} if trace.reading is None else {"read": json.dumps(trace.reading.to_dict())}
        say(f"written to {trace.save(options.output, **about)}")
    return 0
