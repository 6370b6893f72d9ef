"""Arrival times as a file has them: their unit, how it is known, and the time since the first arrival."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError, asked_by

__all__ = [
    "DATES",
    "UNITS",
    "Clock",
    "TooFew",
    "clock",
    "date_of",
    "is_epoch",
    "nanoseconds",
    "shown",
    "since_first",
    "unit_in_name",
    "zone_of",
]

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Time units, and how many of each are a second."""
DATES = "dates"
"""The unit of a file that gives dates with times of day."""
_EPOCH = (1_420_000_000, 2_210_000_000)
"""Seconds from 1970 to 2015 and to 2040: a stamp between them is taken as a date, in whatever unit it falls there."""
_PLAUSIBLE_RATES, _PLAUSIBLE_TOKENS = (0.01, 100.0), (10.0, 5e5)
"""Requests and tokens per second that a recorded workload may have (a whole fleet in production has some 100,000)."""
_LONGEST = 200 * 86_400.0
"""Seconds that a recording may take (BurstGPT's takes 121 days)."""
_POSSIBLE_RATE, _MOST_RATE, _POSSIBLE_TOKENS = 0.001, 1000.0, 1.0
_WIDEST_GAP = 10.0
"""Mean gap in a unit up to which fractional stamps are taken as seconds."""
_NAMED = re.compile(
    r"(?:[_\W]|^)(s|secs?|seconds?|ms|millis|msecs?|milliseconds?|us|micros|microseconds?|ns|nanos\w*)\W*$"
)
_OFFSET = re.compile(r"\s*(Z|UTC|GMT|([+-])(\d\d):?(\d\d)?)$")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?)?")


class Clock(NamedTuple):
    """The unit of a column of times, and how it is known."""

    unit: str
    evidence: str


class TooFew(Exception):
    """The first rows do not suffice: no request is among them, or the unit depends on the rates of the whole file."""


def clock(
    values: NDArray[Any], tokens: float, defined: str | None, column: str, where: str, whole: bool = True
) -> Clock:
    """Return the unit of these numbers: that of the format (`defined`) unless it is impossible, else by evidence.

    `tokens` are all tokens of the requests. Raises SlosimError asking for the unit where the evidence leaves two, and
    TooFew if rates have to decide but not the `whole` file was read.
    """
    epoch = _epoch_unit(values)
    if defined is not None and (epoch in (None, defined) or UNITS[epoch or "s"] < UNITS[defined]):
        return _as_defined(values, defined, epoch, column, where)
    if epoch is not None:
        return Clock(epoch, f"{column} counts from 1970: {_count(values)} digits")
    if unit := unit_in_name(column):
        return Clock(unit, f"the name {column} says so")
    if not whole:
        raise TooFew
    if not len(values) or values.max() == values.min():
        return Clock("s", "all arrivals are at the same time")
    return _by_rates(values, tokens, column, where)


def unit_in_name(column: str) -> str | None:
    """Return the unit that a column's name ends in, such as arrival_ms or "start (s)"."""
    found = _NAMED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower())
    if found is None:
        return None
    return next(
        unit
        for unit, begins in {"ms": "m[si]l*", "us": "(us|mic)", "ns": "n", "s": "s"}.items()
        if re.match(begins, found[1])
    )


def since_first(values: NDArray[Any], unit: str, keep_start: bool) -> NDArray[np.float64]:
    """Return seconds since the earliest of these times (or since the file's zero), subtracted before any rounding."""
    if not len(values):
        return values.astype(np.float64)
    first = 0 if keep_start else values.min()
    return (values - first) / np.float64(UNITS["ns" if unit == DATES else unit])


def shown(value: Any, unit: str, zone: str = "") -> float | int | str:
    """Return a time as the file has it: a number, or a date."""
    if unit == DATES:
        return str(np.datetime64(int(value), "ns")).rstrip("0").rstrip(".").replace("T", " ") + zone
    number = value.item()
    return int(number) if number == int(number) else float(number)


def nanoseconds(cells: Sequence[Any], wrong: Callable[[int], Exception]) -> NDArray[np.int64]:
    """Read ISO dates with times, all with a zone or all without, as nanoseconds since 1970 (UTC where they say)."""
    texts = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    offsets = [_OFFSET.search(text) if ":" in text else None for text in texts]
    bare = [text[: found.start()] if found else text for text, found in zip(texts, offsets, strict=True)]
    zoned = bool(offsets) and offsets[0] is not None
    bad = (at for at, text in enumerate(bare) if not _is_date(text) or (offsets[at] is not None) != zoned)
    if (first := next(bad, None)) is not None:
        raise wrong(first)
    stamps = np.array([text.replace(",", ".") for text in bare], dtype="datetime64[ns]").astype(np.int64)
    return stamps - np.array([_shift(found) for found in offsets], dtype=np.int64)


