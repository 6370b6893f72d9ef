"""Hard little workloads for trying policies: each is small, and each is where some policy has hung or cheated."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from traces import SLO, Trace, TraceRow

NO_SLO = (SLO(),)
MIXED_SLOS = (
    SLO(),
    SLO(ttft=0.05, tbt=0.03),
    SLO(ttft=0.3, tbt=0.1),
    SLO(ttft=2.0, tbt=0.2),
    SLO(ttft=0.5),
    SLO(tbt=0.04),
    SLO(jct=2.0),
    SLO(jct=60.0),
)


@dataclass(frozen=True)
class Trial:
    """A workload and a cache for it."""

    name: str
    trace: Trace
    kv_blocks: int
    block_size: int = 16

    @property
    def patience(self) -> int:
        """Decisions within which some request must finish: four per token of all requests, and some."""
        return 1000 + 4 * int(self.trace.prompt_tokens.sum() + self.trace.output_tokens.sum())


def trials() -> list[Trial]:
    """All of them, the same every time."""
    return [
        Trial("one request alone", _trace(1, 0, 0.0, (40, 40), (8, 8)), 100),
        Trial("one-token outputs", _trace(24, 1, 1.0, (1, 200), (1, 1)), 60),
        Trial("a burst", _trace(40, 2, 0.0, (1, 120), (1, 30)), 200),
        Trial("long prompts among short", _long_prompts(), 500),
        Trial("mixed SLOs, busy", _trace(40, 4, 2.0, (1, 300), (1, 40), MIXED_SLOS), 120),
        _tight("tight cache", _trace(24, 5, 0.5, (1, 60), (1, 60)), 4, 6),
        _tight("tight cache, mixed SLOs", _trace(24, 6, 1.0, (1, 60), (1, 60), MIXED_SLOS), 16, 2),
        _tight("each just fits", _trace(12, 7, 0.2, (90, 100), (20, 30)), 16, 0),
        _tight("blocks of one token", _trace(12, 8, 0.2, (1, 20), (1, 20), MIXED_SLOS), 1, 4),
        Trial("as large as the cache", _whole_cache(), 120, 1),
        Trial("one can never fit", _trace(9, 9, 1.0, (30, 60), (1, 9)), 4),
        Trial("idle between bursts", _pauses(), 30),
    ]


def _trace(
    requests: int,
    seed: int,
    spread: float,
    prompt: tuple[int, int],
    output: tuple[int, int],
    slos: tuple[SLO, ...] = NO_SLO,
) -> Trace:
    """Requests that come within ``spread`` seconds, some of them together."""
    random = Random(seed)
    times = sorted(spread * random.choice((random.random(), random.randrange(3) / 3)) for _ in range(requests))
    rows = [TraceRow(at, random.randint(*prompt), random.randint(*output), random.choice(slos)) for at in times]
    return Trace.from_rows(rows)


def _long_prompts() -> Trace:
    lengths = (20, 3000, 15, 4000, 30, 8, 2500, 60)
    rows = [TraceRow(0.05 * n, tokens, 5 + n, MIXED_SLOS[n % 4]) for n, tokens in enumerate(lengths)]
    return Trace.from_rows(rows)


def _whole_cache() -> Trace:
    """Requests that fill the cache alone, some of them to the last block already when they start."""
    lengths = ((120, 1), (119, 2), (60, 61), (120, 1), (1, 120), (3, 3))
    return Trace.from_rows([TraceRow(0.2 * n, *each, MIXED_SLOS[n % 4]) for n, each in enumerate(lengths)])


def _pauses() -> Trace:
    return Trace.from_rows([TraceRow(30.0 * (n // 5), 10 + 20 * n, 1 + n) for n in range(15)])


def _tight(name: str, trace: Trace, block_size: int, spare: int) -> Trial:
    """A cache that holds the largest request and ``spare`` blocks more."""
    largest = int(np.max(trace.prompt_tokens + trace.output_tokens)) - 1
    return Trial(name, trace, -(-largest // block_size) + spare, block_size)
