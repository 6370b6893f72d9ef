"""The tensors in a checkpoint's folder by name, each read only when it is asked for."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    problem: Exception | None = None
    for mapped in (True, False):  # the format of before 2020 cannot be mapped into memory
        try:
            found: dict[str, Tensor] = torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            problem = error
        else:
            return found
    why = (str(problem).splitlines() or ["it ends early"])[0]
    raise SlosimError(f"{path}: is not a checkpoint's file ({why}); copy the checkpoint anew") from problem


def _safetensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    """The format is a length of eight bytes, a JSON header of that length with names and places, and the numbers."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("its header is longer than it is")
            header: dict[str, Any] = json.loads(file.read(length))
        places = {name: told["data_offsets"] for name, told in header.items() if name != "__metadata__"}
        if max((last for _, last in places.values()), default=0) > path.stat().st_size - 8 - length:
            raise ValueError("it is cut off")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SlosimError(f"{path}: is not a safetensors file ({error}); copy the checkpoint anew") from error

    def reader(name: str, first: int, last: int) -> Callable[[], Tensor]:
        def read() -> Tensor:
            kind = header[name]["dtype"]
            if kind not in TYPES:
                raise SlosimError(f"{path}: tensor {name} is of type {kind}; convert it to one of {', '.join(TYPES)}")
            with path.open("rb") as file:
                file.seek(8 + length + first)
                numbers = bytearray(file.read(last - first))
            return torch.frombuffer(numbers, dtype=TYPES[kind]).reshape(header[name]["shape"])

        return read

    return {name: reader(name, *place) for name, place in places.items()}
