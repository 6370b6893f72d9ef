"""Which attention and which way to start kernels a device gets: the fastest that is there and proves correct on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch

from calibrate.attention import Attention, PlainAttention
from calibrate.cache import KvCache
from calibrate.measure import Eager, Runner
from calibrate.model import Decoder
from calibrate.opt import Config
from calibrate.plan import Entry

CLOSE = 0.02
"""Of the scores' size, by which half precision may differ between two ways to attend (inferred from its rounding)."""


def attention_for(config: Config, device: str, dtype: torch.dtype, block_size: int) -> Attention:
    """The first attention for a device that agrees there with the plain one, which is the last resort."""
    for candidate in candidates(device):
        if agrees(candidate, config, device, dtype, block_size):
            return candidate
    return PlainAttention()


def candidates(device: str) -> Iterator[Attention]:
    """What may be fast on a device, the fastest first; none on a CPU, where the plain one is."""
    if device.startswith("cuda"):
        from calibrate.flash import FlashAttention, split_decode

        kernel = split_decode()
        if kernel is not None:
            yield FlashAttention(kernel)
        yield FlashAttention()


def agrees(attention: Attention, config: Config, device: str, dtype: torch.dtype, block_size: int) -> bool:
    """Whether an attention gives the plain one's scores on a model of one such layer: chunks, decodes, used blocks.

    Warns (RuntimeWarning) why one that fails cannot be used: what is then measured instead may be slower.
    """
    small = Decoder.random(
        replace(config, layers=1, vocabulary=64 * config.shards, embedding=0), device, dtype, attention=PlainAttention()
    )
    right = _scores(small, small.cache(64, block_size))
    try:
        found = _scores(replace(small, attention=attention), small.cache(64, block_size))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of this device, torch, Triton or its compiler, which have many kinds
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        warnings.warn(f"{attention.name} cannot be used on {device} ({why})", RuntimeWarning, stacklevel=3)
        return False
    return bool((right - found).abs().max() <= CLOSE * right.abs().max())


def _scores(decoder: Decoder, cache: KvCache) -> torch.Tensor:
    """Scores of a forward that mixes decodes and chunks, on a cache whose blocks do not lie in order."""
    tokens = torch.randint(0, 64, (150,), generator=torch.Generator().manual_seed(1)).tolist()
    for sequence in range(4):
        cache.reserve(sequence, 30)
    cache.free(1)
    cache.free(2)
    decoder.forward([Entry(number, tokens[: 40 + 17 * number], 0) for number in (5, 6)], cache)
    decoder.forward([Entry(7, tokens[:90], 0)], cache)
    mixed = [Entry(5, [3], 125), Entry(7, tokens[90:131], 90), Entry(6, [9], 142), Entry(8, tokens[:33], 0)]
    return decoder.logits(mixed, cache).float()


def runner_for(decoder: Decoder, cache: KvCache) -> Runner:
    """Recorded launches of decodes where the device has them and they give what eager ones do; else eager ones."""
    if not decoder.device.startswith("cuda"):
        return Eager(decoder)
    from calibrate.graphs import recorded

    return recorded(decoder, cache) or Eager(decoder)
