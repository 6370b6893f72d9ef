"""Column names of others: found whatever their spelling, and suggested as a mapping that can be pasted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from traces.errors import SlosimError, asked_by
from traces.readers.rows import listed
from traces.readers.times import unit_in_name

__all__ = ["FIELDS", "checked_columns", "column_of", "looks_like_time", "mapping_hint", "plain", "timed_hint", "unlike"]

FIELDS = ("arrived_at", "prompt_tokens", "output_tokens", "application", "id", "slo_ttft", "slo_tbt", "slo_jct")
"""What a column may be mapped to."""
_LONGEST_NAME = 80
NOTHING = "none"
"""What `columns` says in place of a name: the field is in no column, and no column is taken for it."""
_TIME = re.compile(
    r"\b(arriv\w*|timestamp\w*|datetime|start\w*|created|issued|submi\w+|sent|received|time|ts|t|date|when)\b"
)
_TIME_AT_END = re.compile(r"\b(at|ms|us|ns|millis|micros|nanos|epoch|unix)$")
_SPAN = re.compile(
    r"(latenc|ttft|tbt|tpot|itl|jct|dur|elapsed|e2e|slo|deadline|timeout|wait|queue|decode|prefill|end|finish|complet"
    r"|first|last|response|total|process|generat|infer|zone|unit|delay|think)"
)
_PROMPT = re.compile(r"\b(prompt|input|in|context|prefill|request|isl|query)")
_OUTPUT = re.compile(r"\b(output|out|gen|generated|generation|reply|sampled|completion|response|decode|osl|answer)")
_LENGTH = re.compile(r"(tok|len|\bnum|\bn\b|size|count|isl|osl)|^(in|out)$")


def plain(name: str) -> str:
    """Return a name without spelling: lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def column_of(wanted: str, names: Sequence[str]) -> str | None:
    """Return the column called so, or the only one called so but for case, blanks and punctuation."""
    if wanted in names:
        return wanted
    near = [name for name in names if plain(name) == plain(wanted)]
    return near[0] if len(near) == 1 else None


def looks_like_time(name: str) -> bool:
    """Whether a column's name says that it holds arrival times (and not how long something took)."""
    words = _words(name)
    said = _TIME.search(words) or _TIME_AT_END.search(words)
    return said is not None and len(name) <= _LONGEST_NAME and not _SPAN.search(words)


def checked_columns(columns: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return which column holds which field, from a mapping or from `arrived_at=timestamp,prompt_tokens=in`."""
    if columns is None:
        return {}
    if isinstance(columns, str):
        columns = dict(part.partition("=")[::2] for part in columns.split(","))
    given: Any = columns
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for pair in given.items() for name in pair):
        raise SlosimError(f"columns: write FIELD=COLUMN,..., not {str(columns)[:80]!r}")
    mapped = {field.strip(): column.strip() for field, column in columns.items()}
    for field, column in mapped.items():
        if field not in FIELDS or not column:
            near = get_close_matches(field, FIELDS, n=1)
            meant = f"did you mean {near[0]}?" if near and field not in FIELDS else f"fields are {', '.join(FIELDS)}"
            told = f"{field}={column}"[:80] if column else f"{field[:80]}: no column"
            raise SlosimError(f"columns: {told} maps no field of a trace to a column (FIELD=COLUMN,...); {meant}")
    return mapped


def mapping_hint(names: Iterable[str]) -> str:
    """Return the `columns` that a file with these names probably needs; "" if it has no two lengths."""
    names = [name for name in names if name.isprintable() and len(name) <= _LONGEST_NAME]
    prompt, output = _best(names, _PROMPT), _best(names, _OUTPUT)
    if prompt is None or output is None or prompt == output:
        return ""
    arrival = next((name for name in sorted(names, key=_arrival_first) if looks_like_time(name)), None)
    columns = {"prompt_tokens": prompt, "output_tokens": output}
    if arrival is None:
        return asked_by(columns=columns)
    return timed_hint({"arrived_at": arrival, **columns})


def timed_hint(columns: Mapping[str, str]) -> str:
    """Return how to ask for these columns, with the unit that the name of the arrivals' column says, if it says one."""
    unit = unit_in_name(columns["arrived_at"])
    if unit is not None:
        return asked_by(columns=columns, time_unit=unit)
    return f"{asked_by(columns=columns)} (and their unit, such as {asked_by(time_unit='ms')}, unless they are dates)"


def unlike(wanted: str, names: Sequence[str], free: Sequence[str] | None = None) -> str:
    """Say that a column is missing, and which of those that are `free` it may be."""
    near = get_close_matches(wanted, names if free is None else free, n=1)
    return f"no column {wanted} among {listed(names)}" + (f"; did you mean {near[0]}?" if near else "")


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[^a-z0-9]+", " ", spaced.lower()).strip()


def _best(names: list[str], kind: re.Pattern[str]) -> str | None:
    fits = [name for name in names if kind.search(_words(name))]
    return next((name for name in fits if _LENGTH.search(_words(name))), None)


def _arrival_first(name: str) -> int:
    return 0 if "arriv" in name.lower() else 1
