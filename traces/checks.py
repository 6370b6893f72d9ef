"""Vectorised checks of a trace's columns; a failed one names the place, the field, the value and what is expected."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traces.errors import SlosimError

__all__ = [
    "LENGTH",
    "MOST_TOKENS",
    "Locate",
    "checked_objectives",
    "checked_times",
    "checked_tokens",
    "row_number",
    "same_length",
]

Locate = Callable[[int], str]
"""Turns a row's index (from 0) into words: "row 3", or "requests.csv, line 5"."""

MOST_TOKENS = np.iinfo(np.int32).max
LENGTH = f"a whole number of tokens, at least 1 and at most {MOST_TOKENS:,}"
"""What a length must be, in words."""


def row_number(index: int) -> str:
    """Return the words for a row of a trace that came from no file."""
    return f"row {index}"


def checked_tokens(values: ArrayLike, field: str, locate: Locate = row_number) -> NDArray[np.int32]:
    """Return token counts as int32; raise SlosimError at the first that is no `LENGTH`."""
    numbers = _numbers(values, field, locate)
    good = (numbers >= 1) & (numbers <= MOST_TOKENS)
    if numbers.dtype.kind == "f":
        good &= numbers == np.floor(numbers)
    _demand(good, values, field, LENGTH, locate)
    return numbers.astype(np.int32, copy=False)


def checked_times(values: ArrayLike, field: str, locate: Locate = row_number) -> NDArray[np.float64]:
    """Return times as float64; raise SlosimError at the first that is negative or not finite."""
    numbers = _numbers(values, field, locate).astype(np.float64, copy=False)
    _demand(np.isfinite(numbers) & (numbers >= 0), values, field, "seconds since the start, 0 or more", locate)
    return numbers


def checked_objectives(values: ArrayLike | None, field: str, locate: Locate = row_number) -> NDArray[np.float64] | None:
    """Return objectives as float64, or None when every one is infinite (nothing promised)."""
    if values is None:
        return None
    numbers = _numbers(values, field, locate).astype(np.float64, copy=False)
    _demand(numbers > 0, values, field, "seconds above 0, or inf for no objective", locate)
    return None if np.isinf(numbers).all() else numbers


def same_length(**columns: Any) -> int:
    """Return the common length of the columns that are not None; raise SlosimError when they differ."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise SlosimError(f"the columns of a trace must be equally long, but their lengths are: {told}")
    return next(iter(lengths.values()))


def _numbers(values: ArrayLike, field: str, locate: Locate) -> NDArray[Any]:
    numbers = np.asarray(values)
    if numbers.ndim != 1:
        raise SlosimError(f"{field}: expected one value per request, got an array of shape {numbers.shape}")
    if numbers.size == 0:
        return numbers.astype(np.float64)
    if numbers.dtype.kind not in "iuf":
        expected = f"expected numbers, got {numbers.dtype} (first: {numbers[0]!r})"
        raise SlosimError(f"{locate(0)}, field {field}: {expected}")
    return numbers


def _demand(good: NDArray[np.bool_], values: ArrayLike, field: str, expected: str, locate: Locate) -> None:
    if good.all():
        return
    index = int(np.argmin(good))
    value = np.asarray(values)[index].item()
    raise SlosimError(f"{locate(index)}, field {field}: {value!r} is not {expected}")
