"""Recorded steps of real schedulers, replayed through the policy of the same settings: equal, or where they part."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel import BatchShape
from sim.batch import Batch
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from traces import Trace, TraceRow
from traces.errors import SlosimError

Settings = dict[str, Any]


class Difference(SlosimError):
    """The first step in which the policy and the recording part."""


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
            steps = [json.loads(line) for line in lines]
        with open(path.with_name(meta["settings"]["trace"]), newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: float(row["arrived_at"]))
    except (OSError, KeyError, ValueError) as error:
        raise SlosimError(f"{path}: not a complete recording ({type(error).__name__}: {error})") from error
    trace = Trace.from_rows(
        [TraceRow(float(row["arrived_at"]), int(row["prompt_tokens"]), int(row["output_tokens"])) for row in rows]
    )
    return Recording(name, meta, [row["request_id"] for row in rows], trace, steps)


def _vllm(settings: Settings) -> Scheduler:
    if str(settings["version"]).split(".")[:2] == ["0", "2"]:
        paddings = settings["max_paddings"]
    else:
        paddings = None
    return Vllm(
        max_num_batched_tokens=settings["max_num_batched_tokens"],
        max_num_seqs=settings["max_num_seqs"],
        max_model_len=settings["max_model_len"],
        chunked_prefill=settings["chunked_prefill"] == "on",
        preemption=settings["preemption_mode"],
        max_paddings=paddings,
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
        chunk_size=settings["chunk_size"], max_num_seqs=settings["max_num_seqs"], max_model_len=settings["max_model_len"]
    )


POLICIES: dict[str, Callable[[Settings], Scheduler]] = {
    "vllm.core.scheduler.Scheduler": _vllm,
    "vllm.v1.core.sched.scheduler.Scheduler": _vllm_v1,
    "SarathiScheduler": _sarathi,
}
"""Which policy stands for which recorded scheduler."""


class Replay:
    """Watches a run, compares every step with the recording, and is the clock: it hands back recorded durations."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.step = 0
        self._queues: dict[str, int] = {}

    @property
    def line(self) -> dict[str, Any]:
        """The recorded step that comes next."""
        if self.step >= len(self.recording.steps):
            raise Difference(f"{self.recording.name}: the recording ends after {self.step} steps, the policy goes on")
        return self.recording.steps[self.step]

    def iteration_time(self, shape: BatchShape) -> float:
        """The recorded duration, in seconds."""
        return float(self.line["duration"])

    def started(self, server: Server, batch: Batch, shape: BatchShape) -> None:
        """Compares the decision."""
        tokens = {request: 1 for request in server.pool} if server.decodes_now else {}
        tokens |= batch.prefills
        context = sum(request.kv_tokens + new for request, new in tokens.items())
        self._compare("start", server.now)
        self._compare("batch", {self._id(request): new for request, new in tokens.items()}, dict(self.line["batch"]))
        self._compare("preempted", [self._id(request) for request in batch.preempted])
        self._compare("free_blocks", server.free_blocks)
        self._compare("running", server.running_count)
        self._compare("waiting", len(server.waiting))
        self._compare("swapped", len(server.swapped), self.line.get("swapped", 0))
        self._compare("context", context)
        self._compare("duration", self._duration(shape, context))

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        """Compares what came of it."""
        self._compare("free_blocks_end", server.free_blocks)
        self.step += 1

    def _duration(self, shape: BatchShape, context: int) -> float:
        """The recording's own clock: powers of two, so exact whatever the order of summation."""
        settings = self.recording.settings
        blocks = shape.swapped_tokens // settings["block_size"]
        if not shape.forward_size:
            return 0.0
        return float(settings["a"] + settings["b"] * shape.forward_size + settings["c"] * context + settings["d"] * blocks)

    def _id(self, request: Any) -> str:
        return self.recording.ids[request.id]

    def _compare(self, field: str, ours: Any, theirs: Any = None) -> None:
        theirs = self.line[field] if theirs is None else theirs
        if ours != theirs:
            raise Difference(f"{self.recording.name}: step {self.step}: {_in_words(field, ours, theirs)}")


def _in_words(field: str, ours: Any, theirs: Any) -> str:
    if field != "batch":
        return f"{field} is {ours} here, {theirs} in the recording"
    parts = [f"{key} gets {ours.get(key, 0)} tokens here, {theirs.get(key, 0)} there" for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)]
    return f"the batches differ: {'; '.join(sorted(parts)[:5])}{' ...' if len(parts) > 5 else ''}"


def check_steps(path: Path) -> int:
    """Replays a recording; returns the number of steps, all equal. Raises ``Difference`` at the first that is not."""
    recording = read_recording(path)
    kind = recording.meta["scheduler"]
    if kind not in POLICIES:
        raise SlosimError(f"{path}: no policy stands for {kind!r}; there are {', '.join(POLICIES)}")
    replay = Replay(recording)
    result = simulate(
        recording.trace,
        POLICIES[kind](recording.settings),
        replay,
        kv_blocks=recording.kv_blocks,
        block_size=recording.settings["block_size"],
        watch=replay,
    )
    if replay.step != len(recording.steps):
        raise Difference(f"{recording.name}: the policy ends after {replay.step} of {len(recording.steps)} recorded steps")
    _check_requests(path, recording, result)
    return replay.step


def _check_requests(path: Path, recording: Recording, result: Any) -> None:
    """First token, finish and preemptions of every request, where the recording has them."""
    file = path.with_name(f"{recording.name}.requests.csv")
    if not file.exists():
        return
    place = {name: row for row, name in enumerate(recording.ids)}
    with open(file, newline="") as lines:
        for row in csv.DictReader(lines):
            at = place[row["request_id"]]
            for field, convert in (("first_token_at", float), ("finished_at", float), ("preemptions", int)):
                if row[field] and result.requests[field][at] != convert(row[field]):
                    raise Difference(f"{recording.name}: {row['request_id']}: {field} is {result.requests[field][at]} here, {row[field]} in the recording")
