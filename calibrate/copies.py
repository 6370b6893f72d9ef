"""What a preempted sequence costs: its cache copied to host memory and back, or computed anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from calibrate.grid import Limits
from calibrate.journal import Journal
from costmodel.points import Array

if TYPE_CHECKING:
    from calibrate.measure import Meter

Rows = Sequence[Mapping[str, Any]]
LENGTHS = (16, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Sequences to move and to compute anew, in tokens."""


LONG = 2.0
"""Seconds after which one length is not repeated any more, if it was at least once besides the warm-up."""


class Line(NamedTuple):
    """Seconds as a straight line in tokens."""

    fixed: float
    per_token: float


class Copies(NamedTuple):
    """Copies out of and into the device, recomputing, and from which length on copying both ways takes less time.

    `crossover` is a length between the two measured ones where the order turns (interpolated), the first measured one
    if copying never takes longer, and infinite if it always does: the choice that CacheOPT's profiling makes.
    """

    out: Line
    back: Line
    crossover: float

    @property
    def per_token(self) -> float:
        """Seconds per token copied one way, the mean of both."""
        return (self.out.per_token + self.back.per_token) / 2


def measure_copies(
    meter: Meter,
    limits: Limits,
    journal: Journal,
    *,
    until: float = float("inf"),
    told: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Measures what the journal lacks of copies and recomputing, until `until` (of `time.monotonic`).

    A row is a length in one of two passes; short lengths come first.
    """
    from calibrate.measure import PASSES

    lengths = [length for length in LENGTHS if length <= min(limits.context, limits.cache)]
    held = {(row["copied_tokens"], row["copy_pass"]) for row in journal.rows if "copied_tokens" in row}
    wanted = [(length, number) for number in range(PASSES) for length in lengths]
    for index, (length, number) in enumerate(wanted):
        told(index, len(wanted))
        if time.monotonic() >= until:
            return
        if (length, number) not in held:
            journal.add(_row(meter, length, limits.forward) | {"copy_pass": number})
    told(len(wanted), len(wanted))


def _row(meter: Meter, length: int, forward: int) -> dict[str, Any]:
    from calibrate.plan import Entry, plan

    cache, sequence = meter.cache, -1
    tokens = meter.generator.integers(0, meter.decoder.config.vocabulary, length).tolist()
    pieces = [Entry(sequence, tokens[at : at + forward], at) for at in range(0, length, forward)]

    def recompute() -> None:
        for piece in pieces:
            meter.runner(plan([piece], cache, meter.decoder.config.positions))

    times: dict[str, list[float]] = {"recompute": [], "out": [], "back": []}
    begin = time.monotonic()
    for repeat in range(meter.repeats.least + 1):
        if repeat > 1 and time.monotonic() - begin > LONG:
            break
        row = {
            "recompute": meter.watch.seconds(recompute),
            "out": meter.watch.seconds(lambda: cache.swap_out(sequence)),
            "back": meter.watch.seconds(lambda: cache.swap_in(sequence)),
        }
        if repeat:  # the first one finds memory to be had and kernels to be loaded
            for name, seconds in row.items():
                times[name].append(1000 * seconds)
    cache.free(sequence)
    return {"copied_tokens": length} | {f"{name}_ms": float(np.median(laps)) for name, laps in times.items()}


def copies(rows: Rows) -> Copies | None:
    """What the rows of a journal say of copies; None if they say too little."""
    measured = copy_times(rows)
    if measured is None:
        return None
    tokens, out, back, recompute = measured
    return Copies(_line(tokens, out), _line(tokens, back), _crossover(tokens, out + back, recompute))


def copy_times(rows: Rows) -> tuple[Array, Array, Array, Array] | None:
    """Tokens, and seconds to copy them out, to copy them back and to compute them anew; None of less than three."""
    found = [row for row in rows if "copied_tokens" in row]
    lengths = sorted({row["copied_tokens"] for row in found})
    if len(lengths) < 3:
        return None
    out, back, recompute = (_means(found, lengths, name) for name in ("out_ms", "back_ms", "recompute_ms"))
    return np.array(lengths, float), out, back, recompute


def _means(rows: Rows, lengths: Sequence[int], name: str) -> Array:
    """Seconds at each length, the mean over the passes."""
    return (
        np.array([np.mean([row[name] for row in rows if row["copied_tokens"] == length]) for length in lengths]) / 1e3
    )


def _line(tokens: Array, seconds: Array) -> Line:
    """The line with the smallest relative errors, neither number negative."""
    from scipy.optimize import nnls

    matrix = np.stack([np.full(tokens.size, tokens.mean()), tokens], axis=1) / tokens.mean()
    fixed, slope = nnls(matrix / seconds[:, None], np.ones(tokens.size))[0]
    return Line(float(fixed), float(slope / tokens.mean()))


def _crossover(tokens: Array, copied: Array, recomputed: Array) -> float:
    """The length beyond which copying takes less time at every length measured."""
    slower = np.flatnonzero(copied >= recomputed)
    if not slower.size:
        return float(tokens[0])
    last = int(slower[-1])
    if last == tokens.size - 1:
        return float("inf")
    lead = np.log(copied / recomputed)
    share = lead[last] / (lead[last] - lead[last + 1])
    return float(tokens[last] * (tokens[last + 1] / tokens[last]) ** share)
