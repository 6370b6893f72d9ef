"""Recorded steps of real schedulers, replayed through the policy of the same settings: equal, or where they part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from costmodel import BatchShape
from experiments.recordings import Recording, policy_of, read_recording
from sim.batch import Batch
from sim.result import RunResult
from sim.server import Server
from sim.simulation import simulate
from traces.errors import SlosimError


class Difference(SlosimError):
    """The first step in which the policy and the recording part."""


class Replay:
    """Watches a run, compares every step with the recording, and is the clock: it hands back recorded durations."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.step = 0
        self._late: tuple[int, int] | None = None

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
        if self._refuses(batch):
            return
        tokens = dict.fromkeys(server.pool, 1) if server.decodes_now else {}
        tokens |= batch.prefills
        context = sum(request.kv_tokens + new for request, new in tokens.items())
        self._compare("start", server.now)
        self._compare("batch", {self._id(request): new for request, new in tokens.items()}, dict(self.line["batch"]))
        self._compare("preempted", [self._id(request) for request in batch.preempted])
        if self._late and self._late[0] == server.batches - 1:
            self._compare("flushed", self._late[1] - len(server.late_blocks), len(self.line.get("flushed", ())))
        self._compare("free_blocks", server.free_blocks)
        self._compare("running", server.running_count)
        self._compare("waiting", len(server.waiting))
        self._compare("swapped", len(server.swapped), self.line.get("swapped", 0))
        self._compare("context", context)
        self._compare("duration", self._duration(shape, context))

    def finished(self, server: Server, batch: Batch, end: float) -> None:
        """Compares what came of it."""
        if self._refuses(batch):
            return
        self._late = None if server.idle else (server.batches, len(server.late_blocks))
        self._compare("free_blocks_end", server.free_blocks)
        self.step += 1

    def _refuses(self, batch: Batch) -> bool:
        """Whether it does nothing but reject, which FastGen does at the door."""
        return "flush" in self.recording.settings and not (batch.tokens or batch.preempted)

    def _duration(self, shape: BatchShape, context: int) -> float:
        """The recording's own clock: powers of two, so exact whatever the order of summation."""
        settings = self.recording.settings
        blocks = shape.swapped_tokens // settings["block_size"]
        if not shape.forward_size:
            return 0.0
        return float(
            settings["a"] + settings["b"] * shape.forward_size + settings["c"] * context + settings["d"] * blocks
        )

    def _id(self, request: Any) -> str:
        return str(self.recording.ids[request.id])

    def _compare(self, field: str, ours: Any, theirs: Any = None) -> None:
        theirs = self.line[field] if theirs is None else theirs
        if ours != theirs:
            raise Difference(f"{self.recording.name}: step {self.step}: {_in_words(field, ours, theirs)}")


def _in_words(field: str, ours: Any, theirs: Any) -> str:
    if field != "batch":
        return f"{field} is {ours} here, {theirs} in the recording"
    parts = [
        f"{key} gets {ours.get(key, 0)} tokens here, {theirs.get(key, 0)} there"
        for key in {*ours, *theirs}
        if ours.get(key) != theirs.get(key)
    ]
    return f"the batches differ: {'; '.join(sorted(parts)[:5])}{' ...' if len(parts) > 5 else ''}"


def check_steps(path: Path) -> int:
    """Replays a recording; returns the number of steps, all equal. Raises ``Difference`` at the first that is not,
    and ``NotModelled`` if the recorded scheduler has a setting that no policy has."""
    recording = read_recording(path)
    policy = policy_of(recording)
    replay = _replay(recording)
    result = simulate(
        recording.trace,
        policy,
        replay,
        kv_blocks=recording.kv_blocks,
        block_size=recording.settings["block_size"],
        watch=replay,
    )
    if replay.step != len(recording.steps):
        raise Difference(
            f"{recording.name}: the policy ends after {replay.step} of {len(recording.steps)} recorded steps"
        )
    _check_requests(recording, result)
    return replay.step


def _replay(recording: Recording) -> Replay:
    from experiments.fastserve_steps import FastServeReplay

    return (FastServeReplay if recording.meta["scheduler"].startswith("FastServe") else Replay)(recording)


def _check_requests(recording: Recording, result: RunResult) -> None:
    """First token, finish and preemptions of every request, where the recording has them."""
    place = {name: row for row, name in enumerate(recording.ids)}
    for row in recording.requests:
        at = place[row["request_id"]]
        for field, convert in (("first_token_at", float), ("finished_at", float), ("preemptions", int)):
            ours = result.requests[field][at]
            if row[field] and ours != convert(row[field]):
                words = _in_words(field, ours, row[field])
                raise Difference(f"{recording.name}: {row['request_id']}: {words}")
