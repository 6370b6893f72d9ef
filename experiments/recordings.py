"""Recorded runs of real schedulers: their settings, requests and steps, and the policy that stands for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.recorded_files import name_of, read_files
from sim.scheduler import Scheduler
from sim.schedulers.fastgen import DELAYS, FastGen
from sim.schedulers.fastserve.policy import LENGTHS, FastServe
from sim.schedulers.orca import Orca
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import NULL_BLOCKS, VllmV1
from traces import Trace, TraceRow
from traces.errors import SlosimError

Settings = dict[str, Any]

Known = tuple[Any, ...]
"""The values of a setting that are modelled; empty: any."""
OFF: Known = (None, False, 0, "off")
"""Values of any other setting that change nothing."""
SWITCH: Known = ("on", "off")
V1 = "vllm.v1.core.sched.scheduler.Scheduler"

LONGEST_OF_ARTIFACT = 0.0025
"""Seconds: the profile in FastServe's artifact says 1.5 to 2.5 ms for prompts of any length."""


class NotModelled(SlosimError):
    """A recording's scheduler or settings that no policy stands for."""


@dataclass(frozen=True)
class Recording:
    """A recorded run: settings of the real scheduler, its requests and its steps."""

    name: str
    meta: dict[str, Any]
    ids: list[str]
    trace: Trace
    steps: list[dict[str, Any]]
    requests: list[dict[str, str]]
    """First token, finish and preemptions of each request, where they were recorded."""

    @property
    def settings(self) -> Settings:
        """The real scheduler's settings."""
        return dict(self.meta["settings"])

    @property
    def kv_blocks(self) -> int:
        """Blocks that requests can hold."""
        null = NULL_BLOCKS if self.meta["scheduler"] == V1 else 0
        return int(self.meta.get("usable_blocks") or self.settings["num_gpu_blocks"] - null)


def read_recording(path: Path) -> Recording:
    """Reads a recording by its ``NAME.meta.json`` or ``steps/NAME.parquet``."""
    meta, steps, requests, rows = read_files(path)
    try:
        rows.sort(key=lambda row: float(row["arrived_at"]))
        trace = Trace.from_rows([
            TraceRow(float(row["arrived_at"]), prompt := int(row["prompt_tokens"]), _stop(meta, prompt, row))
            for row in rows
        ])  # fmt: skip
        steps = [step for step in steps if not _only_flushes(step)]
        return Recording(name_of(path), meta, [row["request_id"] for row in rows], trace, steps, requests)
    except (KeyError, TypeError, ValueError) as error:
        raise SlosimError(f"{path}: not a complete recording ({type(error).__name__}: {error})") from error


def policy_of(recording: Recording) -> Scheduler:
    """The policy that stands for the recorded scheduler with its settings. Raises ``NotModelled`` where none does."""
    kind, name, settings = recording.meta.get("scheduler"), recording.name, recording.settings
    if kind not in POLICIES:
        raise NotModelled(f"{name}: no policy stands for {kind!r}; there are {', '.join(POLICIES)}")
    modelled = POLICIES[kind]
    if beyond := not_modelled(modelled.known, settings):
        raise NotModelled(f"{name}: {'; '.join(f'{setting}: not modelled' for setting in beyond)}")
    try:
        _ = [settings[needed] for needed in CLOCK]
        return modelled.policy(settings)
    except KeyError as error:
        raise SlosimError(f"{name}: not a complete recording: it lacks the setting {error}") from error


def not_modelled(known: dict[str, Known], settings: Settings) -> list[str]:
    """Settings with a value that the policy would ignore. A setting that is not known must be off."""
    return sorted(name for name, value in settings.items() if (values := known.get(name, OFF)) and value not in values)


def _stop(meta: dict[str, Any], prompt: int, row: dict[str, str]) -> int:
    """Output tokens after which a request ends: as many as asked, unless the model's length ends it before."""
    asked, beyond = int(row["output_tokens"]), BEYOND.get(meta["scheduler"])
    limit = meta["settings"].get("max_model_len")
    return asked if beyond is None or limit is None else max(1, min(asked, limit - prompt + beyond))


def _only_flushes(step: dict[str, Any]) -> bool:
    """Whether FastGen only freed blocks of finished requests in it: no iteration, for no time passes."""
    return "flushed" in step and not (step["batch"] or step["preempted"])


def _vllm(settings: Settings) -> Scheduler:
    old = str(settings["version"]).split(".")[:2] == ["0", "2"]
    return Vllm(
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        max_num_seqs=settings["max_num_seqs"],
        max_model_len=settings["max_model_len"],
        chunked_prefill=settings["chunked_prefill"] == "on",
        preemption=settings["preemption_mode"],
        max_paddings=settings["max_paddings"] if old else None,
        watermark=float(settings.get("watermark", Vllm.watermark)),
    )


def _vllm_v1(settings: Settings) -> Scheduler:
    version = tuple(int(part) for part in str(settings["version"]).split(".")[:2])
    return VllmV1(
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        max_num_seqs=settings["max_num_seqs"],
        chunked_prefill=settings["chunked_prefill"] == "on",
        long_prefill_token_threshold=settings["long_prefill_token_threshold"],
        reserve_full_prompt=bool(settings.get("scheduler_reserve_full_isl", version >= (0, 19))),
        watermark=float(settings.get("watermark", 0.0)),
    )


