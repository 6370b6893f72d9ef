"""A request, as a scheduler may see it."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from traces.types import SLO


class Phase(Enum):
    """Where a request is in its life."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    SWAPPED = "swapped"
    FINISHED = "finished"
    REJECTED = "rejected"


class StepCounter(Protocol):
    """What a request counts its tokens from: a decode pool while it decodes, ``STILL`` otherwise."""

    steps: int
    block_size: int
    last_step_at: float


class Still:
    """The counter of a request that no pool carries."""

    steps = 0
    block_size = 1
    last_step_at = float("-inf")


STILL = Still()


class Request:
    """One request and its progress. Its true output length is not public: policies know what a predictor told.

    While it decodes, ``kv_tokens`` and ``generated`` are derived from its pool's step counter, so that an
    iteration need not touch it.
    """

    __slots__ = (
        "_blocks",
        "_counter",
        "_first_step",
        "_generated",
        "_key",
        "_kv",
        "_last_token_at",
        "_output_tokens",
        "_prefill_iteration",
        "admitted_at",
        "application",
        "arrived_at",
        "first_token_at",
        "host_blocks",
        "id",
        "phase",
        "predicted_output",
        "preemptions",
        "prompt_tokens",
        "recomputed_tokens",
        "slo",
        "swaps",
    )

    def __init__(
        self,
        id: int,
        arrived_at: float,
        prompt_tokens: int,
        output_tokens: int,
        slo: SLO = SLO(),
        application: str = "",
        predicted_output: float | None = None,
    ) -> None:
        self.id = id
        self.arrived_at = arrived_at
        self.prompt_tokens = prompt_tokens
        self.slo = slo
        self.application = application
        self.predicted_output = predicted_output
        self.phase = Phase.WAITING
        self.admitted_at: float | None = None
        self.first_token_at: float | None = None
        self.preemptions = 0
        self.swaps = 0
        self.recomputed_tokens = 0
        self.host_blocks = 0
        self._output_tokens = output_tokens
        self._counter: StepCounter = STILL
        self._kv = 0
        self._generated = 0
        self._blocks = 0
        self._key: Any = id
        self._last_token_at = arrived_at
        self._prefill_iteration = -1
        self._first_step = 0

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values are in the cache (device or host)."""
        return self._kv + self._counter.steps

    @property
    def generated(self) -> int:
        """Output tokens so far."""
        return self._generated + self._counter.steps

    @property
    def known_tokens(self) -> int:
        """Prompt and generated tokens: what a prefill has to compute, also after a preemption."""
        return self.prompt_tokens + self._generated + self._counter.steps

    @property
    def prefill_left(self) -> int:
        """Tokens still to compute before the next output token (1 while decoding)."""
        return self.prompt_tokens + self._generated - self._kv

    @property
    def mid_decode(self) -> bool:
        """Whether its next token yields an output token after another (it decodes, or would if it ran)."""
        return self._generated + self._counter.steps > 0 and self.prefill_left == 1

    @property
    def prefilled(self) -> int:
        """Prompt tokens that are in the cache."""
        return min(self.kv_tokens, self.prompt_tokens)

    @property
    def blocks(self) -> int:
        """KV blocks held on the device."""
        if self._counter is STILL:
            return self._blocks
        return max(self._blocks, -(-self.kv_tokens // self._counter.block_size))

    @property
    def last_token_at(self) -> float:
        """When the latest output token came; the arrival before the first. Seconds."""
        return max(self._last_token_at, self._counter.last_step_at)

    def __repr__(self) -> str:
        return (
            f"Request({self.id}, {self.phase.value}, prompt={self.prompt_tokens}, generated={self.generated}, "
            f"kv={self.kv_tokens}, blocks={self.blocks})"
        )
