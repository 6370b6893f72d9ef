"""Times every batch of a grid on a real decoder, in two passes of different random orders, and keeps what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from calibrate.cache import KvCache
from calibrate.grid import Case
from calibrate.journal import Journal
from calibrate.model import Decoder
from calibrate.plan import Entry, Plan, plan
from calibrate.timing import Clocks, Lap, Stopwatch

PASSES = 2
"""The spread between passes is the noise floor: what no fit can be better than."""


class Runner(Protocol):
    """How a forward is started: kernel by kernel, or as a recorded whole."""

    def __call__(self, planned: Plan) -> Tensor:
        """Computes a plan; returns the next tokens."""
        ...

    def path(self, planned: Plan) -> str:
        """How this plan is started, to be written down: host times differ."""
        ...


@dataclass(frozen=True, eq=False)
class Eager:
    """Starts every kernel by itself."""

    decoder: Decoder

    def __call__(self, planned: Plan) -> Tensor:
        """See `Runner`."""
        return self.decoder.scores(planned).argmax(-1)

    def path(self, planned: Plan) -> str:
        """See `Runner`."""
        return "eager"


class Repeats(NamedTuple):
    """How often a batch is timed: after some warm-ups, at least so often and for so long, but not for ever."""

    warmups: int = 2
    least: int = 5
    seconds: float = 0.06
    most: int = 100


@dataclass(eq=False)
class Meter:
    """Times single batches: contexts are taken as cached, because their numbers do not matter to the time."""

    decoder: Decoder
    cache: KvCache
    runner: Runner
    watch: Stopwatch
    clocks: Clocks
    repeats: Repeats = field(default_factory=Repeats)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(8))

    def row(self, case: Case) -> dict[str, Any]:
        """One batch's measurement as a row: its shape, the medians, their spread and all laps, in milliseconds."""
        entries = list(self._entries(case))
        with _Room(self.cache, case.sequences):
            launch = self.runner.path(self._plan(entries))
            self.clocks.ask()
            laps = self._laps(lambda: self.watch.lap(lambda: self._plan(entries), self.runner))
        return case.columns() | _summary(laps) | {"launch": launch, "sm_mhz": self.clocks.now()}

    def _plan(self, entries: Sequence[Entry]) -> Plan:
        return plan(entries, self.cache, self.decoder.config.positions)

    def _entries(self, case: Case) -> Iterator[Entry]:
        new = [size for size, _ in case.chunks] + [1] * len(case.decodes)
        for sequence, (size, stop) in enumerate(zip(new, case.sequences, strict=True)):
            tokens = self.generator.integers(0, self.decoder.config.vocabulary, size).tolist()
            yield Entry(sequence, tokens, stop - size)

    def _laps(self, lap: Callable[[], Lap]) -> list[Lap]:
        for _ in range(self.repeats.warmups):
            lap()
        laps: list[Lap] = []
        spent = 0.0
        while len(laps) < self.repeats.least or (spent < self.repeats.seconds and len(laps) < self.repeats.most):
            laps.append(lap())
            spent += laps[-1].whole
        return laps


class _Room:
    """Room for some sequences while it is needed, given back in the order that leaves the cache as it was."""

    def __init__(self, cache: KvCache, lengths: Sequence[int]) -> None:
        self.cache, self.lengths = cache, lengths

    def __enter__(self) -> None:
        for sequence, tokens in enumerate(self.lengths):
            self.cache.reserve(sequence, tokens)

    def __exit__(self, *_: object) -> None:
        for sequence in reversed(range(len(self.lengths))):
            self.cache.free(sequence)


def _summary(laps: Sequence[Lap]) -> dict[str, Any]:
    whole, device = 1000 * np.array(laps).T
    low, high = np.percentile(device, (25, 75))
    return {
        "iteration_ms": float(np.median(device)),
        "spread_ms": float(high - low),
        "whole_ms": float(np.median(whole)),
        "host_ms": float(np.median(whole - device)),
        "repetitions": len(laps),
        "laps_ms": [round(float(lap), 6) for lap in device],
    }


class Progress(NamedTuple):
    """How far a measurement is: rows done, rows in all, and the seconds that the rest will take at this pace."""

    done: int
    total: int
    seconds_left: float


def key(row: dict[str, Any] | Case, number: int) -> tuple[Any, ...]:
    """What one measurement is of: a batch in a pass."""
    if isinstance(row, Case):
        return row.block, row.chunks, row.decodes, number
    return row["block"], tuple(tuple(chunk) for chunk in row["chunks"]), tuple(row["decodes"]), number


def orders(cases: Sequence[Case], seed: int = 0) -> Iterator[tuple[int, Case]]:
    """All batches with the number of their pass, each pass in its own random order, the same for the same seed."""
    for number in range(PASSES):
        for index in np.random.default_rng([seed, 7, number]).permutation(len(cases)):
            yield number, cases[index]


def measure(
    meter: Meter,
    cases: Sequence[Case],
    journal: Journal,
    *,
    until: float = float("inf"),
    told: Callable[[Progress], None] = lambda _: None,
    seed: int = 0,
) -> bool:
    """Measures what the journal lacks until `until` (of `time.monotonic`); tells whether all is done.

    An interrupt leaves every finished row in the journal, and a later run goes on from there.
    """
    held = {key(row, row["pass"]) for row in journal.rows if "pass" in row}
    missing = [(number, case) for number, case in orders(cases, seed) if key(case, number) not in held]
    for number, case in _paced(missing, PASSES * len(cases), told):
        if time.monotonic() >= until:
            return False
        journal.add(meter.row(case) | {"pass": number})
    return True


def _paced(
    missing: Sequence[tuple[int, Case]], total: int, told: Callable[[Progress], None]
) -> Iterable[tuple[int, Case]]:
    """Hands out what is missing, and tells before each how long the rest will take, judged by tokens read and done."""
    efforts = np.array([400 + case.shape.forward_size + sum(case.sequences) / 16 for _, case in missing])
    begin, spent = time.monotonic(), 0.0
    for index, one in enumerate(missing):
        left = (time.monotonic() - begin) / spent * float(efforts[index:].sum()) if spent else float("nan")
        told(Progress(total - len(missing) + index, total, left))
        yield one
        spent += float(efforts[index])
    told(Progress(total, total, 0.0))
