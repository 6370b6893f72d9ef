"""OPT's shapes: how large every tensor is, for every published size and for one of several tensor-parallel shards."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from costmodel.facts import MODELS, ModelFacts
from traces.errors import SlosimError

OFFSET = 2
"""Rows before the first position in OPT's position embeddings."""


@dataclass(frozen=True, slots=True)
class Config:
    """The shapes of an OPT decoder (Zhang et al., 2022; as published in the checkpoints' configuration files).

    With `shards` above one it is shard `shard` of a tensor-parallel group: its share of heads, of the feed-forward
    network and of the vocabulary, cut by columns and then by rows as in Megatron-LM.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    vocabulary: int = 50272
    positions: int = 2048
    """Learned position embeddings; random weights may have more, so that longer traces fit."""
    embedding: int = 0
    """Width of the token embeddings where it is not `hidden` (OPT-350M: 512), else nought."""
    norm_first: bool = True
    """Layer norm before each block and after the last one; OPT-350M has it behind each block only."""
    shards: int = 1
    shard: int = 0

    def __post_init__(self) -> None:
        for name in ("heads", "ffn", "vocabulary"):
            if getattr(self, name) % self.shards:
                raise SlosimError(f"{self.name}: {name} {getattr(self, name)} cannot be cut into {self.shards} shards")

    @property
    def head_size(self) -> int:
        """Numbers in a head's query, key or value."""
        return self.hidden // self.heads

    @property
    def own_heads(self) -> int:
        """Heads of this shard."""
        return self.heads // self.shards

    @property
    def own_width(self) -> int:
        """Numbers in a token's queries, keys or values in this shard."""
        return self.hidden // self.shards

    @property
    def width(self) -> int:
        """Width of the token embeddings."""
        return self.embedding or self.hidden

    @property
    def kv_numbers(self) -> int:
        """Numbers that one token takes in this shard's key-value cache."""
        return 2 * self.layers * self.own_width

    @property
    def parameters(self) -> int:
        """Weights of this shard; of a whole model, its published count."""
        own, ffn = self.own_width, self.ffn // self.shards
        attention = 4 * own * self.hidden + 3 * own + self.hidden
        forward = 2 * ffn * self.hidden + ffn + self.hidden
        layer = attention + forward + 4 * self.hidden
        embeddings = self.vocabulary // self.shards * self.width + (self.positions + OFFSET) * self.hidden
        rest = 2 * self.hidden if self.norm_first else 0
        return embeddings + self.layers * layer + rest + (2 * self.width * self.hidden if self.embedding else 0)

    @property
    def facts(self) -> ModelFacts:
        """The whole model's facts as a profile holds them: the known ones of its name, else spelled out."""
        whole = replace(self, shards=1, shard=0, positions=2048)
        return MODELS.get(self.name) or ModelFacts(
            self.name, self.layers, self.hidden, self.heads, self.heads, self.ffn, self.vocabulary, whole.parameters
        )


TINY = Config("opt-tiny", 4, 256, 8, 1024, vocabulary=512)
"""Not a published size: small enough to be measured on any CPU in seconds, to try the whole path."""


def config(name: str, shards: int = 1, shard: int = 0) -> Config:
    """The shapes of an OPT by name: every published size from opt-125m to opt-175b, and opt-tiny."""
    known = {size: facts for size, facts in MODELS.items() if size.startswith("opt-")}
    if name == TINY.name:
        return replace(TINY, shards=shards, shard=shard)
    if name not in known:
        raise SlosimError(f"there is no OPT size {name!r}: choose from {', '.join((*known, TINY.name))}")
    facts = known[name]
    odd = {"embedding": 512, "norm_first": False} if name == "opt-350m" else {}
    return Config(
        name,
        facts.layers,
        facts.hidden,
        facts.heads,
        facts.ffn,
        facts.vocabulary,
        shards=shards,
        shard=shard,
        **odd,  # type: ignore[arg-type]
    )


def config_of(folder: Path, shards: int = 1, shard: int = 0) -> Config:
    """The shapes that a checkpoint folder's config.json states; raises SlosimError if it is not an OPT's."""
    path = folder / "config.json"
    try:
        given = json.loads(path.read_text("utf-8"))
        told: dict[str, Any] = given if isinstance(given, dict) else {}
        if told.get("model_type") != "opt" or told.get("activation_function", "relu") != "relu":
            raise SlosimError(f"{path}: is not an OPT model; give the folder of an OPT checkpoint")
        if told.get("do_layer_norm_before", True) and told.get("_remove_final_layer_norm", False):
            raise SlosimError(f"{path}: lacks the last layer norm, which no published size does; convert it anew")
        width, hidden = told.get("word_embed_proj_dim", told["hidden_size"]), told["hidden_size"]
        return Config(
            told.get("_name_or_path", "").rsplit("/", 1)[-1] or folder.name,
            told["num_hidden_layers"],
            hidden,
            told["num_attention_heads"],
            told["ffn_dim"],
            told["vocab_size"],
            told["max_position_embeddings"],
            width if width != hidden else 0,
            told.get("do_layer_norm_before", True),
            shards,
            shard,
        )
    except OSError as error:
        raise SlosimError(f"{path}: cannot be read ({error.strerror or error}); give a checkpoint's folder") from error
    except KeyError as error:
        raise SlosimError(f"{path}: field {error} is missing; give an OPT checkpoint's own config.json") from error
    except ValueError as error:
        if isinstance(error, SlosimError):
            raise
        raise SlosimError(f"{path}: is not JSON ({error}); give a checkpoint's own config.json") from error
