"""Files of rows, whatever holds them: CSV, JSON Lines, a JSON array, Parquet, or a folder of such files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from traces.errors import SlosimError
from traces.readers.cells import Column, Kind, NotRead, on_one
from traces.readers.files import files_below, opened, opened_text

__all__ = ["Place", "Rows", "Shards", "content", "first_character", "listed", "shards", "shown_cell"]

SHARD_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_BYTES_AT_ONCE = 1 << 20
_LONGEST_SHOWN, _LONGEST_LIST = 60, 300


class Place(NamedTuple):
    """A cell of a file, for a message about it."""

    where: str
    """The file and the line or row."""
    value: Any
    """As it stands in the file: text of CSV, a value of JSON or Parquet."""


class Rows(Protocol):
    """A file of rows with named columns."""

    @property
    def path(self) -> Path: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def whole(self) -> bool:
        """Whether all of the file is read; False where only its first rows were asked for."""
        ...

    def read(self, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Return these columns; raise SlosimError naming line, field and value of what cannot be read."""
        ...

    def place(self, row: int, name: str) -> Place:
        """Find a cell again; slow, for messages."""
        ...


class Shards:
    """Several files with the same columns, read as one in order of name."""

    def __init__(self, path: Path, parts: Sequence[Rows]) -> None:
        self.path = path
        self.parts = parts
        self.lengths: list[int] = []

    @cached_property
    def names(self) -> Sequence[str]:
        """The columns of any of them."""
        return list(dict.fromkeys(name for part in self.parts for name in part.names))

    @property
    def whole(self) -> bool:
        """Whether each was read whole."""
        return all(part.whole for part in self.parts)

    def read(self, wanted: Mapping[str, Kind]) -> dict[str, Column]:
        """Return the columns of all files, one behind the other."""
        for part in self.parts:
            missing = [name for name in wanted if name not in part.names]
            if missing:
                raise SlosimError(f"{part.path}: no column {missing[0]}, which {self.parts[0].path.name} has")
        read = [part.read(wanted) for part in self.parts]
        self.lengths = [len(next(iter(columns.values())).values) for columns in read]
        try:
            return {name: on_one([columns[name] for columns in read]) for name in wanted}
        except NotRead:
            raise SlosimError(
                f"{self.path}: their times differ in kind (numbers, dates with a zone, dates without); give each alone"
            ) from None

    def place(self, row: int, name: str) -> Place:
        """Find a cell in the file that holds it."""
        ends = np.cumsum(self.lengths)
        part = int(np.searchsorted(ends, row, side="right"))
        return self.parts[part].place(row - int(ends[part] - self.lengths[part]), name)


def shards(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files of rows below a folder in order of name, and the names of the others."""
    files = [path for path in files_below(folder) if not path.name.startswith((".", "_"))]
    chosen = [path for path in files if _ending(path) in SHARD_ENDINGS]
    return chosen, [path.relative_to(folder).as_posix() for path in files if path not in set(chosen)]


def content(path: Path, lines: int | None) -> tuple[bytes, bool]:
    """Return the bytes of a file, unpacked, or its first lines only; and whether that is all."""
    with opened(path) as binary:
        if lines is None:
            return binary.read(), True
        pieces: list[bytes] = []
        found = 0
        while found < lines:
            piece = binary.read(_BYTES_AT_ONCE)
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
            found += piece.count(b"\n")
        read = b"".join(pieces)
        return read[: read.rfind(b"\n") + 1], False


def first_character(path: Path) -> str:
    """Return the first character of a text file that is not blank; "" if there is none."""
    with opened_text(path, errors="replace") as text:
        while piece := text.read(4096):
            if piece.strip():
                return piece.lstrip()[0]
    return ""


def shown_cell(value: Any) -> str:
    """Return a value as it stands in the file, cut to a readable length."""
    try:
        told = repr(value) if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):
        told = str(value)
    return told if len(told) <= _LONGEST_SHOWN else told[:_LONGEST_SHOWN]


def listed(names: Iterable[str]) -> str:
    """Return names for a message: on one line, and not more than a few hundred characters."""
    told = ", ".join(name if name.isprintable() else repr(name)[1:-1] for name in names)
    return told if len(told) <= _LONGEST_LIST else f"{told[:_LONGEST_LIST]} ..."


def _ending(path: Path) -> str:
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix
