"""Where points are kept: one file each, whole or not at all, named by what it depends on; failures beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.files import write_text
from experiments.grid import Summary
from experiments.sweeps.quantiles import Sketch
from experiments.sweeps.work import Answer


class Record(NamedTuple):
    """What is known of a point that was run."""

    key: str
    seconds: float
    """Wall time of the simulation."""
    overloaded: bool
    """Whether the queue grew for as long as requests came."""
    summary: Summary
    tails: Mapping[str, Sketch]


class Failed(NamedTuple):
    """What is known of a point that was not."""

    key: str
    error: str


Kept = Record | Failed


def parsed(text: str) -> Kept:
    """The content of a file; raises ValueError or KeyError if it is none of ours."""
    content: Mapping[str, Any] = json.loads(text)
    if "error" in content:
        return Failed(content["key"], content["error"])
    nan = float("nan")
    summary = {name: nan if value is None else value for name, value in content["summary"].items()}
    tails = {name: Sketch(each["size"], tuple(each["values"])) for name, each in content["tails"].items()}
    return Record(content["key"], content["seconds"], content["overloaded"], summary, tails)


class Store:
    """A folder of points."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, key: str, failed: bool = False) -> Path:
        """The file of a point."""
        return self.folder / f"{key}.failure.json" if failed else self.folder / f"{key}.json"

    def record(self, key: str) -> Record | None:
        """A point that was run before; None if it was not, or if its file was damaged since."""
        try:
            kept = parsed(self.place(key).read_text("utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return kept if isinstance(kept, Record) and kept.key == key else None

    def keep(self, key: str, answer: Answer) -> Kept:
        """Writes a point's file; a success takes the place of an earlier failure."""
        kept = parsed(answer.text)
        write_text(self.place(key, answer.failed), answer.text)
        if not answer.failed:
            self.place(key, failed=True).unlink(missing_ok=True)
        return kept