def _sarathi(settings: Settings) -> Scheduler:
    return Sarathi(
        chunk_size=settings["chunk_size"],
        max_num_seqs=settings["max_num_seqs"],
        max_model_len=settings["max_model_len"],
        watermark=float(settings.get("watermark", Sarathi.watermark)),
    )


def _orca(settings: Settings) -> Scheduler:
    return Orca(max_num_seqs=settings["max_num_seqs"], max_model_len=settings["max_model_len"])


def _fastgen(settings: Settings) -> Scheduler:
    return FastGen(
        max_ragged_batch_size=settings["max_ragged_batch_size"],
        max_ragged_sequence_count=settings["max_num_seqs"],
        max_tracked_sequences=settings["max_tracked_sequences"],
        max_model_len=settings["max_model_len"],
        flush=settings["flush"],
    )


def _fastserve(settings: Settings) -> FastServe:
    """The policy of a recording's settings. `cost` is the recording's own clock; of the `artifact`'s profile, only the
    range of its times is known: it makes no difference where every prompt joins level 0."""
    quantum, skips = settings["base_quantum"], settings["scheduler"] == "sj-mlfq"
    if skips and settings["profile"] == "artifact" and quantum < LONGEST_OF_ARTIFACT:
        raise NotModelled(f"the artifact's times are not known well enough for a first quantum of {quantum} s")
    per_token = settings["b"] + settings["c"]
    cost = tuple(settings["a"] + per_token * length for length in LENGTHS)
    return FastServe(
        policy=settings["scheduler"],
        max_num_seqs=settings["max_num_seqs"],
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        base_quantum=quantum,
        quantum_factor=settings["quantum_factor"],
        starvation_threshold=settings["starvation_threshold"],
        starvation_period=settings["starvation_period"],
        proactive=settings["proactive_offloading"] == "on",
        num_min_free_blocks_threshold=settings["num_min_free_blocks_threshold"],
        num_cpu_blocks=settings["num_cpu_blocks"],
        prefill_times=cost if settings["profile"] == "cost" else (LONGEST_OF_ARTIFACT,) * len(LENGTHS),
    )


BEYOND = {
    "vllm.core.scheduler.Scheduler": 1,
    V1: 0,
    "mii.batching.ragged_batching.RaggedBatchBase": 1,
}
"""Tokens beyond the model's length, prompt included, that a request has when the recorded engine ends it for that."""


class Modelled(NamedTuple):
    """A policy made of a recorded scheduler's settings, and the settings that it models."""

    policy: Callable[[Settings], Scheduler]
    known: dict[str, Known]


def _known(*any_value: str, **values: Known) -> dict[str, Known]:
    return dict.fromkeys((*CLOCK, "trace", *any_value), ()) | values


CLOCK = ("a", "b", "c", "d", "block_size", "num_gpu_blocks", "max_model_len")
"""Settings of every recording: the fake clock's, the cache's and the model's."""
SARATHI = _known(
    "chunk_size", "max_num_seqs", "watermark", dynamic=(False,), scheduler=("sarathi", "orca"), stop_rule=("total",)
)
FASTSERVE = _known(
    "max_num_batched_tokens", "max_num_seqs", "base_quantum", "quantum_factor", "starvation_threshold",
    "starvation_period", "num_min_free_blocks_threshold", "num_cpu_blocks",
    scheduler=("sj-mlfq", "mlfq", "fcfs"), proactive_offloading=SWITCH, profile=("cost", "artifact"),
)  # fmt: skip

POLICIES: dict[str, Modelled] = {
    "vllm.core.scheduler.Scheduler": Modelled(
        _vllm,
        _known(
            "version", "max_num_batched_tokens", "max_num_seqs", "max_paddings", "num_cpu_blocks", "watermark",
            chunked_prefill=SWITCH, preemption_mode=("recompute", "swap"), block_manager=("v1",),
        ),
    ),
    V1: Modelled(
        _vllm_v1,
        _known(
            "version", "max_num_batched_tokens", "max_num_seqs", "long_prefill_token_threshold", "watermark",
            "hash_block_size", chunked_prefill=SWITCH, scheduler_reserve_full_isl=(True, False), policy=("fcfs",),
            prefill_schedule_interval=(0, 1),
        ),
    ),
    "SarathiScheduler": Modelled(_sarathi, SARATHI),
    "OrcaScheduler": Modelled(_orca, SARATHI),
    "mii.batching.ragged_batching.RaggedBatchBase": Modelled(
        _fastgen,
        _known("max_ragged_batch_size", "max_num_seqs", "max_tracked_sequences", flush=tuple(DELAYS)),
    ),
    "FastServe sj-mlfq": Modelled(_fastserve, FASTSERVE),
    "FastServe mlfq": Modelled(_fastserve, FASTSERVE),
    "FastServe fcfs": Modelled(_fastserve, FASTSERVE),
}  # fmt: skip
"""Which policy stands for which recorded scheduler."""
