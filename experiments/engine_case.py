"""A run that was measured on a real engine: its settings, its requests, and the iterations to calibrate with.

A folder holds `engine.json` (engine and version, max_num_seqs, max_num_batched_tokens, block_size, num_gpu_blocks where
the cache can fill), `requests.csv` (request_id, arrived_at, prompt_tokens, output_tokens, first_token_at, finished_at;
seconds) and `iterations.csv` (`calibrate.read_points`).

Taken as they are in the field: vLLM from 0.8 on is V1, which keeps one block for itself; from 0.19 on it admits only
prompts that fit as a whole, and schedules ahead (`experiments.overlap`). Settings that no policy models, prefix caching
among them, are refused (`refuse_unmodelled`), and so is tensor parallelism unless the iterations include its
communication: else the fitted host time would take up what is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.overlap import Overlapped
from experiments.recordings import Known, NotModelled, not_modelled
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from traces import Trace
from traces.errors import SlosimError

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.float64]
COMMUNICATION = "iterations_include_communication"
"""The setting that says that the iterations of a tensor-parallel engine were measured with their all-reduces."""
COLUMNS = ("arrived_at", "prompt_tokens", "output_tokens", "first_token_at", "finished_at")
DESCRIBING = dict.fromkeys(
    (
        "model", "gpu", "engine", "version", "source", "name", "date", "notes", "licence", "license", "url", "driver",
        "cuda", "torch", "host", "dtype", "quantization", "kv_cache_dtype", "gpu_memory_utilization", "enforce_eager",
        "max_model_len", "trace", "dataset", "requests", "request_rate", "seed", "swap_space",
    ),
    (),
)  # fmt: skip
"""Settings of any value: they describe the run, or change only what its iterations measure."""
PARALLEL: dict[str, Known] = {
    "tensor_parallel": (),
    "pipeline_parallel": (1,),
    "data_parallel": (1,),
    COMMUNICATION: (True,),
}
"""Settings of parallelism that are modelled; tensor parallelism is looked at on its own."""
SIZES = dict.fromkeys(("max_num_seqs", "max_num_batched_tokens", "block_size", "num_gpu_blocks"), ())
FIRST_COME: dict[str, Known] = {"policy": ("fcfs",), "scheduling_policy": ("fcfs",), "preemption_mode": ("recompute",)}
SWITCHES_OF_V1 = ("enable_chunked_prefill", "long_prefill_token_threshold", "scheduler_reserve_full_isl", "watermark")
COMMON: dict[str, Known] = {**DESCRIBING, **PARALLEL, **SIZES, **FIRST_COME}
MODELLED: dict[str, dict[str, Known]] = {
    "vllm-v1": {**COMMON, **dict.fromkeys((*SWITCHES_OF_V1, "async_scheduling"), ())},
    "vllm-v0": COMMON,
    "sarathi": {**COMMON, "chunk_size": ()},
}
"""The settings of an engine that its policy models, and their values (`recordings.not_modelled`)."""
FIRST_V1 = (0, 8)
"""The first version of vLLM whose scheduler is V1's by default."""
FIRST_WITH_FULL_PROMPT = (0, 19)
"""The first version known to admit only prompts that fit as a whole, and to schedule ahead (async) by default."""


