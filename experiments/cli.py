"""The command `slosim`: what it can do, and how it fails.

Commands are loaded when they are called, so that help comes at once. An error that a user can mend is one line on
standard error and exit code 2; an interrupt is 130.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from experiments.escaping import literally, say

COMMANDS = {
    "compare": "compare policies on one workload: table, pictures, files",
    "run": "one policy on one workload, with a timeline on request",
    "report": "a comparison as one HTML file to be mailed",
    "search": "the order of requests that maximises goodput, by simulating many",
    "study": "a question about schedulers answered by a grid of runs",
    "figure": "figures and tables of the papers made anew, with a verdict on each claim",
    "sweep": "any settings varied, on many cores or a cluster; does only what is missing",
    "capacity": "the highest rate at which a policy keeps a target, with an interval",
    "regress": "guard policies: golden stories, and a statistical gate with margins",
    "bound": "what no scheduler can exceed on a workload",
    "trace": "make, describe or convert a trace",
    "list": "what there is: policies, profiles, workloads, trace formats, predictors",
    "profile": "what is known of a model on its GPUs",
    "check": "whether a policy of your own keeps the rules",
    "calibrate": "measure an OPT model on this machine's GPU or CPU: profile and report",
    "fit": "fit a profile to measured iterations",
    "check-steps": "replay a real scheduler's recorded steps through our policy",
    "check-engine": "predict a run that was measured on a real engine",
    "fidelity": "calibrate, simulate, serve on a real engine of our own, and compare",
}

LONGEST = 1000
"""Characters of a message about a flag."""

EXAMPLES = """\
examples:
  slosim compare                                   seven schedulers on the paper's mixed workload, a minute or two
  slosim compare --rate 0.5 -p vllm -p sarathi     two of them at one load
  slosim compare --trace azure.csv --profile my.json
  slosim run accelgen --rate 0.6 --timeline        one run; its timeline opens in ui.perfetto.dev
  slosim check my_module:MyPolicy                  a policy of your own, checked before it is compared
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends with exit code 2."""
        message = message if len(message) < LONGEST else f"{message[: LONGEST - 100]} ... {message[-80:]}"
        self.exit(2, f"{self.prog}: {literally(message)} ({self.prog} --help explains)\n")


def parser() -> argparse.ArgumentParser:
    """The command line, without the options of the commands."""
    top = Parser(
        prog="slosim",
        description="Simulates LLM serving: a scheduler serves a trace of requests under a calibrated cost model.",
        epilog=EXAMPLES + "\n`slosim COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="say the version")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what, add_help=False)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # ended from outside, as by a cluster's time limit, is as by Ctrl-C: no worker is left behind
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return dispatch(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except (ValueError, MemoryError, OSError, RuntimeError) as error:
        if not (why := _mendable(error)):
            raise
        say(f"slosim: {why}", sys.stderr)
        return 2


def dispatch(words: list[str]) -> int:
    """Finds the command and calls it."""
    if words[:1] == ["--version"]:
        from experiments.provenance import slosim_version

        print(f"slosim {slosim_version()}")
        return 0
    if not words:
        parser().print_help()
        return 2
    if words[0] not in COMMANDS:
        if not words[0].startswith("-"):
            _refuse(words[0])
        parser().parse_args(words)  # prints help or says what is wrong, and exits
        return 2
    sys.path.append(os.getcwd())  # where module:Class is looked for last, so that no folder there hides a package
    command = import_module(f"experiments.commands.{words[0].replace('-', '_')}")
    own = Parser(
        prog=f"slosim {words[0]}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.configure(own)
    options = own.parse_args(words[1:])
    return _run(command.main, options)


def _run(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Runs a command whose words are right; code of a user's own that it loads may not end it unseen."""
    from sim.patience import VARIABLE, limit_of_runs, patience
    from traces.errors import flags_in_hints

    more = f"; {VARIABLE}=S in the environment allows more"
    try:
        with flags_in_hints(), trace_warnings_in_one_line(), patience(limit_of_runs(), more):
            return int(command(options))
    except SystemExit as error:
        raise _ended(error) from error


def _ended(error: SystemExit) -> ValueError:
    """The error to report when code called sys.exit in the middle of a command."""
    from traces.errors import SlosimError

    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
    return SlosimError(f"the command was ended by sys.exit({error.code!r}){where}; it is not finished")


@contextmanager
def trace_warnings_in_one_line() -> Iterator[None]:
    """Prints what a file lost in reading as one line on standard error, not in Python's form."""
    import warnings

    from sim.limits import LimitWarning
    from traces.errors import TraceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("default", TraceWarning)
        warnings.simplefilter("ignore", LimitWarning)  # commands print these themselves
        plain = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, TraceWarning):
                say(f"slosim: {message}", sys.stderr)
            else:
                plain(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _refuse(word: str) -> NoReturn:
    from traces.errors import SlosimError

    near = get_close_matches(word, COMMANDS, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
    raise SlosimError(f"there is no command {word!r}; {meant}")


def _mendable(error: Exception) -> str:
    """The message for an error that a user can mend; nothing for others."""
    from experiments.pool import scarcity
    from traces.errors import SlosimError

    return str(error) if isinstance(error, SlosimError) else scarcity(error)


if __name__ == "__main__":
    sys.exit(main())
