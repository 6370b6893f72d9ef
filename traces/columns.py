"""Rows and labels turned into columns, and what makes two sets of columns the same workload."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from traces.errors import SlosimError
from traces.types import SLO, TraceRow

__all__ = ["Codes", "checked_codes", "digest", "encoded", "gathered"]

Codes = NDArray[np.int16]
"""One index into a tuple of labels per request."""
_MOST_LABELS = np.iinfo(np.int16).max + 1
_ROWS_AT_ONCE = 65_536


def gathered(rows: Iterable[TraceRow | tuple[Any, ...]]) -> dict[str, Any]:
    """Return the columns of these rows, by the names of `Trace.from_columns`."""
    source = (row if isinstance(row, TraceRow) else TraceRow(*row) for row in rows)
    pieces = list(_pieces(source))
    if not pieces:
        return {"arrived_at": [], "prompt_tokens": [], "output_tokens": []}
    return {field: np.concatenate([piece[field] for piece in pieces]) for field in pieces[0]}


def encoded(labels: ArrayLike) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the different labels in alphabetical order, and each request's place among them."""
    words = np.asarray(labels).tolist()
    rank = {label: place for place, label in enumerate(sorted(set(words)))}
    return tuple(rank), np.fromiter(map(rank.__getitem__, words), dtype=np.int32, count=len(words))


def checked_codes(codes: ArrayLike | None, labels: Sequence[str]) -> Codes | None:
    """Return the codes as int16, or None when there are none or all labels are empty; SlosimError for wrong ones."""
    if codes is None or tuple(labels) == ("",):
        return None
    if len(labels) > _MOST_LABELS:
        told = f"{len(labels):,} different labels, at most {_MOST_LABELS:,} can be told apart"
        raise SlosimError(f"application: {told}; leave out a column that is another one for every request")
    numbers = np.asarray(codes)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(labels)):
        told = f"{numbers.min()} to {numbers.max()}"
        raise SlosimError(f"application_codes: expected 0 to {len(labels) - 1} for {len(labels)} labels, got {told}")
    return numbers.astype(np.int16, copy=False)


def digest(
    columns: dict[str, NDArray[Any]], codes: Codes | None, labels: Sequence[str], ids: Sequence[str] | None
) -> str:
    """Return the sha256 (hex) of what the requests are; the order in which labels are numbered does not count."""
    used = [] if codes is None else [labels[code] for code in np.unique(codes)]
    order = sorted(used)
    if codes is not None and order != [""]:
        rank = np.array([order.index(label) if label in used else -1 for label in labels], dtype=np.int16)
        columns = {**columns, "application": rank[codes]}
    state = hashlib.sha256(repr([order if order != [""] else [], list(columns)]).encode())
    for column in columns.values():
        state.update(np.ascontiguousarray(column).tobytes())
    state.update("\0".join(ids or ()).encode())
    return state.hexdigest()


def _pieces(source: Iterator[TraceRow]) -> Iterator[dict[str, NDArray[Any]]]:
    while rows := list(islice(source, _ROWS_AT_ONCE)):
        arrived_at, prompts, outputs, objectives, labels = zip(*rows, strict=True)
        numbers = {"arrived_at": arrived_at, "prompt_tokens": prompts, "output_tokens": outputs}
        promised = dict(zip(SLO._fields, zip(*objectives, strict=True), strict=True))
        yield {field: np.array(values) for field, values in {**numbers, **promised, "application": labels}.items()}
