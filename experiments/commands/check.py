"""Checks a policy: hard little traces, and in words what is wrong with it, if anything.

examples:
  slosim check my_module:MyPolicy
  slosim check accelgen,gamma=0.5
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("policy", metavar="module:Class", help="a policy: module:Class, or a name, with ,key=value")


def main(options: Namespace) -> int:
    """Checks and prints."""
    from experiments.named import check_policy
    from sim.check import check_scheduler
    from sim.errors import SchedulerError

    policy = check_policy(options.policy)
    try:
        print(check_scheduler(policy))
    except SchedulerError as error:
        print(f"{policy!r} breaks the rules: {error}", file=sys.stderr)
        return 1
    return 0
