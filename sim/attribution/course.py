"""What every iteration's time is made of, server by server, with running sums to add up any stretch at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel import BatchShape, CostModel
from sim.result import RunResult
from sim.tokens import Floats, Integers

SHAPE = ("prefill_tokens", "decode_tokens", "context_tokens", "attention_pairs", "sequences", "swapped_tokens")


@dataclass(frozen=True, eq=False)
class Course:
    """Iterations in the order of servers, then of time; "place" means a row here. Times in seconds."""

    place: Integers
    """Where each row of the result's table of iterations is; the last one is for row -1, and -1."""
    edges: Integers
    """Where the iterations of each server begin, and the end."""
    steps: Integers
    """Place of each decode step, as `sim.tokens` numbers them."""
    start: Floats
    end: Floats
    free_blocks: Integers
    prompts: Floats
    """What an iteration's prompts alone would take."""
    decodes: Floats
    """What its decodes alone would take."""
    batch: Floats
    """What both take together."""
    copies: Floats
    """What swapped cache adds."""
    beyond: Floats
    """What it took besides."""

    @classmethod
    def of(cls, result: RunResult, cost_model: CostModel) -> Course:
        """Splits the iterations of a result."""
        rows = result.iterations
        server = np.asarray(rows["server"], np.int64)
        number = len(server)
        order = np.argsort(server, kind="stable") if server.any() else slice(number)
        place = np.full(number + 1, -1)
        place[:-1][order] = np.arange(number)
        start, end = (np.asarray(rows[name], np.float64)[order] for name in ("start", "end"))
        shape = [np.asarray(rows[name])[order] for name in SHAPE]
        prompts, decodes, batch, model = _times(shape, cost_model)
        counts = np.bincount(server, minlength=result.capacity.replicas)
        return cls(
            place,
            np.concatenate([[0], np.cumsum(counts)]),
            np.flatnonzero(shape[1] > 0),
            start,
            end,
            np.asarray(rows["free_blocks"], np.int64)[order],
            prompts,
            decodes,
            batch,
            model - batch,
            end - start - model,
        )

    @cached_property
    def seconds(self) -> Floats:
        """How long each iteration took."""
        return self.end - self.start

    @cached_property
    def sums(self) -> NDArray[np.float64]:
        """Running sums, a row each: seconds, decodes alone, what prompts add to them, copies, beyond; 0 at place 0."""
        columns = (self.seconds, self.decodes, self.batch - self.decodes, self.copies, self.beyond)
        sums = np.zeros((len(columns), len(self.end) + 1))
        for column, running in zip(columns, sums, strict=True):
            np.cumsum(column, out=running[1:])
        return sums

    def between(self, after: Integers, last: Integers) -> NDArray[np.float64]:
        """The sums over the places after `after` up to `last`, a row each."""
        return self.sums[:, last + 1] - self.sums[:, after + 1]


def _times(shape: list[NDArray[Any]], cost_model: CostModel) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each iteration: its prompts alone, its decodes alone, both, and both with copies, as the cost model has it."""
    prefill, number, context, _, sequences, swapped = shape
    time = cost_model.iteration_time
    decodes = _decodes(number, context, cost_model)
    prompts, batch = np.zeros(len(number)), decodes.copy()
    rows = np.flatnonzero(prefill)
    for row, p, d, c, a, n in zip(rows.tolist(), *(column[rows].tolist() for column in shape[:5]), strict=True):
        batch[row] = time(BatchShape(p, d, c, a, n))
        prompts[row] = time(BatchShape(p, 0, 0, a, n - d)) if d else batch[row]
    model = batch.copy()
    for row in np.flatnonzero((swapped > 0) & (sequences > 0)).tolist():
        model[row] = time(BatchShape(*(column[row].item() for column in shape)))
    return prompts, decodes, batch, model


def _decodes(number: NDArray[Any], context: NDArray[Any], cost_model: CostModel) -> Floats:
    """Seconds of so many decodes over so much context each; 0 of none."""
    line = getattr(cost_model, "decode_line", None)
    if line is None:
        shapes = (BatchShape(0, n, c, 0.0, n) for n, c in zip(number.tolist(), context.tolist(), strict=True))
        times = (cost_model.iteration_time(shape) if shape.decode_tokens else 0.0 for shape in shapes)
        return np.fromiter(times, np.float64, len(number))
    lines = np.array([line(n) if n else (0.0, 0.0) for n in range(int(number.max(initial=0)) + 1)])
    return np.asarray(lines[number, 0] + lines[number, 1] * np.where(number > 0, context, 0))
