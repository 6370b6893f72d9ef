"""What an iteration takes at least: straight lines under the cost models.

A cost model is a function of the sums of a batch. Each `Floor` is a straight line in these sums that no iteration of
the model gets below, so that the floors of many iterations add up without knowing how the work was batched.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import inf
from typing import NamedTuple

from costmodel import Calibrated, CostModel, Equation4, WholeEngine
from costmodel.model import TILE
from costmodel.whole_engine import PromptLine
from traces.errors import SlosimError

TANGENTS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Forward sizes at which the calibrated form's curve gets a tangent."""


class Floor(NamedTuple):
    """Every iteration that computes something takes at least this many seconds, all of them nought or more."""

    fixed: float
    """An iteration, whatever it computes."""
    per_prompt_token: float
    per_pair: float
    """A query-key pair of prompt attention."""
    per_decode: float
    per_context_token: float
    """A key-value token that a decode reads."""


class Floors(NamedTuple):
    """Floors under some iterations; each holds by itself."""

    any: tuple[Floor, ...]
    """Under all that compute something."""
    with_prompts: tuple[Floor, ...]
    """Under those that compute tokens of a prompt."""
    with_decodes: tuple[Floor, ...]


class Line(NamedTuple):
    """`fixed + slope * tokens`."""

    fixed: float
    slope: float


def floors(model: CostModel, kv_blocks: int, block_size: int) -> Floors:
    """Floors of a cost model on a replica with such a cache; raises SlosimError for a form without known floors.

    The cache limits what one iteration can hold: so many blocks are as many decodes at most, and no more tokens.
    """
    if isinstance(model, Calibrated):
        return Floors(*[tuple(_of_calibrated(model))] * 3)
    if isinstance(model, Equation4):
        return Floors(*[(_of_equation_4(model),)] * 3)
    if isinstance(model, WholeEngine):
        return _of_whole_engine(model, kv_blocks, kv_blocks * block_size)
    kind, known = type(model).__name__, ", ".join(form.__name__ for form in (Calibrated, Equation4, WholeEngine))
    raise SlosimError(f"no floor is known under a cost model of type {kind}: bounds need one of {known}")


def _of_equation_4(model: Equation4) -> Floor:
    """Its squares, lengths of chunks and forward sizes are whole numbers, and no whole number exceeds its square."""
    per_token = 2 * model.model.matrix_parameters / model.rate
    square = 4 * model.model.layers * model.model.hidden / model.rate
    if model.whole_forward:
        return Floor(0.0, per_token + square, 0.0, per_token + square, 0.0)
    return Floor(0.0, per_token + square / 2, square, per_token, square)


def _of_calibrated(model: Calibrated) -> Iterator[Floor]:
    """Tangents of the knee, a convex function of the quantised size, which is at least S and (1 - phi) S + 128 phi."""
    shares = {0.0, model.tile_share}
    for knee, share in product(_tangents(model), shares):
        slope = knee.slope * (1 - share)
        fixed = model.host_time + knee.fixed + knee.slope * share * TILE
        yield Floor(fixed, slope, model.per_pair, slope + model.per_decode, model.per_context_token)


def _tangents(model: Calibrated) -> Iterator[Line]:
    """Lines under `[tau^p + (a S)^p]^(1/p)`; it is homogeneous in tau and a S, so its derivatives add up to it."""
    weight, power = model.weight_time, model.sharpness
    yield Line(0.0, model.per_token)
    yield Line(weight, model.per_token if power == 1 else 0.0)
    for size in TANGENTS:
        compute = model.per_token * size
        larger, ratio = max(weight, compute), min(weight, compute) / max(weight, compute)
        knee = larger * (1 + ratio**power) ** (1 / power)
        yield Line(weight * (weight / knee) ** (power - 1), model.per_token * (compute / knee) ** (power - 1))


def _of_whole_engine(model: WholeEngine, most_decodes: int, most_tokens: int) -> Floors:
    """A mixed iteration takes no less than its decodes alone, and no less than its prompt tokens and what the decodes
    add to an empty decode iteration (`WholeEngine`: riding >= added)."""
    first, pairs = model.decode[0].fixed, 2 * model.per_squared_token
    prompts = [Floor(line.fixed, line.slope, pairs, 0.0, 0.0) for line in _under_prompts(model, most_tokens)]
    decodes = [Floor(fixed, 0.0, 0.0, *slopes) for fixed, *slopes in _under_decodes(model, most_decodes, most_tokens)]
    both = (
        Floor(
            min(prompt.fixed, decode.fixed, prompt.fixed + decode.fixed - first if prompt.per_prompt_token else inf),
            *prompt[1:3],
            *decode[3:],
        )
        for prompt, decode in product(prompts, decodes)
    )
    return Floors(tuple(floor for floor in both if floor.fixed >= 0), tuple(prompts), tuple(decodes))


def _under_prompts(model: WholeEngine, most_tokens: int) -> Iterator[Line]:
    """Lines under the prompt-only time of 1 to `most_tokens` tokens: the lower hull's edges, and two plain ones."""
    inner = () if isinstance(model.prompt, PromptLine) else model.prompt.tokens
    places = sorted({1, most_tokens, *(place for place in inner if 1 < place < most_tokens)})
    points = [(place, max(model.prompt.seconds(place), 0.0)) for place in places]
    yield Line(min(seconds for _, seconds in points), 0.0)
    yield Line(0.0, min(seconds / place for place, seconds in points))
    for (left, low), (right, high) in pairwise(_lower_hull(points)):
        slope = (high - low) / (right - left)
        if slope >= 0 and low - slope * left >= 0:
            yield Line(low - slope * left, slope)


def _lower_hull(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The corners of the convex curve under points that are in order."""
    hull: list[tuple[int, float]] = []
    for x, y in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    return hull


def _turns_down(a: tuple[int, float], b: tuple[int, float], c: tuple[int, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def _under_decodes(model: WholeEngine, most_decodes: int, most_tokens: int) -> Iterator[tuple[float, float, float]]:
    """Planes (fixed, per decode, per context token) under all pieces: each piece's own slopes, sunk until it is.

    A piece minus a plane is straight in decodes and context, so that it is least in a corner of what the cache holds.
    """
    pieces = model.decode
    ends = [*(piece.from_sequences - 1 for piece in pieces[1:]), most_decodes]
    spans = [(piece, last) for piece, last in zip(pieces, ends, strict=True) if piece.from_sequences <= most_decodes]
    lowest = (0.0, min(piece.per_sequence for piece in pieces), min(piece.per_context_token for piece in pieces))
    for _, per_decode, per_context in [lowest, *((0.0, p.per_sequence, p.per_context_token) for p, _ in spans)]:
        corners = (
            piece.fixed + (piece.per_sequence - per_decode) * number + (piece.per_context_token - per_context) * context
            for piece, last in spans
            for number, context in product((piece.from_sequences, min(last, most_decodes)), (0, most_tokens))
        )
        fixed = min(corners)
        if fixed >= 0 and per_decode >= 0 and per_context >= 0:
            yield fixed, per_decode, per_context
