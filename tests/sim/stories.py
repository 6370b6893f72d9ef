"""Small hard workloads, a policy that does everything at random, and what makes two stories equal."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any
from zlib import crc32

import numpy as np

from costmodel import Calibrated, Profile, profile
from sim.batch import Batch
from sim.request import Request
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.server import Server
from traces import SLO, Trace, TraceRow

MODEL = Calibrated(
    per_token=1e-3,
    weight_time=0.01,
    sharpness=2.0,
    per_pair=1e-7,
    per_context_token=1e-6,
    per_decode=1e-4,
    host_time=0.003,
    per_swapped_token=1e-5,
)
"""A slow little machine."""
PROFILE: Profile = profile("opt-13b@a100-80gb-vllm")
TABLES = ("requests", "iterations", "spans", "events")
SLOS = (
    SLO(),
    SLO(ttft=0.05, tbt=0.02),
    SLO(ttft=0.5, tbt=0.1),
    SLO(ttft=2.0),
    SLO(tbt=0.03),
    SLO(jct=1.5),
    SLO(jct=20.0),
)


def little_trace(
    seed: int,
    requests: int = 30,
    spread: float = 1.0,
    prompt: int = 60,
    output: int = 20,
    slos: bool = True,
) -> Trace:
    """Requests at random within ``spread`` seconds, some at the same instant; lengths up to ``prompt``, ``output``."""
    random = Random(seed)
    times = sorted(random.choice((random.random(), random.randrange(4) / 4)) * spread for _ in range(requests))
    return Trace.from_rows(
        [
            TraceRow(
                time,
                max(1, int(prompt * random.random() ** 2)),
                random.choice((1, random.randint(1, output), random.randint(1, output))),
                random.choice(SLOS) if slos else SLO(),
                random.choice(("chat", "code")),
            )
            for time in times
        ]
    )


def blocks_for_largest(trace: Trace, block_size: int) -> int:
    """The smallest cache that holds each request alone."""
    tokens = int((trace.prompt_tokens.astype(np.int64) + trace.output_tokens - 1).max(initial=1))
    return -(-tokens // block_size)


def differences(one: RunResult, other: RunResult) -> list[str]:
    """Where two stories part, to the last bit; measured wall times aside."""
    found = [] if dict(one.rejections) == dict(other.rejections) else ["rejections"]
    for table in TABLES:
        mine, theirs = getattr(one, table), getattr(other, table)
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - {"schedule_seconds"}:
            a, b = np.asarray(mine[name]), np.asarray(theirs[name])
            if a.dtype != b.dtype or a.tobytes() != b.tobytes():
                where = int(np.flatnonzero(a != b)[0]) if a.shape == b.shape and (a != b).any() else -1
                found.append(
                    f"{table}.{name}[{where}]: {a[where : where + 1]} and {b[where : where + 1]} ({a.size}, {b.size})"
                )
    return found


@dataclass(frozen=True)
class Dice:
    """Chance that depends on what is asked only, so that who else is there makes no difference."""

    throw: str
    likely: float

    def choose(self, purpose: str, *among: Any) -> Any:
        return among[crc32(f"{purpose} {self.throw}".encode()) % 997 % len(among)]

    def whim(self, purpose: str, share: float = 1.0) -> bool:
        return crc32(f"{purpose} {self.throw}".encode()) % 997 < 997 * self.likely * share


@dataclass(frozen=True)
class Whimsical(Scheduler):
    """Pauses, resumes, preempts, swaps, reserves and rejects at random, but the same way whenever it sees the same."""

    seed: int = 0
    budget: int = 64
    whim: float = 0.3
    rejects: float = 0.05
    ahead: float = 0.0
    """How likely it lets running requests take blocks ahead, and newcomers live in those of others."""
    release_delay: int = 0
    patient: bool = False
    """Whether it changes its mind only when somebody came, or left while others wait, and promises so."""
    mood: float = 0.0
    """It changes its mind every so many seconds, too, and its promise is no longer than that."""

    def schedule(self, server: Server) -> Batch:
        history = server.history
        crowd = (len(server.waiting), len(server.swapped))
        when = (history.arrivals, history.preemptions, *crowd, history.finished if any(crowd) else 0)
        mood = int(server.now / self.mood) if self.mood else 0
        dice = Dice(f"{self.seed} {when} {mood} {0 if self.patient else history.iterations}", self.whim)
        batch = server.new_batch(self.budget, dice.choose("watermark", 0, 0, 1))
        self._move(server, batch, dice)
        self._decode(server, batch, dice)
        for request in server.prefilling:
            if request not in batch.preempted and not dice.whim(f"prefill {request.id}"):
                batch.prefill(request, dice.choose(f"chunk {request.id}", None, 1, 7))
        self._admit(batch, dice)
        greedy = [request for request in server.running if dice.whim(f"extend {request.id}", self.ahead)]
        for request in greedy:
            if request not in batch.preempted:
                lender = self._host(batch, dice)
                lends = lender is not request and request not in server.hosts
                batch.extend(request, dice.choose(f"extension {request.id}", 1, 2, 5), lender if lends else None)
        if not (batch.tokens or batch.changes):
            batch = server.new_batch(self.budget)
            self._whatever(server, batch)
            return batch
        # who asks for blocks ahead would ask again when somebody leaves; what hosts can spare shrinks as they grow
        if self.patient and not greedy and not (self.ahead and server.waiting.size):
            batch.hold(until=(mood + 1) * self.mood if self.mood else inf)
        return batch

    def _move(self, server: Server, batch: Batch, dice: Dice) -> None:
        for request in list(server.swapped):
            if not dice.whim(f"resume {request.id}"):
                batch.resume(request, run=not dice.whim(f"run {request.id}"))
        for request in server.running:
            if dice.whim(f"preempt {request.id}", 1 / 8):
                batch.preempt(request, swap=dice.choose(f"swap {request.id}", True, False))

    def _decode(self, server: Server, batch: Batch, dice: Dice) -> None:
        decoding = [request for request in server.decoding if request not in batch.preempted]
        if not decoding or dice.choose("all", True, False, bool(batch.preempted)):
            batch.decode_all(dice.choose("spare", 0, 1), swap=dice.choose("swap", True, False))
        else:
            for request in decoding:
                if not dice.whim(f"decode {request.id}"):
                    batch.decode(request)
        for request in decoding:
            if request not in batch.preempted and dice.whim(f"pause {request.id}", 1 / 4):
                batch.pause(request)

    def _admit(self, batch: Batch, dice: Dice) -> None:
        for request in list(batch.waiting()):
            if dice.whim(f"reject {request.id}", self.rejects):
                batch.reject(request, "a whim")
            elif not dice.whim(f"admit {request.id}"):
                tokens, reserve = dice.choose(f"tokens {request.id}", None, None, 3, 16), (0, 0, 5, 40)
                batch.admit(request, tokens, dice.choose(f"reserve {request.id}", *reserve), self._host(batch, dice))

    def _host(self, batch: Batch, dice: Dice) -> Request | None:
        """Somebody who has blocks to spare, now and then."""
        if not (self.ahead and dice.whim("host")):
            return None
        return next((request for request in batch.server.running if batch.spare(request) > 0), None)

    def _whatever(self, server: Server, batch: Batch) -> None:
        """The first thing that can be done, so that the world does not stop."""
        running = server.running
        for request in [*running, *server.swapped, *server.waiting]:
            if self._advance(server, batch, request):
                return
        if running:
            batch.preempt(running[-1])

    def _advance(self, server: Server, batch: Batch, request: Request) -> int:
        if request in server.swapped:
            return batch.resume(request)
        if request in server.prefilling:
            return batch.prefill(request)
        if request in server.waiting:
            return batch.admit(request)
        return batch.decode(request)
