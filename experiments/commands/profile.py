"""Says what is known of a model on its GPUs: parameters, provenance, S_pf and T_pf, the size of the KV cache.

examples:
  slosim profile opt-13b@a100-80gb-vllm
  slosim profile my-gpu.json --block-size 16
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from experiments.commands.options import count, positive
from experiments.escaping import say

if TYPE_CHECKING:
    from costmodel import Profile


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("name", metavar="NAME", help="a profile (slosim list profiles) or a .json file of one")
    parser.add_argument(
        "--block-size", type=count, default=32, metavar="N", help="tokens per block (default 32, the paper's)"
    )
    parser.add_argument(
        "--memory", type=positive, default=0.9, metavar="SHARE", help="of the GPU's memory used (default 0.9)"
    )


def main(options: Namespace) -> int:
    """Prints."""
    from costmodel import profile
    from traces.errors import SlosimError

    if options.block_size < 1 or not 0 < options.memory <= 1:
        raise SlosimError("--block-size must be at least 1, and --memory a share above 0 and up to 1")
    for line in _lines(profile(options.name), options.block_size, options.memory):
        say(line)
    return 0


def _lines(found: Profile, block_size: int, memory: float) -> Iterator[str]:
    prior = "  (a prior: nothing was measured)" if found.prior else ""
    yield f"{found.name}{prior}"
    if found.model and found.gpu:
        model = found.model
        sizes = f"{model.layers} layers of {model.hidden}, {model.weight_bytes / 1e9:.1f} GB of weights"
        yield f"  model       {model.name}: {sizes}"
        yield f"  GPUs        {found.tensor_parallel} x {found.gpu.name}"
    form = found.as_json()["cost_model"]
    yield f"  cost model  {form['form']} (seconds)"
    yield from _tree({name: value for name, value in form.items() if name != "form"}, 4)
    pivot = found.pivot
    rounding = f"{pivot.exact} before rounding to tiles of 128"
    yield f"  S_pf        {pivot.forward_size} tokens ({rounding}), T_pf {1e3 * pivot.time:.1f} ms"
    if "pivot_forward_size" in found.paper:
        yield f"              the paper's: {found.paper['pivot_forward_size']:g} tokens"
    yield from _cache(found, block_size, memory)
    yield "  provenance"
    yield from _tree(found.provenance, 4)


def _cache(found: Profile, block_size: int, memory: float) -> Iterator[str]:
    if found.model is None:
        yield "  KV cache    unknown: the profile does not say its model"
        return
    yield f"  KV cache    {found.model.kv_bytes_per_token:,} bytes per token"
    if "kvc_bytes" in found.paper:
        yield _size(
            f"the paper's {found.paper['kvc_bytes'] / 1e9:g} GB (the default)",
            found.kv_tokens(kvc_bytes=found.paper["kvc_bytes"]),
            block_size,
        )
    if found.gpu:
        yield _size(f"{memory:.0%} of the memory", found.kv_tokens(memory), block_size)


def _size(what: str, tokens: int, block_size: int) -> str:
    return f"              {what}: {tokens:,} tokens, {tokens // block_size:,} blocks of {block_size}"


def _tree(values: Mapping[Any, Any], indent: int) -> Iterator[str]:
    """Nested values, a line each."""
    for name, value in values.items():
        if name == "draws" and isinstance(value, Mapping):
            value = f"{len(value['values'])} refits, each of {len(value['parameters'])} parameters"
        nested = isinstance(value, list) and value and isinstance(value[0], Mapping)
        inner = dict(enumerate(value, 1)) if nested else value
        if isinstance(inner, Mapping):
            yield f"{'':{indent}}{name}"
            yield from _tree(inner, indent + 2)
        else:
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            yield f"{'':{indent}}{name}: {text}"
