"""Reading a JSON object field by field, so that an error names the file, the field and what belongs there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traces.errors import SlosimError


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object on its way in: `where` is the file, and within it the path of the object."""

    values: Mapping[str, Any]
    where: str

    @classmethod
    def of_file(cls, path: Path) -> Fields:
        """The object that a JSON file holds; raises SlosimError if it cannot be read or holds something else."""
        try:
            values = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise SlosimError(f"{path}: cannot be read ({error.strerror or error}); give a profile's path") from error
        except ValueError as error:
            raise SlosimError(f"{path}: is not JSON ({error}); write it with 'slosim fit'") from error
        return cls(cls._object(values, str(path)), str(path))

    def error(self, name: str, problem: str) -> SlosimError:
        """The error to raise about one field."""
        return SlosimError(f"{self.where}: field '{name}' {problem}")

    def only(self, names: Iterable[str]) -> None:
        """Raises SlosimError at a field that has no meaning here."""
        known = list(names)
        for name in self.values:
            if name not in known:
                raise self.error(name, f"is not known; expected are {', '.join(known)}")

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._given(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, f"must be a text, not {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self._given(name)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, not {value!r}")
        return value

    def number(self, name: str, low: float = 0.0, high: float = math.inf, default: float | None = None) -> float:
        """A finite number from `low` to `high`."""
        if default is not None and name not in self.values:
            return default
        value = self._given(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(name, f"must be a number, not {value!r}")
        if not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise self.error(name, f"must be {limits}, not {value:g}")
        return value

    def count(self, name: str, low: int = 1) -> int:
        """A whole number of at least `low`."""
        value = self.number(name, low)
        if not isinstance(value, int):
            raise self.error(name, f"must be a whole number, not {value!r}")
        return value

    def section(self, name: str) -> Fields:
        """A nested object."""
        where = f"{self.where}: {name}"
        return Fields(self._object(self._given(name), where), where)

    def sections(self, name: str) -> list[Fields]:
        """A list of one or more nested objects."""
        values = self._given(name)
        if not isinstance(values, list) or not values:
            raise self.error(name, f"must be a list of objects, not {values!r}")
        places = (f"{self.where}: {name}[{index}]" for index in range(len(values)))
        return [Fields(self._object(value, where), where) for value, where in zip(values, places, strict=True)]

    def _given(self, name: str) -> Any:
        if name not in self.values:
            raise self.error(name, "is missing")
        return self.values[name]

    @staticmethod
    def _object(values: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(values, dict):
            raise SlosimError(f"{where}: must be an object of named fields, not {type(values).__name__}")
        return values
