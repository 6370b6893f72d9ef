"""The tensors in a checkpoint's folder by name, each read only when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from traces.errors import SlosimError

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def tensors_in(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """The tensors in a folder's files by name, each read when it is asked for."""
    held: dict[str, Callable[[], Tensor]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        held |= _safetensors(path)
    for path in [] if held else sorted(folder.glob("pytorch_model*.bin")):
        tensors = _pickled(path)
        held |= {name: _given(tensor) for name, tensor in tensors.items()}
    if not held:
        raise SlosimError(f"{folder}: has no *.safetensors and no pytorch_model*.bin; give a checkpoint's folder")
    return held


def _given(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except RuntimeError:  # the format of before 2020 cannot be mapped into memory
        found = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _safetensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    """The format is a length of eight bytes, a JSON header of that length with names and places, and the numbers."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (OSError, ValueError) as error:
        raise SlosimError(f"{path}: is not a safetensors file ({error}); copy the checkpoint anew") from error

    def reader(told: dict[str, list[int] | str]) -> Callable[[], Tensor]:
        first, last = (int(place) for place in told["data_offsets"])
        kind = TYPES[str(told["dtype"])]

        def read() -> Tensor:
            with path.open("rb") as file:
                file.seek(8 + length + first)
                numbers = bytearray(file.read(last - first))
            return torch.frombuffer(numbers, dtype=kind).reshape([int(size) for size in told["shape"]])

        return read

    return {name: reader(told) for name, told in header.items() if name != "__metadata__"}
