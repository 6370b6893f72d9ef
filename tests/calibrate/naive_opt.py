"""OPT restated naively from the paper's shapes: the whole sequence at once, in double precision, without a cache."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from calibrate.opt import Config

Numbers = NDArray[np.float64]


def made_up(config: Config, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of a whole model under the names that Hugging Face's checkpoints use."""
    generator = torch.Generator().manual_seed(seed)
    hidden, wide = config.hidden, config.width
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config.vocabulary, wide),
        "embed_positions.weight": (config.positions + 2, hidden),
    }
    if config.embedding:
        shapes |= {"project_in.weight": (hidden, wide), "project_out.weight": (wide, hidden)}
    if config.norm_first:
        shapes |= {"final_layer_norm.weight": (hidden,), "final_layer_norm.bias": (hidden,)}
    for layer in range(config.layers):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"layers.{layer}.self_attn.{name}.weight"] = (hidden, hidden)
            shapes[f"layers.{layer}.self_attn.{name}.bias"] = (hidden,)
        for name, (rows, columns) in {"fc1": (config.ffn, hidden), "fc2": (hidden, config.ffn)}.items():
            shapes[f"layers.{layer}.{name}.weight"] = (rows, columns)
            shapes[f"layers.{layer}.{name}.bias"] = (rows,)
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"layers.{layer}.{name}.{part}": (hidden,) for part in ("weight", "bias")}
    return {name: _random(name, shape, generator) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    numbers = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return numbers * 0.3 + (1 if name.endswith("norm.weight") else 0)
    return numbers if name.startswith("embed") else numbers * 1.5 / shape[1] ** 0.5


def scores(tensors: dict[str, torch.Tensor], config: Config, tokens: list[int]) -> Numbers:
    """The logits after each of these tokens [tokens, vocabulary], in float64 and numpy."""
    held = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    x = held["embed_tokens.weight"][tokens]
    if config.embedding:
        x = x @ held["project_in.weight"].T
    x = x + held["embed_positions.weight"][[2 + place for place in range(len(tokens))]]
    for number in range(config.layers):
        layer = {name.split(".", 2)[2]: value for name, value in held.items() if name.startswith(f"layers.{number}.")}
        inner = norm(x, layer, "self_attn_layer_norm") if config.norm_first else x
        x = x + attention(inner, layer, config.heads)
        x = x if config.norm_first else norm(x, layer, "self_attn_layer_norm")
        inner = norm(x, layer, "final_layer_norm") if config.norm_first else x
        x = x + affine(np.maximum(affine(inner, layer, "fc1"), 0), layer, "fc2")
        x = x if config.norm_first else norm(x, layer, "final_layer_norm")
    if config.norm_first:
        x = norm(x, held, "final_layer_norm")
    if config.embedding:
        x = x @ held["project_out.weight"].T
    result: Numbers = x @ held["embed_tokens.weight"].T
    return result


def affine(x: Numbers, held: dict[str, Numbers], name: str) -> Numbers:
    result: Numbers = x @ held[f"{name}.weight"].T + held[f"{name}.bias"]
    return result


def norm(x: Numbers, held: dict[str, Numbers], name: str) -> Numbers:
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    result: Numbers = scaled * held[f"{name}.weight"] + held[f"{name}.bias"]
    return result


def attention(x: Numbers, layer: dict[str, Numbers], heads: int) -> Numbers:
    size = x.shape[1] // heads
    q, k, v = (affine(x, layer, f"self_attn.{name}_proj") for name in "qkv")
    rows = []
    for last in range(len(x)):
        parts = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            score = k[: last + 1, own] @ (q[last, own] * size**-0.5)
            weight = np.exp(score - score.max())
            parts.append((weight / weight.sum()) @ v[: last + 1, own])
        rows.append(np.concatenate(parts))
    return affine(np.array(rows), layer, "self_attn.out_proj")
