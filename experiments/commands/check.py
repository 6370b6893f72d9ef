"""Checks a policy: hard little traces, and in words what is wrong with it, if anything.

examples:
  slosim check my_module:MyPolicy
  slosim check my_module:MyPolicy --limit 60       a policy whose decisions take long
  slosim check accelgen,gamma=0.5

Exit code: 0 it keeps the rules, 1 it breaks one, 2 there is no such policy.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from experiments.escaping import say
from sim.patience import CHECKING

HINT = "; --limit S allows more"


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("policy", metavar="module:Class", help="a policy: module:Class, or a name, with ,key=value")
    parser.add_argument(
        "--limit",
        type=float,
        default=CHECKING,
        metavar="S",
        help=f"seconds that a decision, and loading the policy, may take (default {CHECKING:g}; 0: any time)",
    )


def main(options: Namespace) -> int:
    """Checks and prints."""
    from experiments.named import check_policy
    from sim.check import check_scheduler
    from sim.errors import PolicyFault, SchedulerError
    from sim.patience import patience
    from traces.errors import SlosimError

    if not options.limit >= 0:
        raise SlosimError(f"--limit {options.limit:g}: give a number of seconds, or 0 for any time")
    told = options.policy
    try:
        with patience(options.limit, HINT):
            policy = check_policy(options.policy)
            told = repr(policy)
        say(check_scheduler(policy, limit=options.limit, hint=HINT))
    except PolicyFault as error:
        say(str(error), sys.stderr)
        return 1
    except SchedulerError as error:
        say(f"{told} breaks the rules: {error}", sys.stderr)
        return 1
    return 0
