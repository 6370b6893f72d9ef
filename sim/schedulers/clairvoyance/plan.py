"""The account of the cache in all steps to come, for policies that are told how long outputs will be."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.errors import SchedulerError
from sim.request import Phase, Request
from sim.server import Server

Blocks = NDArray[np.int32]
Steps = NDArray[np.int64]

ROOM = 4096
"""Steps that a plan begins with; it grows as needed."""


@lru_cache(maxsize=8)
def blocks_of_tokens(block_size: int, total_blocks: int) -> Blocks:
    """How many blocks hold each number of tokens, from none to a full cache."""
    return -(-np.arange(total_blocks * block_size + 1, dtype=np.int32) // np.int32(block_size))


def outputs_left(request: Request) -> int:
    """Output tokens still to come, by the prediction."""
    if request.predicted_output is None:
        raise SchedulerError("Oracle needs to be told output lengths: use the predictor 'perfect' (the default for it)")
    return max(1, int(request.predicted_output) - request.generated)


class Tops(NamedTuple):
    """The steps at which use has grown to a peak, the last ones before somebody leaves, and what is free there.

    In between, everybody is about to grow further: who fits at these steps, and at his own last, always fits.
    """

    steps: Steps
    room: Blocks
    tightest: int
    """The step with the least room; one that nobody reaches if there is none."""
    least: int
    """That room: what is free in every step."""


class Plan:
    """How many blocks all admitted requests will hold at every decode step to come, if each decodes in every one.

    A request of K known tokens with L outputs left holds the blocks of K, K + 1, ... K + L - 1 tokens in the next L
    steps, and then none. When a prompt that takes several iterations begins to decode is not known: until it does, the
    blocks that it holds in the end are set aside. So the plan is safe; it errs only if predictions do, which ``agrees``
    notices: then a new one is due.
    """

    def __init__(self, server: Server) -> None:
        self.total = server.total_blocks
        """Blocks that are not set aside."""
        self.table = blocks_of_tokens(server.block_size, server.total_blocks)
        self.unfinished: dict[Request, int] = {}
        """Prompts that take several iterations, and the blocks set aside for them."""
        self._pool = server.pool
        self._origin = server.pool.steps
        self._reach = self._origin
        """The step from which on nobody is left, as far as is known now."""
        self._held: Blocks = np.zeros(ROOM, np.int32)
        self._tops: Tops | None = None
        for request in server.running_requests:
            self.follow(request)

    def copy(self) -> Plan:
        """A plan of its own, for trying."""
        other = object.__new__(Plan)
        other.__dict__.update(self.__dict__, _held=self._held.copy(), unfinished=dict(self.unfinished))
        return other

    # -- changes ------------------------------------------------------------------------------------------------

    def steps(self, request: Request) -> int:
        """Steps to its end: by the prediction, but no more than the cache holds."""
        return min(outputs_left(request), len(self.table) - request.known_tokens)

    def follow(self, request: Request) -> None:
        """Takes up a request as it is after an iteration: its prompt is unfinished, or it decodes now, or it left."""
        known = request.known_tokens
        if request.phase is Phase.PREFILLING:
            if request not in self.unfinished:
                self.unfinished[request] = last = int(self.table[known + self.steps(request) - 1])
                self._set_aside(last)
            return
        self._set_aside(-self.unfinished.pop(request, 0))
        if request.phase is Phase.DECODING:
            self.add(known, self.steps(request))

    def add(self, known: int, steps: int, whole: bool = True) -> None:
        """Somebody more; ``whole``: all of its prompt is computed in the next iteration."""
        if whole:
            self._row(steps)[:] += self.table[known : known + steps]
            self._reach = max(self._reach, self._pool.steps + steps)
            self._tops = None
        else:
            self._set_aside(int(self.table[known + steps - 1]))

    def _set_aside(self, blocks: int) -> None:
        self.total -= blocks
        self._tops = None

    def _row(self, steps: int) -> Blocks:
        """The blocks held in the next so many steps, unfinished prompts aside: a view."""
        first = self._pool.steps - self._origin
        if first + steps > len(self._held):
            rest = self._held[first:]
            self._held = np.zeros(max(ROOM, 2 * (len(rest) + steps)), np.int32)
            self._held[: len(rest)] = rest
            self._origin += first
            first = 0
        return self._held[first : first + steps]

    # -- questions ----------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The next step."""
        return self._pool.steps

    def free(self, steps: int) -> Blocks:
        """Blocks that nobody will hold in each of the next so many steps."""
        return np.int32(self.total) - self._row(steps)

    def tops(self) -> Tops:
        """The peaks, in steps of the pool, which ``now`` counts, too."""
        now = self.now
        if self._tops is None or (len(self._tops.steps) and self._tops.steps[0] < now):
            free = self.free(max(0, self._reach - now) + 1)
            steps = (free[1:] > free[:-1]).nonzero()[0]
            room = free[steps]
            place = int(room.argmin()) if len(room) else -1
            tightest, least = (int(steps[place]) + now, int(room[place])) if len(room) else (1 << 60, self.total)
            self._tops = Tops(steps + now, room, tightest, least)
        return self._tops

    def holds(self, known: int, steps: int, whole: bool = True) -> bool:
        """Whether the cache holds everyone to the end with one more; ``whole``: its prompt is computed at once."""
        tops, room, tightest, least = self.tops()
        last, tightest = self.table[known + steps - 1], tightest - self.now
        if last <= least:
            return True
        if not whole or (steps > tightest and self.table[known + tightest] > least):
            return False
        ends = tops.searchsorted(self.now + steps)
        blocks = self.table[tops[:ends] + (known - self.now)]
        return bool((blocks <= room[:ends]).all() and last <= self.free(steps)[-1])

    def agrees(self, server: Server) -> bool:
        """Whether the plan and the server tell the same of the next step of those who decode."""
        prompts = sum([request.blocks for request in server.prefilling])
        decoding = server.total_blocks - server.free_blocks - prompts
        return bool(self._row(1)[0] == decoding + server.pool.blocks_needed)
