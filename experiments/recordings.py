"""Recorded runs of real schedulers: their settings, requests and steps, and the policy that stands for each."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.scheduler import Scheduler
from sim.schedulers.fastgen import FastGen
from sim.schedulers.fastserve.policy import LENGTHS, FastServe
from sim.schedulers.orca import Orca
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from traces import Trace, TraceRow
from traces.errors import SlosimError

Settings = dict[str, Any]

LONGEST_OF_ARTIFACT = 0.0025
"""Seconds: the profile in FastServe's artifact says 1.5 to 2.5 ms for prompts of any length."""


@dataclass(frozen=True)
class Recording:
    """A recorded run: settings of the real scheduler, its requests and its steps."""

    name: str
    meta: dict[str, Any]
    ids: list[str]
    trace: Trace
    steps: list[dict[str, Any]]

    @property
    def settings(self) -> Settings:
        """The real scheduler's settings."""
        return dict(self.meta["settings"])

    @property
    def kv_blocks(self) -> int:
        """Blocks that requests can hold."""
        return int(self.meta.get("usable_blocks") or self.settings["num_gpu_blocks"])


def read_recording(path: Path) -> Recording:
    """Reads ``NAME.meta.json`` and, beside it, ``NAME.steps.jsonl.gz`` and the trace that the settings name."""
    name = path.name.removesuffix(".meta.json")
    if name == path.name:
        raise SlosimError(f"{path}: give a recording by its NAME.meta.json")
    try:
        meta = json.loads(path.read_text())
        with gzip.open(path.with_name(f"{name}.steps.jsonl.gz"), "rt") as lines:
            steps = [step for step in map(json.loads, lines) if not _only_flushes(step)]
        with open(path.with_name(meta["settings"]["trace"]), newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: float(row["arrived_at"]))
    except (OSError, KeyError, ValueError) as error:
        raise SlosimError(f"{path}: not a complete recording ({type(error).__name__}: {error})") from error
    trace = Trace.from_rows([
        TraceRow(float(row["arrived_at"]), prompt := int(row["prompt_tokens"]), _stop(meta, prompt, row))
        for row in rows
    ])  # fmt: skip
    return Recording(name, meta, [row["request_id"] for row in rows], trace, steps)


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
        raise SlosimError(f"the artifact's times are not known well enough for a first quantum of {quantum} s")
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
    "vllm.v1.core.sched.scheduler.Scheduler": 0,
    "mii.batching.ragged_batching.RaggedBatchBase": 1,
}
"""Tokens beyond the model's length, prompt included, that a request has when the recorded engine ends it for that."""

POLICIES: dict[str, Callable[[Settings], Scheduler]] = {
    "vllm.core.scheduler.Scheduler": _vllm,
    "vllm.v1.core.sched.scheduler.Scheduler": _vllm_v1,
    "SarathiScheduler": _sarathi,
    "OrcaScheduler": _orca,
    "mii.batching.ragged_batching.RaggedBatchBase": _fastgen,
    "FastServe sj-mlfq": _fastserve,
    "FastServe mlfq": _fastserve,
    "FastServe fcfs": _fastserve,
}
"""Which policy stands for which recorded scheduler."""
