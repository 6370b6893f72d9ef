"""Replays recorded steps of real schedulers through our policy of the same settings, and compares every field.

Without arguments it replays the recordings that ship with the repository (tests/recordings), and lists those with a
setting that no policy models. A recording is NAME.meta.json with NAME.steps.jsonl.gz and its trace beside it, or
steps/NAME.parquet. Ends with 0 if all replayed steps are equal; with 1 after a difference, which it prints; with 2 if a
recording that was asked for cannot be replayed.

examples:
  slosim check-steps
  slosim check-steps steps/vllm-v1-0.33.0.meta.json tests/recordings/steps/orca_tight.parquet
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from experiments.escaping import say


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("recordings", nargs="*", type=Path, metavar="META.json", help="default: all that ship")


def main(options: Namespace) -> int:
    """Replays all; a difference in one does not keep the others from being replayed."""
    from experiments.recorded_files import shipped
    from experiments.recordings import NotModelled
    from experiments.steps import Difference, check_steps

    paths = options.recordings or shipped()
    steps: list[int] = []
    beyond: list[str] = []
    differences = 0
    for path in paths:
        try:
            steps.append(check_steps(path))
            say(f"{path.name}: all {steps[-1]:,} steps are equal")
        except Difference as difference:
            say(difference, sys.stderr)
            differences += 1
        except NotModelled as reason:
            beyond.append(str(reason))
    if beyond:
        head = [] if options.recordings else [f"recordings not replayed: {len(beyond)}"]
        say("\n  ".join([*head, *beyond]), sys.stderr if options.recordings else sys.stdout)
    say(f"{len(steps)} of {len(paths)} recordings equal: {sum(steps):,} steps")
    return 1 if differences else 2 if beyond and options.recordings else 0
