"""The weights of an OPT decoder: random ones of the exact shapes, or a checkpoint folder's, whole or one shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from calibrate.checkpoint import tensors_in
from calibrate.opt import OFFSET, Config
from traces.errors import SlosimError


class Affine(NamedTuple):
    """A matrix [out, in] and its bias [out], or the scale and shift [width] of a layer norm."""

    weight: Tensor
    bias: Tensor | None


class Layer(NamedTuple):
    """One decoder layer; `qkv` holds the queries', keys' and values' matrices above each other."""

    attention_norm: Affine
    qkv: Affine
    out: Affine
    forward_norm: Affine
    fc1: Affine
    fc2: Affine


@dataclass(frozen=True)
class Weights:
    """All tensors of a decoder or of one shard; the head is the token embedding, tied."""

    tokens: Tensor
    positions: Tensor
    layers: tuple[Layer, ...]
    norm: Affine | None
    project_in: Tensor | None = None
    project_out: Tensor | None = None

    def numbers(self) -> int:
        """How many numbers all tensors hold."""
        return sum(tensor.numel() for tensor in _tensors(self))


def _tensors(weights: Weights) -> Iterator[Tensor]:
    affine = [norm for layer in weights.layers for norm in layer] + ([weights.norm] if weights.norm else [])
    tensors = [tensor for pair in affine for tensor in pair]
    for tensor in (weights.tokens, weights.positions, weights.project_in, weights.project_out, *tensors):
        if tensor is not None:
            yield tensor


Source = Callable[[str, tuple[int, ...]], Tensor]
"""Gives the tensor of a name in Hugging Face's scheme, without `model.decoder.`, and of the whole model's shape."""


def random_weights(config: Config, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0) -> Weights:
    """Normal random numbers that keep activations near one; the time of a matrix product hardly depends on them.

    Never zeros: those run faster on a GPU, because they take less power. A shard's numbers are its own: they are not
    cut from a whole model, so that no whole model must fit.
    """
    generator = torch.Generator(device).manual_seed(seed)

    def source(name: str, shape: tuple[int, ...]) -> Tensor:
        numbers = torch.empty(shape, device=device, dtype=dtype).normal_(generator=generator)
        if name.endswith("norm.weight"):
            return numbers.mul_(0.1).add_(1)
        return numbers.mul_(0.1) if len(shape) == 1 else numbers.mul_(shape[-1] ** -0.5)

    return _assemble(config, source)


def weights_of(source: Source, config: Config, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Weights:
    """The weights that a source of whole tensors gives, cut to the configuration's shard tensor by tensor."""

    def cut(name: str, shape: tuple[int, ...]) -> Tensor:
        whole = source(name, _whole(name, shape, config))
        return _cut(name, whole, config).to(device=device, dtype=dtype).contiguous()

    return _assemble(config, cut)


def load_weights(folder: Path, config: Config, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Weights:
    """Real weights from a checkpoint folder (`*.safetensors`, else `pytorch_model*.bin`), tensor by tensor.

    Positions beyond the checkpoint's repeat its own from the start (inferred: the time of a forward does not depend on
    them). Raises SlosimError if a tensor is missing or has another shape.
    """
    held = tensors_in(folder)

    def source(name: str, shape: tuple[int, ...]) -> Tensor:
        given = next((held[key] for key in (f"model.decoder.{name}", f"decoder.{name}", name) if key in held), None)
        if given is None:
            raise SlosimError(f"{folder}: has no tensor {name}; give the whole folder of an OPT checkpoint")
        tensor = given()
        if name == "embed_positions.weight" and len(tensor) < shape[0]:
            beyond = torch.arange(shape[0] - OFFSET) % (len(tensor) - OFFSET)
            tensor = torch.cat([tensor[:OFFSET], tensor[OFFSET:][beyond]])
        if tuple(tensor.shape) != shape:
            raise SlosimError(f"{folder}: tensor {name} is {tuple(tensor.shape)}, not {shape}: another model's")
        return tensor

    return weights_of(source, config, device, dtype)


def _assemble(config: Config, source: Source) -> Weights:
    hidden, own, ffn = config.hidden, config.own_width, config.ffn // config.shards

    def get(name: str, *shape: int) -> Tensor:
        return source(name, shape)

    def affine(name: str, *shape: int) -> Affine:
        return Affine(get(f"{name}.weight", *shape), get(f"{name}.bias", shape[0]))

    def layer(number: int) -> Layer:
        name = f"layers.{number}"
        thirds = [affine(f"{name}.self_attn.{which}_proj", own, hidden) for which in "qkv"]
        stacked = Affine(*(torch.cat(list(parts)) for parts in zip(*thirds, strict=True)))
        return Layer(
            affine(f"{name}.self_attn_layer_norm", hidden),
            stacked,
            affine(f"{name}.self_attn.out_proj", hidden, own),
            affine(f"{name}.final_layer_norm", hidden),
            affine(f"{name}.fc1", ffn, hidden),
            affine(f"{name}.fc2", hidden, ffn),
        )

    return Weights(
        get("embed_tokens.weight", config.vocabulary // config.shards, config.width),
        get("embed_positions.weight", config.positions + OFFSET, hidden),
        tuple(layer(number) for number in range(config.layers)),
        affine("final_layer_norm", hidden) if config.norm_first else None,
        get("project_in.weight", hidden, config.width) if config.embedding else None,
        get("project_out.weight", config.width, hidden) if config.embedding else None,
    )


ATTENTION = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "q_proj.bias", "k_proj.bias", "v_proj.bias")
ROWS = (*ATTENTION, "fc1.weight", "fc1.bias", "embed_tokens.weight")
"""Tensors that shards share out by rows, and those by columns; the others every shard has whole."""
COLUMNS = ("out_proj.weight", "fc2.weight")


def _whole(name: str, shape: tuple[int, ...], config: Config) -> tuple[int, ...]:
    """The whole model's shape of a tensor of which a shard has this one."""
    if name.endswith(ROWS):
        return (shape[0] * config.shards, *shape[1:])
    return (shape[0], shape[1] * config.shards) if name.endswith(COLUMNS) else shape


def _cut(name: str, whole: Tensor, config: Config) -> Tensor:
    """A shard's share of a whole tensor: of its rows, of its columns, or all of it."""
    if config.shards == 1 or not name.endswith(ROWS + COLUMNS):
        return whole
    return whole.chunk(config.shards, dim=1 if name.endswith(COLUMNS) else 0)[config.shard]


def extended(config: Config, positions: int) -> Config:
    """The same model with at least so many positions."""
    return replace(config, positions=max(config.positions, positions))
