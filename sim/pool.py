"""The decode pool: every member gains one token an iteration, at a cost that does not depend on their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush

from sim.request import STILL, Request


class DecodePool:
    """The requests that decode together, carried by one step counter.

    All that a step changes follows from the number of steps: a member's context is its context on joining plus the
    steps since; it takes a new block whenever it fills its last one, which recurs every ``block_size`` steps, so
    members are counted by residue; the step of its last token is known on joining. ``PlainPool`` is the
    specification, and touches every member.
    """

    __slots__ = (
        "_leave_steps",
        "_leaving",
        "_members",
        "_waking",
        "block_size",
        "context",
        "growing",
        "last_step_at",
        "size",
        "steps",
        "version",
    )

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.size = 0
        """Members."""
        self.version = 0
        """Changes whenever the members do."""
        self.steps = 0
        self.context = 0
        """Sum of the KV lengths after the next step (tokens): what the next step reads."""
        self.last_step_at = float("-inf")
        self.growing = [0] * block_size
        """How many members take a block in the steps of each residue."""
        self._members: dict[Request, int] = {}
        self._leaving: dict[int, list[Request]] = {}
        self._leave_steps: list[int] = []
        self._waking: dict[int, int] = {}

    def __iter__(self) -> Iterator[Request]:
        return iter(self._members)

    def __contains__(self, request: Request) -> bool:
        return request in self._members

    def consists_of(self, requests: Mapping[Request, object]) -> bool:
        """Whether these are all members, in any order."""
        return self._members.keys() == requests.keys()

    @property
    def blocks_needed(self) -> int:
        """Blocks that the next step takes."""
        return self.growing[self.steps % self.block_size]

    def join(self, request: Request) -> None:
        """Takes a request whose prefill is done; it decodes from the next step on."""
        steps, kv = self.steps, request._kv
        last = steps + request._output_tokens - request._generated
        self._members[request] = last
        self.size += 1
        self.version += 1
        if last in self._leaving:
            self._leaving[last].append(request)
        else:
            self._leaving[last] = [request]
            heappush(self._leave_steps, last)
        self.context += kv + 1
        room = request._blocks * self.block_size - kv
        if room < self.block_size:
            self.growing[(steps + room) % self.block_size] += 1
        else:
            self._wake_at(room, last, 1)
        request._kv = kv - steps
        request._generated -= steps
        request._counter = self

    def leave(self, request: Request) -> None:
        """Lets a member go before its last token (preempted or paused); its progress is written back."""
        last = self._members.pop(request)
        self._leaving[last].remove(request)
        self._release(request, last)

    def resize(self, request: Request, blocks: int) -> None:
        """A member holds ``blocks`` from now on: never fewer than its tokens need."""
        size, steps, kv, last = self.block_size, self.steps, request.kv_tokens, self._members[request]
        for held, by in ((request.blocks, -1), (blocks, 1)):
            room = held * size - kv
            if room < size:
                self.growing[(steps + room) % size] += by
            else:
                self._wake_at(room, last, by)
        request._blocks = blocks

    def step(self, at: float, steps: int = 1) -> None:
        """All members gained ``steps`` tokens, the latest at time ``at``."""
        self.steps += steps
        self.context += steps * self.size
        self.last_step_at = at
        if self._waking:
            self._wake()

    def finished(self) -> list[Request]:
        """The members whose last token came with the latest step; they leave."""
        if self._leave_steps and self._leave_steps[0] <= self.steps:
            last = heappop(self._leave_steps)
            done = self._leaving.pop(last)
            for request in done:
                del self._members[request]
                self._release(request, last)
            return done
        return []

    def steps_to_event(self) -> int:
        """Steps until the set of members, or of those that grow, may change (the last of them included)."""
        leaving = self._leaving
        while self._leave_steps and not leaving[self._leave_steps[0]]:
            del leaving[heappop(self._leave_steps)]
        nearest = self._leave_steps[0] - self.steps if self._leave_steps else 0
        if self._waking:
            nearest = min(nearest, min(self._waking) - self.steps)
        return nearest

    def _wake_at(self, room: int, last: int, by: int) -> None:
        """Counts a member that has ``room`` for a whole block or more: it will grow later, if it lives so long."""
        wakes = self.steps + room - self.block_size + 1
        if wakes <= last:
            number = self._waking.get(wakes, 0) + by
            if number:
                self._waking[wakes] = number
            else:
                del self._waking[wakes]

    def _wake(self) -> None:
        self.growing[(self.steps - 1) % self.block_size] += self._waking.pop(self.steps, 0)

    def _release(self, request: Request, last: int) -> None:
        steps, size = self.steps, self.block_size
        request._kv += steps
        request._generated += steps
        request._counter = STILL
        self.size -= 1
        self.version += 1
        kv = request._kv
        self.context -= kv + 1
        held = max(request._blocks, -(-kv // size))
        request._blocks = held
        request._last_token_at = max(request._last_token_at, self.last_step_at)
        room = held * size - kv
        if room < size:
            self.growing[(steps + room) % size] -= 1
        else:
            self._wake_at(room, last, -1)