def zone_of(cell: str) -> str:
    """Return Z for a date with a zone, "" for one without."""
    return "Z" if _OFFSET.search(cell.strip()) else ""


def date_of(text: str, what: str) -> int:
    """Return a date that a user gave as nanoseconds since 1970."""
    told = f"{what}: {text!r} is neither seconds nor a date such as 2024-05-10T08:00"
    return int(nanoseconds([text], lambda _: SlosimError(told))[0])


def is_epoch(stamp: float, unit: str) -> bool:
    """Whether a stamp in this unit counts from 1970: it falls into the years 2015 to 2040."""
    return _EPOCH[0] * UNITS[unit] <= stamp <= _EPOCH[1] * UNITS[unit]


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return str(np.datetime64(text.replace(",", "."), "ns"))[:10] == text[:10]
    except (ValueError, UserWarning):
        return False


def _shift(found: re.Match[str] | None) -> int:
    if found is None or found[2] is None:
        return 0
    minutes = 60 * int(found[3]) + int(found[4] or 0)
    return (-1 if found[2] == "-" else 1) * minutes * 60 * 10**9


def _epoch_unit(values: NDArray[Any]) -> str | None:
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    return next((unit for unit in UNITS if is_epoch(low, unit) and is_epoch(high, unit)), None)


def _as_defined(values: NDArray[Any], defined: str, epoch: str | None, column: str, where: str) -> Clock:
    if epoch is None or epoch == defined:
        return Clock(defined, "the format says so")
    told = (
        f"{where}, field {column}: stamps such as {_count(values)}-digit {values[0]:.0f} look like {epoch} since 1970"
    )
    raise SlosimError(f"{told}, but the format has {defined}; say which: {_either(epoch, defined)}")


def _by_rates(values: NDArray[Any], tokens: float, column: str, where: str) -> Clock:
    """Decide by how busy the workload would be; see `_PLAUSIBLE_RATES`."""
    gaps, span = len(values) - 1, float(values.max() - values.min())
    whole = bool((values == np.floor(values)).all())
    rates = {unit: (gaps * per / span, tokens * per / span) for unit, per in UNITS.items()}
    likely = [unit for unit in ("s", "ms") if _within(rates[unit]) and span <= _LONGEST * UNITS[unit]]
    if not whole and "s" in likely and span / gaps <= _WIDEST_GAP:
        likely = ["s"]
    if not whole and likely == ["ms"] and _possible(rates["s"]):
        likely = ["s", "ms"]
    if not likely and whole and not any(_possible(rates[unit]) for unit in ("s", "ms")):
        likely = [unit for unit in ("us", "ns") if _within(rates[unit])]
    if len(likely) == 1:
        kind = "whole" if whole else "fractional"
        return Clock(likely[0], f"{kind} stamps; {_in_words(rates, likely[0])}")
    fits = [unit for unit, (rate, _) in rates.items() if _possible(rates[unit]) and rate <= _MOST_RATE]
    units = fits if len(fits) > 1 else ["s", "ms"]
    told = "; ".join(_in_words(rates, unit) for unit in units)
    raise SlosimError(f"{where}, field {column}: the time unit is not clear ({told}); say which: {_either(*units)}")


def _within(rates: tuple[float, float]) -> bool:
    bounds = zip(rates, (_PLAUSIBLE_RATES, _PLAUSIBLE_TOKENS), strict=True)
    return all(low <= rate <= high for rate, (low, high) in bounds)


def _possible(rates: tuple[float, float]) -> bool:
    return rates[0] >= _POSSIBLE_RATE and rates[1] >= _POSSIBLE_TOKENS


def _in_words(rates: dict[str, tuple[float, float]], unit: str) -> str:
    requests, tokens = rates[unit]
    return f"as {unit} it is {requests:.2g} requests/s with {tokens:,.3g} tokens/s"


def _either(*units: str) -> str:
    return " or ".join(asked_by(time_unit=unit) for unit in units)


def _count(values: NDArray[Any]) -> int:
    return len(f"{abs(float(values.flat[0])):.0f}")
