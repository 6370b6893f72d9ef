"""Replays recorded steps of a real scheduler through our policy of the same settings, and compares every field.

META.json is NAME.meta.json of a recording; NAME.steps.jsonl.gz and its trace lie beside it. Ends with 0 if all steps of
all recordings are equal, else with 1 and the first difference in words.

example:
  slosim check-steps steps/vllm-v1-0.33.0.meta.json steps/sarathi.meta.json
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.escaping import say


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("recordings", nargs="+", type=Path, metavar="META.json", help="recordings to replay")


def main(options: Namespace) -> int:
    """Replays all; a difference in one does not keep the others from being replayed."""
    from experiments.steps import Difference, check_steps

    differences = 0
    for path in options.recordings:
        try:
            say(f"{path.name}: all {check_steps(path):,} steps are equal")
        except Difference as difference:
            say(difference, sys.stderr)
            differences += 1
    return 1 if differences else 0
