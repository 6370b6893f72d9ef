"""What requests need at least, whatever the schedule: machine time, and time on the clock if nobody else were there.

Machine time is what an iteration's floor charges: the tokens that it computes, and, for every block that one of them
holds, a share of the fixed time, because an iteration has no more blocks than the cache. So the machine times of all
that was computed add up to no more than the time that passed, however it was batched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.bound.floors import Floor, Floors, floors
from sim.machine import Machine
from traces import Trace

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Stretches(NamedTuple):
    """Later tokens, one row per request and number of blocks that they hold; in order of the requests."""

    owner: Integers
    tokens: Floats
    context: Floats
    """Tokens that the first of them is decoded on, itself included."""
    seconds: Floats
    """Machine time of all of them."""
    least: Floats
    """Machine time of the first, which is the cheapest."""
    most: Floats
    """Machine time of the last."""
    gap: Floats
    """Seconds on the clock from the token before, at least; of each of them."""
    begins: Floats
    """Seconds from the arrival to the token before the first of them, at least."""


@dataclass(frozen=True, eq=False)
class Demand:
    """The requests of a trace that the cache can hold at all, one row each; times in seconds."""

    row: Integers
    """In the trace."""
    arrived: Floats
    """After the first arrival of the trace."""
    output: Floats
    """Tokens."""
    ttft: Floats
    tbt: Floats
    jct: Floats
    first: Floats
    """Machine time of the prompt, which brings the first token."""
    later: Floats
    """Machine time of all other tokens."""
    first_alone: Floats
    """On the clock, from the arrival to the first token."""
    later_alone: Floats
    """On the clock, from the first to the last token."""
    stretches: Stretches

    def __len__(self) -> int:
        return len(self.row)

    @property
    def promised(self) -> NDArray[np.bool_]:
        """Which requests have an SLO: only those can be good."""
        return np.asarray(np.isfinite([self.ttft, self.tbt, self.jct]).any(axis=0))

    @property
    def alone(self) -> Floats:
        """On the clock, from the arrival to the last token."""
        return self.first_alone + self.later_alone


def demand(trace: Trace, machine: Machine) -> Demand:
    """What the requests of a trace need on a replica; the floor is the one under which they need most in all.

    Raises SlosimError for a cost model without known floors.
    """
    under = floors(machine.cost_model, machine.kv_blocks, machine.block_size)
    prompt, output = (np.asarray(column, np.float64) for column in (trace.prompt_tokens, trace.output_tokens))
    row = np.flatnonzero(np.ceil((prompt + output - 1) / machine.block_size) <= machine.kv_blocks)
    prompt, output = prompt[row], output[row]
    first_alone = _highest([floor.fixed + _prompt_seconds(floor, prompt) for floor in under.with_prompts])
    options = [_machine_time(floor, prompt, output, machine) for floor in under.any]
    first, stretches = max(options, key=lambda each: float(each[0].sum() + each[1].seconds.sum()))
    stretches = _on_the_clock(stretches, under, first_alone)
    arrived = np.asarray(trace.arrived_at, np.float64)
    return Demand(
        row,
        (arrived - arrived[:1])[row],
        output,
        _objective(trace.ttft, row),
        _objective(trace.tbt, row),
        _objective(trace.jct, row),
        first,
        _per_request(stretches, stretches.seconds, len(row)),
        first_alone,
        _per_request(stretches, stretches.gap * stretches.tokens, len(row)),
        stretches,
    )


def _objective(limit: Floats | None, row: Integers) -> Floats:
    return np.full(len(row), np.inf) if limit is None else np.asarray(limit, np.float64)[row]


def _machine_time(floor: Floor, prompt: Floats, output: Floats, machine: Machine) -> tuple[Floats, Stretches]:
    """Of prompts and of later tokens under one floor.

    A later token comes out of a decode, or, after its request was dropped, of a prefill of all tokens before it; where
    that might be cheaper, every token of the stretch is charged what the cheapest of both takes at its beginning.
    """
    per_block = floor.fixed / machine.kv_blocks
    per_cached_token = per_block / machine.block_size
    owner, blocks, low, high = _contexts(prompt, output, machine.block_size)
    tokens = high - low + 1

    def decode(context: Floats) -> Floats:
        return floor.per_decode + floor.per_context_token * context + per_block * blocks

    anew = _prompt_seconds(floor, low) + per_cached_token * low
    dearer = _prompt_seconds(floor, low) >= floor.per_decode + floor.per_context_token * low + per_block
    surely = dearer & (floor.per_prompt_token >= floor.per_context_token)
    least = np.where(surely, decode(low), np.minimum(decode(low), anew))
    most = np.where(surely, decode(high), least)
    nothing = np.zeros(len(owner))
    stretches = Stretches(owner, tokens, low, tokens * (least + most) / 2, least, most, nothing, nothing)
    return _prompt_seconds(floor, prompt) + per_cached_token * prompt, stretches


def _contexts(prompt: Floats, output: Floats, block_size: int) -> tuple[Integers, Floats, Floats, Floats]:
    """Runs of later tokens that hold equally many blocks: owner, blocks, and the first and last context (tokens).

    Token k + 1 of a request is decoded on a context of `prompt + k` tokens, itself included.
    """
    first, last = np.ceil((prompt + 1) / block_size), np.ceil((prompt + output - 1) / block_size)
    number = np.where(output > 1, last - first + 1, 0).astype(np.int64)
    owner = np.repeat(np.arange(len(prompt)), number)
    blocks = first[owner] + np.arange(len(owner)) - (np.cumsum(number) - number)[owner]
    low = np.maximum(prompt[owner] + 1, (blocks - 1) * block_size + 1)
    return owner, blocks, low, np.minimum((prompt + output - 1)[owner], blocks * block_size)


def _on_the_clock(stretches: Stretches, under: Floors, first_alone: Floats) -> Stretches:
    """With the gaps of their tokens: each takes an iteration of its own, which reads its context or computes it."""
    low = stretches.context
    decode = _highest([floor.fixed + floor.per_decode + floor.per_context_token * low for floor in under.with_decodes])
    gap = np.minimum(decode, _highest([floor.fixed + _prompt_seconds(floor, low) for floor in under.with_prompts]))
    passed = np.cumsum(gap * stretches.tokens) - gap * stretches.tokens
    opens = np.diff(stretches.owner, prepend=-1) != 0
    before = passed - np.maximum.accumulate(np.where(opens, passed, 0.0))
    return stretches._replace(gap=gap, begins=first_alone[stretches.owner] + before)


def _prompt_seconds(floor: Floor, tokens: Floats) -> Floats:
    """Of computing so many tokens from the first on: of n tokens, the pairs are n^2 / 2 however they are cut."""
    return floor.per_prompt_token * tokens + floor.per_pair * tokens * tokens / 2


def _highest(rows: Sequence[Floats]) -> Floats:
    return reduce(np.maximum, rows)


def _per_request(stretches: Stretches, values: Floats, requests: int) -> Floats:
    return np.bincount(stretches.owner, values, requests).astype(np.float64)
