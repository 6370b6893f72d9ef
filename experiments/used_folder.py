"""Makes a folder ready for a comparison: a former comparison's files go, other files are not touched.

Runs of two comparisons in one folder would be read as one by `slosim report`. What slosim wrote is known by its names,
in a folder whose `scenario.json` is a comparison's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from experiments.grid import OWN_FILES
from traces.errors import SlosimError

TOP_FILES = frozenset(
    {"scenario.json", "runs.csv", "sweep.png", "failures.txt", "draws.txt", "draws.csv", "report.html"}
)
"""Files of a comparison beside the folders of its loads."""
TABLES = ("requests", "iterations", "spans", "events", "notes", "causes")
RUN_FILES = frozenset({*(f"{name}.parquet" for name in TABLES), "summary.json", "bench.json", "timeline.json.gz"})
"""Files of a run."""
LOADS = ("rate-", "as-recorded")
"""How the folders of loads begin."""
RUNS = "runs"
"""The folder of runs that are not kept in detail, a file each."""


def make_ready(folder: Path, overwrite: bool = False) -> int:
    """Removes what a former comparison wrote into a folder; returns the number of its files.

    Raises SlosimError if the folder holds other files and no comparison, unless ``overwrite``, or if something cannot
    be removed.
    """
    if not folder.is_dir():
        return 0
    if not _is_comparison(folder):
        if not overwrite and (stranger := _stranger(folder)):
            raise SlosimError(
                f"{folder}: holds files that no comparison wrote, such as {stranger!r}; choose another folder with -o, "
                "or write beside them with --overwrite"
            )
        return 0
    files = list(_written(folder))
    try:
        for path in files:
            path.unlink()
    except OSError as error:
        raise SlosimError(
            f"{folder}: a former comparison cannot be removed ({error.strerror}); choose another folder with -o"
        ) from error
    for path in sorted({path.parent for path in files} | {path.parent.parent for path in files}, reverse=True):
        if path != folder and folder in path.parents:
            with suppress(OSError):  # something else is in it
                path.rmdir()
    return len(files)


def _is_comparison(folder: Path) -> bool:
    """Whether a comparison wrote into a folder."""
    try:
        content = json.loads((folder / "scenario.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"digest", "policies"} <= content.keys()


def _stranger(folder: Path) -> str:
    """The name of a file or folder that is no hidden one; nothing if there is none."""
    return min((path.name for path in folder.iterdir() if not path.name.startswith(".")), default="")


def _written(folder: Path) -> Iterator[Path]:
    """The files that a comparison wrote into its folder; links to elsewhere are not followed."""
    yield from _files(folder, TOP_FILES)
    for path in _folders(folder):
        if path.name == RUNS:
            yield from (each for each in path.glob("*.json") if each.name.startswith(LOADS) and each.is_file())
        elif path.name.startswith(LOADS):
            yield from _files(path, OWN_FILES)
            for run in _folders(path):
                yield from _files(run, RUN_FILES)


def _files(folder: Path, names: frozenset[str]) -> Iterator[Path]:
    """Files of such names, and drafts of any."""
    for path in sorted(folder.iterdir()):
        draft = path.name.startswith(".") and path.name.endswith(".draft")
        if (path.name in names or draft) and path.is_file():
            yield path


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
