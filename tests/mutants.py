"""Runs the mutants of the core modules, and prints the share that the tests notice: ``make mutants``.

Mutmut changes one small thing at a time (setup.cfg says in which modules) and runs the tests that reach it. Mutants
that behave as the code does, so that no test can notice them, are listed in ``equivalent_mutants.txt`` and left out.
A run that was interrupted goes on where it was; ``--again`` begins anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.txt"
NOTICED = {"killed", "timeout", "segfault", "suspicious", "caught by type check"}
LEAST = 0.95
"""Share of the mutants that are not equivalent to be noticed."""


def verdicts(lines: Sequence[str]) -> dict[str, str]:
    """What became of each mutant, from what ``mutmut results --all true`` prints."""
    pairs = (line.strip().rsplit(": ", 1) for line in lines if "__mutmut_" in line)
    return {pair[0]: pair[1] for pair in pairs}


def changes(name: str) -> str:
    """The lines that a mutant takes away and adds, in one."""
    shown = mutmut("show", name).splitlines()
    return " ".join(line for line in shown if line[:2] in ("- ", "+ "))


def mutmut(*words: str) -> str:
    """What mutmut prints."""
    return subprocess.run([sys.executable, "-m", "mutmut", *words], cwd=ROOT, capture_output=True, text=True).stdout


def score(found: dict[str, str], equivalent: set[str]) -> float:
    """Prints the score of each module, and the mutants that nothing noticed; returns the share noticed of all."""
    noticed, number = Counter[str](), Counter[str]()
    for name, verdict in found.items():
        module = name.split(".x")[0]
        same = verdict not in NOTICED and " ".join(changes(name).split()) in equivalent
        number[module] += not same
        noticed[module] += verdict in NOTICED
        if not same and verdict not in NOTICED:
            print(f"{verdict}: {name}\n    {changes(name)}")
    for module, many in number.items():
        print(f"{module}: {noticed[module]} of {many} noticed")
    share = noticed.total() / max(1, number.total())
    print(f"all: {noticed.total()} of {number.total()} noticed, {share:.1%}; {LEAST:.0%} are wanted")
    return share


def main(words: Sequence[str]) -> int:
    """Runs what has not been run, one at a time; ends with 1 if too few are noticed."""
    if "--again" in words:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    chosen = [word for word in words if not word.startswith("--")]
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "1", *chosen], cwd=ROOT, check=False)
    lines = EQUIVALENT.read_text("utf-8").splitlines()
    equivalent = {" ".join(line.split()) for line in lines if line.startswith("-")}
    found = verdicts(mutmut("results", "--all", "true").splitlines())
    return 0 if found and score(found, equivalent) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
