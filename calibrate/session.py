"""What a device is asked to do, iteration by iteration, and the texts that come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Chunk(NamedTuple):
    """Tokens of one request that an iteration computes."""

    request: int
    start: int
    """Tokens that are in its cache already: the position of the first one here."""
    tokens: Sequence[int]
    decode: bool
    """The newest token of a text that is being generated, rather than a piece of a prompt (or of a text recomputed)."""


class Device(Protocol):
    """A model with a key-value cache, on any hardware. Requests go by number; who holds nothing is never named."""

    def forward(self, chunks: Sequence[Chunk]) -> Sequence[int]:
        """Writes the tokens' keys and values and returns the likeliest token after each chunk, when all is computed."""
        ...

    def swap_out(self, request: int) -> None:
        """Moves a cache to the host."""
        ...

    def swap_in(self, request: int) -> None:
        """Moves it back."""
        ...

    def release(self, request: int) -> None:
        """Gives a cache on the device up."""
        ...


class Piece(NamedTuple):
    """A chunk whose tokens are not known yet."""

    request: int
    start: int
    tokens: int
    decode: bool


class Step(NamedTuple):
    """One iteration, as a scheduler decided it: caches given up, moved out and in, then what is computed."""

    released: Sequence[int] = ()
    swapped_out: Sequence[int] = ()
    swapped_in: Sequence[int] = ()
    pieces: Sequence[Piece] = ()


class Session:
    """Requests on a device: their texts, prompt and what was generated, and who has a cache there."""

    def __init__(self, device: Device, prompts: Mapping[int, Sequence[int]]) -> None:
        self.device = device
        self.prompts = prompts
        self.texts = {request: list(prompt) for request, prompt in prompts.items()}
        self._held: set[int] = set()

    def run(self, step: Step) -> None:
        """Does what a step says; the texts whose last token it computed grow by one."""
        for request in step.released:
            self._release(request)
        for request in step.swapped_out:
            if request in self._held:
                self.device.swap_out(request)
        for request in step.swapped_in:
            if request in self._held:
                self.device.swap_in(request)
        if step.pieces:
            self._forward(step.pieces)

    def generated(self, request: int) -> list[int]:
        """The tokens that came out for a request so far."""
        return self.texts[request][len(self.prompts[request]) :]

    def close(self) -> None:
        """Gives up every cache that is left; of those on the host, too."""
        for request in sorted(self._held):
            self._release(request)

    def _forward(self, pieces: Sequence[Piece]) -> None:
        texts = self.texts
        chunks = [
            Chunk(request, start, texts[request][start : start + tokens], decode)
            for request, start, tokens, decode in pieces
        ]
        self._held.update(piece.request for piece in pieces)
        for chunk, following in zip(chunks, self.device.forward(chunks), strict=True):
            text = texts[chunk.request]
            if chunk.start + len(chunk.tokens) == len(text):
                text.append(int(following))

    def _release(self, request: int) -> None:
        if request in self._held:
            self._held.remove(request)
            self.device.release(request)


def random_prompts(lengths: Sequence[int] | NDArray[np.int32], vocabulary: int, seed: int = 0) -> dict[int, list[int]]:
    """A text of random tokens of each length; a request's depends on its number and the seed alone."""
    return {
        number: np.random.default_rng([seed, number]).integers(vocabulary, size=int(length)).tolist()
        for number, length in enumerate(lengths)
    }


def replay(steps: Sequence[Step], session: Session, time: Callable[[], float] = perf_counter) -> NDArray[np.float64]:
    """Runs recorded steps one after the other; returns the seconds that each took by the clock `time`."""
    times = [time()]
    for step in steps:
        session.run(step)
        times.append(time())
    session.close()
    return np.diff(times)
