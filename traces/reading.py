"""What was read from a file, and what was not: the record that every reader leaves on its trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Reading", "counted"]


def counted(number: int, thing: str) -> str:
    """Return a number of things in words: "1 row", "2,000 rows"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Reading:
    """The facts about a file that a user has to know before trusting the trace made from it.

    A reader fills in what it knows; `traces.load` adds the path and the format, shows the record once as a
    `TraceWarning` where rows or columns were left out, and the provenance of every result stores `to_dict()`.
    """

    path: str = ""
    format: str = ""
    rows: int = 0
    """Rows (or conversations) in the file, those left out included."""
    time_unit: str | None = None
    """s, ms, us, ns or dates; None: the file does not record arrivals."""
    time_evidence: str = ""
    """How the unit is known, such as "the format says so" or "whole stamps of 13 digits: epoch milliseconds"."""
    first_arrival: float | str | None = None
    """The first arrival as it stands in the file, in its own unit (the trace itself starts at 0)."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows left out, by reason, such as {"failed (no response tokens)": 2}."""
    ignored: tuple[str, ...] = ()
    """Columns or keys that say something which the simulator does not model, such as hash_ids."""
    facts: tuple[str, ...] = ()
    """What else was done in one sentence each, where nothing is lost, such as "34 of 99 requests, from 60 s on"."""
    start_kept: bool = False
    """Whether arrivals count from the file's own zero rather than from the first one."""
    notes: tuple[str, ...] = ()
    """Anything else in one sentence each, such as "3 rows out of order, sorted by arrival"."""

    @property
    def kept(self) -> int:
        """Rows that became requests."""
        return self.rows - sum(self.left_out.values())

    def warnings(self) -> list[str]:
        """Return one sentence for each thing that was lost; empty when the file was read whole."""
        lost = [f"{count:,} of {self.rows:,} rows left out: {reason}" for reason, count in self.left_out.items()]
        unused = [f"not modelled, ignored: {', '.join(self.ignored)}"] if self.ignored else []
        return [*lost, *unused, *self.notes]

    def describe(self) -> str:
        """Return the record in one line: format, time unit, first arrival, what was left out and ignored."""
        unit = "no arrivals recorded" if self.time_unit is None else f"times in {self.time_unit}"
        why = f" ({self.time_evidence})" if self.time_unit is not None and self.time_evidence else ""
        start = "" if self.first_arrival == 0 else ", kept" if self.start_kept else ", taken as 0"
        first = "" if self.first_arrival is None else f"first arrival at {self.first_arrival}{start}"
        return "; ".join(part for part in (f"{self.format}, {unit}{why}", first, *self.facts, *self.warnings()) if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON takes it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "left_out": dict(self.left_out),
            "ignored": list(self.ignored),
            "facts": list(self.facts),
            "notes": list(self.notes),
        }
