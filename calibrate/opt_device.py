"""An OPT decoder and its cache as the device of a session; it loads torch when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrate.session import Chunk

if TYPE_CHECKING:
    from calibrate.cache import KvCache
    from calibrate.measure import Runner
    from calibrate.model import Decoder

PADDING = 1
"""Blocks beyond what was asked for: recorded decodes are padded up, and what pads them needs a place."""


@dataclass(frozen=True, eq=False)
class OptDevice:
    """A `calibrate.session.Device`: greedy decoding, every iteration waited for, computed as when calibrated."""

    decoder: Decoder
    cache: KvCache
    runner: Runner

    @classmethod
    def random(
        cls,
        model: str,
        device: str = "cpu",
        *,
        blocks: int,
        block_size: int = 16,
        positions: int = 0,
        threads: int | None = None,
        seed: int = 0,
    ) -> OptDevice:
        """A model of random weights (`calibrate.opt.config` knows its name): float32 on a CPU, else bfloat16.

        `threads` is how many of a CPU this process uses from now on.
        """
        import torch

        from calibrate.backend import attention_for, runner_for
        from calibrate.device import checked
        from calibrate.model import Decoder
        from calibrate.opt import config

        if threads:
            torch.set_num_threads(threads)
        shape, kind = config(model), torch.float32 if checked(device) == "cpu" else torch.bfloat16
        attention = attention_for(shape, device, kind, block_size)
        decoder = Decoder.random(shape, device, kind, positions=positions, seed=seed, attention=attention)
        cache = decoder.cache(blocks + PADDING, block_size)
        _use(cache, seed)
        return cls(decoder, cache, runner_for(decoder, cache))

    def __repr__(self) -> str:
        decoder = self.decoder
        return f"{decoder.config.name} on {decoder.device}, {decoder.dtype}, {decoder.attention.name}"

    def forward(self, chunks: Sequence[Chunk]) -> list[int]:
        """One iteration; the next tokens, when they are there."""
        from calibrate.plan import Entry, plan

        entries = [Entry(chunk.request, chunk.tokens, chunk.start) for chunk in chunks]
        planned = plan(entries, self.cache, self.decoder.config.positions)
        following: list[int] = self.runner(planned).tolist()
        return following

    def swap_out(self, request: int) -> None:
        """Moves a cache to the host and waits for the copy."""
        self.cache.swap_out(request)

    def swap_in(self, request: int) -> None:
        """Moves it back and waits."""
        self.cache.swap_in(request)

    def release(self, request: int) -> None:
        """Gives its blocks back."""
        self.cache.free(request)


def _use(cache: KvCache, seed: int) -> None:
    """Leaves the blocks in no order, as in a cache that has been in use: else the first sequences would be lucky."""
    order = np.random.default_rng(seed).permutation(cache.blocks).tolist()
    for number in order:
        cache.reserve(number, 1)
    for number in sorted(order):
        cache.free(number)
