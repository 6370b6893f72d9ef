"""What a batch has granted so far, and what that leaves of token budget and KV blocks."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Any

from sim.request import Phase, Request

if TYPE_CHECKING:
    from sim.server import Server


class Ledger:
    """The tables of a decision and the questions that can be asked about it; ``Batch`` adds the verbs."""

    __slots__ = (
        "admitted",
        "blocks_left",
        "decodes",
        "everyone",
        "extended",
        "holds",
        "hosts",
        "least_free",
        "memo",
        "paused",
        "preempted",
        "prefills",
        "rejected",
        "resumed",
        "room",
        "server",
        "tokens",
        "tokens_left",
        "until",
        "watermark",
    )

    def __init__(self, server: Server, token_budget: int, watermark: int = 0) -> None:
        self.server = server
        self.tokens_left = token_budget
        self.blocks_left = server.free_blocks
        self.watermark = watermark
        """Blocks that admissions leave free."""
        self.tokens = 0
        """Forward size so far."""
        self.everyone = False
        """Whether all decoding requests run, but for ``paused``."""
        self.least_free = 0
        self.holds = False
        self.until = inf
        """When a promise to hold ends, seconds."""
        self.room: float = inf
        """Newcomers longer than this (tokens) do not end a promise to hold, if others wait before them."""
        self.prefills: dict[Request, int] = {}
        """Prompt chunks, in tokens."""
        self.admitted: dict[Request, int] = {}
        """Newcomers and the blocks that they take."""
        self.decodes: dict[Request, None] = {}
        """Decoding requests chosen one by one."""
        self.paused: dict[Request, None] = {}
        self.preempted: dict[Request, bool] = {}
        """Victims, and whether they are swapped out."""
        self.resumed: dict[Request, bool] = {}
        """Requests swapped in, and whether they decode at once."""
        self.rejected: dict[Request, str] = {}
        self.extended: dict[Request, int] = {}
        """Blocks that running requests take beyond what they fill."""
        self.hosts: dict[Request, Request] = {}
        """Newcomers, and running requests that take blocks ahead, whose blocks another request lends them."""
        self.memo: Any = None
        """The policy's own note, for its ``ended``."""

    def growth(self, request: Request) -> int:
        """Blocks that the next decode step of ``request`` takes: 0 or 1."""
        return int(request.kv_tokens == request.blocks * self.server.block_size)

    def shortage(self, request: Request, tokens: int) -> int:
        """Blocks that ``request`` needs beyond those it holds to compute ``tokens`` more."""
        return max(0, -(-(request.kv_tokens + tokens) // self.server.block_size) - request.blocks)

    def waiting(self) -> Iterator[Request]:
        """Requests to admit, in queue order: the server's, less those decided on."""
        for request in self.server.waiting:
            if request not in self.admitted and request not in self.rejected:
                yield request

    def asked(self, request: Request) -> int:
        """Free blocks without which a newcomer would not have been admitted; -1 for who is no newcomer."""
        if request not in self.admitted:
            return -1
        return 0 if request in self.hosts else self.admitted[request] + self.watermark

    def spare(self, request: Request) -> int:
        """Blocks that a running request will hold beyond what its tokens fill after this batch."""
        if request.phase not in (Phase.DECODING, Phase.PREFILLING) or request in self.preempted:
            return 0
        tokens = request.kv_tokens + (self.prefills.get(request, 0) if request.phase is Phase.PREFILLING else 1)
        guests = (guest for guest, host in self.hosts.items() if host is request)
        lent = sum(self.admitted.get(guest) or self.extended[guest] for guest in guests)
        return max(0, request.blocks - self.server.blocks_for(tokens)) - lent

    def freed(self, request: Request) -> int:
        """Blocks that are free once a running request is preempted: a guest's go back to its host."""
        blocks, lends = request.blocks, self.server.hosts
        for guest, (host, lent) in lends.items():
            if host is request and guest in self.preempted:
                blocks += min(lent, guest.blocks)
        lender, lent = lends.get(request, (None, 0))
        if lender and lender.phase in (Phase.DECODING, Phase.PREFILLING) and lender not in self.preempted:
            blocks -= min(lent, blocks)
        return blocks

    @property
    def changes(self) -> bool:
        """Whether it moves requests, apart from computing tokens."""
        return bool(self.preempted or self.resumed or self.rejected or self.admitted or self.extended)

    @property
    def steady(self) -> bool:
        """Whether it may be repeated without asking: it holds, only decodes go on, and those who
        sit out are the same as before."""
        if not self.holds or self.prefills or self.changes:
            return False
        if not self.everyone:
            return self.server.pool.consists_of(self.decodes)
        resting = self.server.paused
        return not (self.paused or resting) or self.paused.keys() == resting.keys()

    def _take(self, tokens: int, blocks: int) -> None:
        self.tokens += tokens
        self.tokens_left -= tokens
        self.blocks_left -= blocks
