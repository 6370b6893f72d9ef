"""An OPT decoder and its cache as the device of a session; it loads torch when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibrate.session import Chunk

if TYPE_CHECKING:
    from calibrate.cache import KvCache
    from calibrate.model import Decoder


@dataclass(frozen=True, eq=False)
class OptDevice:
    """A `calibrate.session.Device`: greedy decoding, every iteration waited for."""

    decoder: Decoder
    cache: KvCache

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

        from calibrate.model import Decoder
        from calibrate.opt import config
        from calibrate.timing import checked

        if threads:
            torch.set_num_threads(threads)
        kind = torch.float32 if device == "cpu" else torch.bfloat16
        decoder = Decoder.random(config(model), checked(device), kind, positions=positions, seed=seed)
        cache = decoder.cache(blocks, block_size)
        _use(cache, seed)
        return cls(decoder, cache)

    def __repr__(self) -> str:
        return f"{self.decoder.config.name} on {self.decoder.device}, {self.decoder.dtype}"

    def forward(self, chunks: Sequence[Chunk]) -> list[int]:
        """One iteration; the next tokens, when they are there."""
        from calibrate.model import Entry

        entries = [Entry(chunk.request, chunk.tokens, chunk.start) for chunk in chunks]
        following: list[int] = self.decoder.forward(entries, self.cache).tolist()
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
