"""A real OPT decoder with a key-value cache: prefill chunks and decodes in one forward, on a GPU or a CPU.

    config = opt.config("opt-13b")                            # or opt.TINY; tensor-parallel: config(name, shards=8)
    decoder = Decoder.random(config, "cuda", torch.bfloat16)  # or Decoder.loaded(folder, "cuda", torch.float16)
    cache = decoder.cache(blocks=2000, block_size=16)         # or decoder.slots(64, 4096)
    ids = decoder.forward([Entry(7, prompt[:512], 0), Entry(3, [token], 99)], cache)
    cache.free(3); cache.swap_out(7); cache.swap_in(7)

`Entry(sequence, tokens, start)` names the next tokens of a sequence and how many of its tokens are in the cache. A
forward takes the blocks that it needs (`cache.reserve` does it ahead), and gives one next token for each entry, in the
order given, greedily chosen after the entry's last token; that of a chunk which does not end its prompt means nothing.
The answer stays on the device: `ids.tolist()` waits for it. `decoder.logits` gives all scores instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, relu

from calibrate.attention import Attention, PlainAttention
from calibrate.cache import KvCache, slots
from calibrate.opt import OFFSET, Config, config_of
from calibrate.plan import Entry, Plan, plan
from calibrate.weights import Affine, Layer, Weights, extended, load_weights, random_weights

__all__ = ["Alone", "Config", "Decoder", "Entry", "KvCache", "Link", "Plan", "plan", "slots"]

EPSILON = 1e-5
"""Of OPT's layer norms."""


class Link(Protocol):
    """What a shard needs of the others of its tensor-parallel group."""

    def total(self, part: Tensor) -> Tensor:
        """The sum of all shards' parts (an all-reduce)."""
        ...

    def joined(self, part: Tensor) -> Tensor:
        """All shards' parts side by side along the last axis (an all-gather)."""
        ...


class Alone:
    """No others: a whole model, or one shard measured by itself: its times mean something, its numbers do not."""

    def total(self, part: Tensor) -> Tensor:
        """The part itself."""
        return part

    def joined(self, part: Tensor) -> Tensor:
        """The part itself."""
        return part


@dataclass(frozen=True, eq=False)
class Decoder:
    """An OPT decoder, whole or one tensor-parallel shard; see the module for how it is used."""

    config: Config
    weights: Weights
    attention: Attention = field(default_factory=PlainAttention)
    link: Link = field(default_factory=Alone)

    @classmethod
    def random(
        cls,
        config: Config,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        positions: int = 0,
        seed: int = 0,
        attention: Attention | None = None,
    ) -> Decoder:
        """A decoder of random weights, with at least so many positions; `attention` is plain unless given."""
        longer = extended(config, positions)
        return cls(longer, random_weights(longer, device, dtype, seed), attention or PlainAttention())

    @classmethod
    def loaded(
        cls,
        folder: Path,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        positions: int = 0,
        shards: int = 1,
        shard: int = 0,
        attention: Attention | None = None,
    ) -> Decoder:
        """A decoder of a checkpoint folder's weights; raises SlosimError if that is not an OPT's."""
        config = extended(config_of(folder, shards, shard), positions)
        return cls(config, load_weights(folder, config, device, dtype), attention or PlainAttention())

    @property
    def device(self) -> str:
        """Where the weights are."""
        return str(self.weights.positions.device)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        return self.weights.positions.dtype

    def cache(self, blocks: int, block_size: int = 16) -> KvCache:
        """A new cache of this model on its device."""
        return KvCache(self.config, blocks, block_size, self.device, self.dtype)

    def slots(self, number: int, capacity: int) -> KvCache:
        """A new cache of slots for whole sequences on this model's device."""
        return slots(self.config, number, capacity, self.device, self.dtype)

    def forward(self, entries: Sequence[Entry], cache: KvCache) -> Tensor:
        """Computes one iteration; returns the next token's id of each entry, [entries], on the device."""
        return self.scores(plan(entries, cache, self.config.positions)).argmax(-1)

    def logits(self, entries: Sequence[Entry], cache: KvCache) -> Tensor:
        """Computes one iteration; returns the scores of the next token of each entry, [entries, vocabulary]."""
        return self.scores(plan(entries, cache, self.config.positions))

    def scores(self, planned: Plan) -> Tensor:
        """The logits after the last token of each entry of a plan; the cache gets the new keys and values."""
        with torch.inference_mode():
            hidden = self._embedded(planned)
            for number, layer in enumerate(self.weights.layers):
                hidden = self._layer(number, layer, hidden, planned)
            return self._head(hidden[planned.last])

    def _head(self, hidden: Tensor) -> Tensor:
        if self.weights.norm is not None:
            hidden = _norm(hidden, self.weights.norm)
        if self.weights.project_out is not None:
            hidden = linear(hidden, self.weights.project_out)
        return self.link.joined(linear(hidden, self.weights.tokens))

    def _embedded(self, planned: Plan) -> Tensor:
        tokens = self._own_tokens(planned.tokens)
        if self.weights.project_in is not None:
            tokens = linear(tokens, self.weights.project_in)
        return tokens + self.weights.positions[planned.positions + OFFSET]

    def _own_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of the tokens; a shard knows a share of the vocabulary and gives noughts for the rest."""
        if self.config.shards == 1:
            return self.weights.tokens[tokens]
        own = len(self.weights.tokens)
        place = tokens - self.config.shard * own
        known = (place >= 0) & (place < own)
        return self.link.total(self.weights.tokens[place.clamp(0, own - 1)] * known[:, None])

    def _layer(self, number: int, layer: Layer, hidden: Tensor, planned: Plan) -> Tensor:
        first = self.config.norm_first
        attended = self._attended(number, layer, _norm(hidden, layer.attention_norm) if first else hidden, planned)
        hidden = hidden + attended if first else _norm(hidden + attended, layer.attention_norm)
        inner = relu(linear(_norm(hidden, layer.forward_norm) if first else hidden, *layer.fc1))
        hidden = hidden + self._summed(inner, layer.fc2)
        return hidden if first else _norm(hidden, layer.forward_norm)

    def _attended(self, number: int, layer: Layer, hidden: Tensor, planned: Plan) -> Tensor:
        shape = (len(hidden), 3, self.config.own_heads, self.config.head_size)
        queries, keys, values = linear(hidden, *layer.qkv).view(shape).unbind(1)
        keys_of, values_of = planned.numbers[number].unbind(0)
        keys_of[planned.rows] = keys
        values_of[planned.rows] = values
        return self._summed(self.attention(number, queries, planned).flatten(1), layer.out)

    def _summed(self, inner: Tensor, affine: Affine) -> Tensor:
        """A product whose rows are shared out: the shards' parts are added up, and the bias once."""
        if self.config.shards == 1:
            return linear(inner, *affine)
        total = self.link.total(linear(inner, affine.weight))
        return total if affine.bias is None else total + affine.bias


def _norm(hidden: Tensor, affine: Affine) -> Tensor:
    return layer_norm(hidden, hidden.shape[-1:], affine.weight, affine.bias, EPSILON)
