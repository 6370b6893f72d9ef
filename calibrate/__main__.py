"""`python -m calibrate`: the same as `slosim calibrate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from calibrate import command
from traces.errors import SlosimError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 2 for what a user can mend, 130 for an interrupt."""
    parser = argparse.ArgumentParser(
        "python -m calibrate", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.configure(parser)
    try:
        return command.main(parser.parse_args(arguments))
    except SlosimError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
