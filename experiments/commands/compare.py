"""Compares policies on one workload, at one or more loads.

Without options: vLLM, ORCA, FastGen, Sarathi, AccelGen, Punctual and Oracle on the paper's mixed workload, in detail at
0.6 and at the paper's 8 requests/s, with a sweep from idle to there; one A100 with OPT-13B and the paper's 12 GB of KV
cache.

examples:
  slosim compare
  slosim compare --rate 0.5,1 --sweep none -p vllm -p sarathi,chunk_size=256 --baseline vllm
  slosim compare --trace AzureLLMInferenceTrace_conv.csv --requests 2000 --profile opt-13b@a100-80gb
  slosim compare --rate 0.6 --sweep none --seeds 10       differences between policies with confidence intervals
  slosim compare --profile mine.json --profile-draws 20   what the calibration leaves open
  slosim compare study.toml --set trace.requests=500      a scenario file; --set changes any of its settings

If a run or a picture fails, all others are written, the failure is reported at the end, and the exit code is 1. A
former comparison in the folder is removed first; a folder with other files is refused (--overwrite writes beside them).

Ctrl-C stops; the runs that are finished stay. A name with parameters is name,key=value,...; module:Class is a policy
of your own (slosim list policies shows what there is).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments.commands.options import add_machine, add_output, add_running, add_workload, count, rates, scenario_from


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("scenario", nargs="?", metavar="SCENARIO.toml", help="settings to start from")
    parser.add_argument("-p", "--policy", action="append", metavar="SPEC", help="a policy to compare; repeat for more")
    parser.add_argument("--baseline", metavar="NAME", help="the policy that ratios are taken to (default: the first)")
    parser.add_argument(
        "--rate", type=rates, metavar="R,...", help="loads in detail, requests/s: tables, pictures, files"
    )
    parser.add_argument("--sweep", type=rates, metavar="R,...", help="further loads for sweep.png, requests/s; or none")
    parser.add_argument("--seeds", type=count, metavar="N", help="replications, for confidence intervals (default 1)")
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    add_output(parser, "results/compare")
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a folder that holds files of others, beside them"
    )
    parser.add_argument(
        "--timeline", action="store_true", help="also write a timeline of each detailed run, for Perfetto"
    )
    parser.add_argument(
        "--profile-draws",
        type=count,
        metavar="N",
        help="also on N fits that the profile's points allow as well (e.g. 20)",
    )
    parser.add_argument("--jobs", type=count, metavar="N", help="processes (default: all cores)")


def main(options: Namespace) -> int:
    """Compares."""
    from experiments.compare import DEFAULTS, Comparing
    from experiments.console import console
    from experiments.pool import processes
    from experiments.profile_draws import check, compare_draws

    defaults = DEFAULTS if options.trace is None else {}
    if options.rate is not None:
        defaults = {**defaults, "sweep": []}
    scenario = scenario_from(options, defaults)
    jobs = processes(options.jobs)
    if options.profile_draws is not None:
        check(scenario, options.profile_draws)
    settings = (options.baseline, options.timeline, options.overwrite)
    failed = Comparing(scenario, options.output, console(), jobs, *settings).run()
    if options.profile_draws is not None and not failed:
        compare_draws(scenario, options.profile_draws, options.output, console(), jobs)
    return 1 if failed else 0
