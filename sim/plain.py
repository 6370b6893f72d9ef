"""The plain pool: the specification of ``DecodePool``, which touches every request at every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sim.request import Request


class PlainPool:
    """Forty obvious lines. A differential test demands the same story from ``DecodePool``, to the last float."""

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.steps = 0
        self.last_step_at = float("-inf")
        self.version = 0
        self._members: dict[Request, None] = {}

    @property
    def size(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._members)

    def __contains__(self, request: Request) -> bool:
        return request in self._members

    def consists_of(self, requests: Mapping[Request, object]) -> bool:
        return self._members.keys() == requests.keys()

    @property
    def context(self) -> int:
        return sum(request.kv_tokens + 1 for request in self._members)

    @property
    def blocks_needed(self) -> int:
        return sum(request.kv_tokens == request._blocks * self.block_size for request in self._members)

    def join(self, request: Request) -> None:
        self._members[request] = None
        self.version += 1

    def leave(self, request: Request) -> None:
        del self._members[request]
        self.version += 1

    def resize(self, request: Request, blocks: int) -> None:
        request._blocks = blocks

    def step(self, at: float, steps: int = 1) -> None:
        assert steps == 1
        self.steps += 1
        self.last_step_at = at
        for request in self._members:
            request._blocks = max(request._blocks, -(-(request._kv + 1) // self.block_size))
            request._kv += 1
            request._generated += 1
            request._last_token_at = at

    def finished(self) -> list[Request]:
        done = [request for request in self._members if request._generated == request._output_tokens]
        for request in done:
            self.leave(request)
        return done

    def steps_to_event(self) -> int:
        return 0  # never coasts
