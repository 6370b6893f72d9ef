"""The account of the cache in all steps to come, for policies that are told how long outputs will be."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
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
NO_LIMIT = 1 << 60


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
    """The last steps of all who run, at which use is highest, and what is free there.

    In between, everybody is about to grow further: who fits at these steps, and at his own last, always fits.
    """

    steps: list[int]
    """Steps of the pool, in order."""
    room: list[int]
    most: list[int]
    """The most tokens that a newcomer may know who lives to see each, and so all before, less the step of the pool at
    which he starts; and last no limit, for who sees none."""
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
        self.size = server.block_size
        self.table = blocks_of_tokens(server.block_size, server.total_blocks)
        self.unfinished: dict[Request, int] = {}
        """Prompts that take several iterations, and the blocks set aside for them."""
        self._pool = server.pool
        self._origin = server.pool.steps
        self._ends: list[int] = []
        """The last steps of those who decode, in order, some of them passed."""
        self._held: Blocks = np.zeros(ROOM, np.int32)
        self._tops: Tops | None = None
        for request in server.running_requests:
            self.follow(request)

    def copy(self) -> Plan:
        """A plan of its own, for trying."""
        other = object.__new__(Plan)
        other.__dict__.update(self.__dict__, _held=self._held.copy(), _ends=self._ends.copy())
        other.unfinished = self.unfinished.copy()
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
            end = self.now + steps - 1
            if (place := bisect_left(self._ends, end)) == len(self._ends) or self._ends[place] != end:
                self._ends.insert(place, end)
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
        """The peaks to come."""
        tops, now = self._tops, self.now
        if tops is None:
            del self._ends[: bisect_left(self._ends, now)]
            room = self.total - self._held[np.array(self._ends, np.int64) - self._origin]
            self._tops = tops = self._peaks(self._ends.copy(), room.tolist())
        elif tops.steps and tops.steps[0] < now:
            passed = bisect_left(tops.steps, now)
            self._tops = tops = self._peaks(tops.steps[passed:], tops.room[passed:])
        return tops

    def _peaks(self, steps: list[int], room: list[int]) -> Tops:
        least = min(room, default=self.total)
        most = accumulate([free * self.size - step for step, free in zip(steps, room, strict=True)], min)
        return Tops(steps, room, [*most, NO_LIMIT], steps[room.index(least)] if steps else NO_LIMIT, least)

    @property
    def always(self) -> int:
        """Tokens for which there is room in every step: whose last step needs no more may start at any time."""
        return self.tops().least * self.size

    def bottleneck(self) -> tuple[int, int]:
        """Where there is least room: so many steps from now; and the most tokens that one who stays longer may know."""
        tops = self.tops()
        away = tops.tightest - self.now
        return away, tops.least * self.size - away

    def holds(self, known: int, steps: int, whole: bool = True) -> bool:
        """Whether the cache holds everyone to the end with one more; ``whole``: its prompt is computed at once."""
        tops, now, last = self.tops(), self.now, known + steps - 1
        if last <= tops.least * self.size:
            return True
        if not whole or known - now > tops.most[bisect_left(tops.steps, now + steps) - 1]:
            return False
        return bool(last <= self.free(steps)[-1] * self.size)

    def hold(self, known: Steps, steps: Steps) -> NDArray[np.bool_]:
        """The same of some, each alone, whose prompts are computed at once."""
        tops, last = self.tops(), steps - 1
        seen = np.array(tops.steps, np.int64).searchsorted(steps + self.now)
        kept: NDArray[np.bool_] = known - self.now <= np.array(tops.most)[seen - 1]  # [-1], if none is seen
        kept &= known + last <= self.free(int(steps.max()))[last] * self.size
        return kept

    def crests(self, steps: Steps) -> tuple[Steps, Steps]:
        """The steps from now in which newcomers of so many steps may need the most together, and what is free then."""
        tops, last = self.tops(), steps - 1
        own = self.free(int(steps.max()))[last]
        return np.append(np.array(tops.steps, np.int64) - self.now, last), np.append(np.array(tops.room, np.int64), own)

    def agrees(self, server: Server) -> bool:
        """Whether the plan and the server tell the same of the next step of those who decode."""
        prompts = sum([request.blocks for request in server.prefilling])
        decoding = server.total_blocks - server.free_blocks - prompts
        return bool(self._row(1)[0] == decoding + server.pool.blocks_needed)
