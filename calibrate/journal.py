"""What has been measured so far, a line per finished measurement, so that an interrupt loses only the one under way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traces.errors import SlosimError


@dataclass
class Journal:
    """A file of JSON lines: the first says what is measured, by what and on what; every other one is a finished row."""

    path: Path
    about: Mapping[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list, init=False)

    def open(self) -> Journal:
        """Reads what an earlier run left; raises SlosimError if that measured something else."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = self.path.read_text("utf-8") if self.path.exists() else ""
            whole = text[: text.rfind("\n") + 1]
            if not whole:
                whole = json.dumps({"about": dict(self.about)}) + "\n"
            if whole != text:  # a new file, or the last line was cut short
                self.path.write_text(whole, "utf-8")
        except OSError as error:
            raise self._cannot(error) from error
        self._take(whole.splitlines())
        return self

    def add(self, row: dict[str, Any]) -> None:
        """Keeps a finished row, on disk before this returns."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise self._cannot(error) from error
        self.rows.append(row)

    def _take(self, lines: list[str]) -> None:
        try:
            first, *rest = (json.loads(line) for line in lines)
            about = first["about"]
            if not all(isinstance(row, dict) for row in rest):
                raise TypeError("a row is an object")
        except (ValueError, KeyError, TypeError) as error:
            raise SlosimError(f"{self.path}: is not a journal of measurements; choose another folder") from error
        for name, value in self.about.items():
            if about.get(name) != value:
                raise SlosimError(
                    f"{self.path}: holds measurements with {name} {about.get(name)!r}, not {value!r}: "
                    "choose another folder, or measure with the same settings to go on"
                )
        self.rows = rest

    def _cannot(self, error: OSError) -> SlosimError:
        return SlosimError(f"{self.path}: cannot be kept ({error.strerror or error}); choose another folder")
