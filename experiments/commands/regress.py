"""Guards policies against regressions: exact golden stories, and a statistical gate over seeds.

Without a policy, the built-in policies are run on small fixed workloads, and what they do must be what is written
down, to the last token (--update writes it anew; the change is then a diff to review). With one, it is compared with a
baseline on the same requests, seed by seed, and must not be worse than margins allow, beyond chance.

examples:
  slosim regress                                                        the golden stories
  slosim regress my_module:Policy --against vllm                        the usual margins, at 0.4 and 0.6 requests/s
  slosim regress accelgen,gamma=0.5 --against accelgen --rate 0.6 --max p99_ttft:+2% --min goodput:-1%
  slosim regress vllm --write base.json                                 keep a baseline in a file
  slosim regress my_module:Policy --against base.json --junit gate.xml --markdown gate.md
  slosim regress --stories mine.json -p my_module:Policy --update       golden stories of your own

Exit code: 0 passed, 1 failed, 3 undecided, 2 bad input. Where GITHUB_STEP_SUMMARY is set the table is added to it.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.commands.options import add_machine, add_running, add_workload, count, rates

CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("candidate", nargs="?", metavar="POLICY", help="policy to judge (default: golden stories)")
    gate = parser.add_argument_group("gate")
    gate.add_argument("--against", metavar="POLICY|FILE", help="baseline: a policy, or a file that --write made")
    gate.add_argument("--max", action="append", default=[], metavar="METRIC:+2%", help="may rise so much; repeat")
    gate.add_argument("--min", action="append", default=[], metavar="METRIC:-1%", help="may fall so much; repeat")
    gate.add_argument("--rate", type=rates, metavar="R,...", help="loads, requests/s (default: 0.4,0.6)")
    gate.add_argument("--seeds", dest="first_seeds", type=count, default=8, metavar="N", help="to begin with (8)")
    gate.add_argument("--most-seeds", type=count, default=32, metavar="N", help="while undecided (32)")
    gate.add_argument("--write", type=Path, metavar="FILE", help="only run POLICY and write a baseline")
    gate.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    gate.add_argument("--junit", type=Path, metavar="FILE", help="write a JUnit report")
    stories = parser.add_argument_group("golden stories")
    stories.add_argument("--stories", type=Path, metavar="FILE", help="another file of stories")
    stories.add_argument("-p", "--policy", dest="told", action="append", metavar="SPEC", help="only this; repeat")
    stories.add_argument("--update", action="store_true", help="write them instead of comparing")
    add_workload(parser)
    add_machine(parser)
    add_running(parser)
    parser.add_argument("--jobs", type=count, metavar="N", help="processes (default: all cores)")


def main(options: Namespace) -> int:
    """Guards."""
    from experiments.pool import processes
    from traces.errors import SlosimError

    jobs = processes(options.jobs)
    if options.candidate is None:
        for name in ("against", "write", "markdown", "junit", "max", "min"):
            if getattr(options, name):
                raise SlosimError(
                    f"--{name} is for a policy: name it first, as in slosim regress accelgen --{name} ..."
                )
        return _stories(options, jobs)
    if options.update or options.stories or options.told:
        raise SlosimError("--stories, -p and --update are for golden stories: leave the policy out")
    if not (options.against or options.write):
        raise SlosimError(f"slosim regress {options.candidate}: say what to compare with, as in --against vllm")
    return _gate(options, jobs)


def _stories(options: Namespace, jobs: int) -> int:
    from experiments.console import Steps, console
    from experiments.regress import stories

    out, path = console(), options.stories or stories.GOLDEN
    policies = options.told or stories.known_policies()
    with Steps(out, "stories", len(policies) * len(stories.CASES)) as steps:
        now = stories.tell(policies, jobs, steps.finished)
    if options.update:
        kept = stories.read(path) if options.told and path.exists() else {}
        stories.write(path, kept | now)
        out.print(f"Written to {path}: look at the diff", markup=False)
        return 0
    found = list(stories.compare(stories.read(path), now))
    for each in found:
        out.print(str(each), markup=False, soft_wrap=True)
    number = sum(map(len, now.values()))
    out.print(
        f"{len(found)} of {number} stories changed; if that is meant: slosim regress --update, and review the diff"
        if found
        else f"all {number} stories are as written in {path.name}",
        markup=False,
        soft_wrap=True,
    )
    return 1 if found else 0


def _gate(options: Namespace, jobs: int) -> int:
    from experiments.commands.options import scenario_from
    from experiments.console import Steps, console
    from experiments.files import write_text
    from experiments.regress import baseline, report
    from experiments.regress.gate import DEFAULT_MARGINS, RATES, REQUESTS, Runs, verdict
    from experiments.regress.margins import Margin
    from experiments.regress.settings import defaults, gate_of, policy_of

    out = console()
    scenario = scenario_from(options, {} if options.trace else defaults(REQUESTS, RATES))
    loads, first = len(scenario.rates) or 1, scenario.trace.seed
    if options.write:
        runs = Runs(scenario, policy_of(options.candidate), jobs)
        with Steps(out, "baseline", loads * options.first_seeds) as steps:
            runs.told = steps.finished
            runs.make(range(first, first + options.first_seeds))
        out.print(f"Written to {baseline.write(options.write, runs)}", markup=False)
        return 0
    margins = [Margin.of_text(text, "max") for text in options.max]
    margins += [Margin.of_text(text, "min") for text in options.min]
    with Steps(out, "gate", 2 * loads * options.most_seeds) as steps:
        gate = gate_of(
            scenario,
            options.candidate,
            options.against,
            margins or DEFAULT_MARGINS,
            options.first_seeds,
            max(options.most_seeds, options.first_seeds),
            jobs,
            steps.finished,
        )
        found = gate.run()
    table = report.markdown(found, options.candidate, options.against)
    out.print(table, markup=False, soft_wrap=True)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as file:
            file.write(table)
    if options.markdown:
        write_text(options.markdown, table)
    if options.junit:
        write_text(options.junit, report.junit(found, options.candidate, options.against))
    return CODES[verdict(found)]