@dataclass(frozen=True)
class EngineCase:
    """A measured run. Times are seconds since the run's zero, one per request, in order of arrival."""

    folder: Path
    settings: dict[str, Any]
    trace: Trace
    first_token_at: Floats
    finished_at: Floats
    failed: int = 0
    """Requests without first token or finish: left out."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def engine(self) -> tuple[str, tuple[int, ...]]:
        """The engine's name in small letters and its version; a version that is not said counts as new."""
        words = str(self.settings.get("engine", "vllm"))
        numbers = re.search(r"\d+(\.\d+)+", words)
        version = tuple(int(part) for part in numbers[0].split(".")) if numbers else (99,)
        return (re.findall(r"[a-z]+", words.lower()) or ["vllm"])[0], version

    @property
    def block_size(self) -> int:
        """Tokens per block (vLLM's 16 unless said)."""
        return self.number("block_size", 16)

    @property
    def kv_blocks(self) -> int:
        """Blocks that requests can hold: as said, less V1's null block; else enough for all of them at once."""
        said = self.settings.get("num_gpu_blocks")
        if said is None:
            tokens = self.trace.prompt_tokens.astype(np.int64) + self.trace.output_tokens
            return int((-(-tokens // self.block_size)).sum())
        null_blocks = 1 if self.engine[0] == "vllm" and self.engine[1] >= FIRST_V1 else 0
        return self.number("num_gpu_blocks", 0) - null_blocks

    @property
    def cache_unlimited(self) -> bool:
        """Whether the settings lack the cache's size; the cache is then assumed to hold all requests at once."""
        return self.settings.get("num_gpu_blocks") is None

    def refuse_unmodelled(self, ignored: Sequence[str] = ()) -> None:
        """Raises NotModelled naming each setting whose effect the simulation would lack, but for those ignored."""
        path, (engine, version) = self.folder / "engine.json", self.engine
        kind = f"vllm-v{int(version >= FIRST_V1)}" if engine == "vllm" else engine
        beyond = [f"{name}: not modelled" for name in not_modelled(MODELLED.get(kind, COMMON), self._but(ignored))]
        parallel = self._but(ignored).get("tensor_parallel")
        if parallel not in (None, 1) and not self.flag(COMMUNICATION, False):
            beyond.append(
                f"tensor_parallel = {parallel!r}: not modelled without the time of its communication; set "
                f"{COMMUNICATION} to true if the iterations were measured with it"
            )
        if beyond:
            raise NotModelled(f"{path}: {'; '.join(beyond)} (--ignore NAME predicts all the same)")

    def _but(self, ignored: Sequence[str]) -> dict[str, Any]:
        """The settings without those that a user ignores; raises SlosimError for one that is not there."""
        if missing := [name for name in ignored if name not in self.settings]:
            raise SlosimError(f"--ignore {missing[0]}: {self.folder / 'engine.json'} has no such setting")
        return {name: value for name, value in self.settings.items() if name not in ignored}

    def policy(self) -> Scheduler:
        """The scheduler of that engine and version with the settings of the case."""
        engine, version = self.engine
        if engine == "sarathi":
            return Sarathi(self.number("chunk_size", 512), self.number("max_num_seqs", 128))
        if engine != "vllm":
            raise SlosimError(
                f"{self.folder / 'engine.json'}: no policy stands for engine {engine!r}; vllm and sarathi are known"
            )
        sequences = self.number("max_num_seqs", 256)
        if version < FIRST_V1:
            return Vllm(self.number("max_num_batched_tokens", 0) or None, sequences)
        policy = VllmV1(
            self.number("max_num_batched_tokens", 2048),
            sequences,
            chunked_prefill=self.flag("enable_chunked_prefill", True),
            long_prefill_token_threshold=self.number("long_prefill_token_threshold", 0),
            reserve_full_prompt=self.flag("scheduler_reserve_full_isl", version >= FIRST_WITH_FULL_PROMPT),
            watermark=float(self.settings.get("watermark") or 0.0),
        )
        ahead = self.flag("async_scheduling", version >= FIRST_WITH_FULL_PROMPT)
        return Overlapped(policy) if ahead else policy

    def number(self, name: str, default: int) -> int:
        """A whole number of the settings; raises SlosimError if it is none."""
        value = default if self.settings.get(name) is None else self.settings[name]
        if type(value) is not int or value < 0:
            raise SlosimError(f"{self.folder / 'engine.json'}: {name} must be a whole number, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A switch of the settings; raises SlosimError if it is neither true nor false."""
        value = default if self.settings.get(name) is None else self.settings[name]
        if type(value) is not bool:
            raise SlosimError(f"{self.folder / 'engine.json'}: {name} must be true or false, not {value!r}")
        return value


def read_case(folder: str | Path) -> EngineCase:
    """Reads a folder; raises SlosimError naming the file, the line and the column at fault."""
    folder = Path(folder)
    settings = _settings(folder / "engine.json")
    path = folder / "requests.csv"
    table = _requests(path)
    arrived, prompt, output, first, finish = (_column(table, name, path, name.endswith("_at")) for name in COLUMNS)
    done = ~(np.isnan(first) | np.isnan(finish))
    if not done.any():
        raise SlosimError(f"{path}: no request has both first_token_at and finished_at; there is nothing to predict")
    order = np.flatnonzero(done)[np.argsort(arrived[done], kind="stable")]
    trace = Trace.from_columns(
        arrived[order], prompt[order].astype(np.int64), output[order].astype(np.int64), name=folder.resolve().name
    )
    return EngineCase(folder, settings, trace, first[order], finish[order], int((~done).sum()))


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SlosimError(
            f"{path}: cannot be read ({error.strerror or error}); name the folder of a measured run"
        ) from error
    except ValueError as error:
        raise SlosimError(f"{path}: is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise SlosimError(f"{path}: must hold an object of settings, not {type(settings).__name__}")
    return settings


def _requests(path: Path) -> pandas.DataFrame:
    import pandas

    try:
        table = pandas.read_csv(path)
    except OSError as error:
        raise SlosimError(
            f"{path}: cannot be read ({error.strerror or error}); name the folder of a measured run"
        ) from error
    except ValueError as error:
        raise SlosimError(f"{path}: is not a table ({str(error).splitlines()[0]})") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing or table.empty:
        raise SlosimError(f"{path}: {'has no rows' if not missing else 'column ' + ', '.join(missing) + ' is missing'}")
    return table


def _column(table: pandas.DataFrame, name: str, path: Path, time: bool) -> Floats:
    """Numbers; times may be missing where a request failed, but for its arrival."""
    import pandas

    values: Floats = pandas.to_numeric(table[name], errors="coerce").to_numpy(float)
    empty = table[name].isna().to_numpy() if time and name != "arrived_at" else np.zeros(len(values), bool)
    wrong = ~empty & ~(np.isfinite(values) & (values >= (0 if time else 1)))
    if wrong.any():
        row = int(np.argmax(wrong))
        wanted = "a time in seconds" if time else "a whole number of at least 1"
        raise SlosimError(f"{path}: line {row + 2}, field {name}: {str(table[name].iloc[row])!r} is not {wanted}")
    return values
