"""The part of our source that a run's numbers depend on: not what asks for runs, tells of them or draws them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from experiments.provenance import ROOT, digest_of

WHOLE = ("traces", "costmodel", "sim")
"""Packages that count with every file: their parts are found by name while a run goes on."""
WORKER = "experiments.sweeps.work"
"""The module that runs a point; what it imports counts too, however indirectly, and inside of functions."""


@cache
def run_digest() -> str:
    """The sha256 (hex) of the source files of a run, names included."""
    return digest_of(run_files())


@cache
def run_files() -> tuple[Path, ...]:
    """The files themselves, in order."""
    found = {path for package in WHOLE for path in (ROOT / package).rglob("*.py")}
    waiting = [WORKER]
    while waiting:
        for path in _files(waiting.pop()) - found:
            found.add(path)
            waiting += _imports(path)
    return tuple(sorted(found))


def _files(name: str) -> set[Path]:
    """The modules of ours that a dotted name passes: packages, the module, and whatever is in it."""
    places = [ROOT.joinpath(*name.split(".")[:number]) for number in range(1, name.count(".") + 2)]
    return {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}


def _imports(path: Path) -> Iterator[str]:
    """All that a file imports, what it takes from a module as if it were a module, too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)
