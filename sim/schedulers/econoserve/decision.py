"""One decision of EconoServe: who goes on generating, who starts to and in whose cache, and which prompts fill up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sim.batch import Batch
from sim.request import Request

if TYPE_CHECKING:
    from sim.schedulers.econoserve.queues import TwoQueues

UNLIMITED = 1 << 62


class Moves(NamedTuple):
    """Which generations leave the queue, and which join it."""

    started: dict[Request, Request | None]
    """With the host whose cache they live in, if any."""
    stopped: list[Request]


class Decision:
    """A batch in the making."""

    def __init__(self, bound: TwoQueues) -> None:
        self.bound = bound
        self.policy = bound.policy
        self.server = bound.server
        self.batch = self.server.new_batch(UNLIMITED)
        self.moves = self.batch.memo = Moves({}, [])
        self.left = 0
        """Free blocks once those who go on have their tokens; less than none where some must stop."""
        self.owed = 0
        """Blocks that the first generation lacks that could not start."""

    def go_on(self) -> bool:
        """The batch in which all who generated do again; returns whether the cache has room for that."""
        if not self.bound.queued:
            fits = self.server.pool.blocks_needed <= self.batch.blocks_left
            return fits and self.batch.decode_all() > 0
        return self.batch.decode_only(self.server.pool) > 0

    def decide(self) -> Batch:
        """Generations first, then prompts up to the forward size."""
        going = self._going()
        self._start(going)
        self._generate(going)
        self._prompts()
        stuck = [*self.bound.queued, *self.moves.stopped]
        if stuck and not self.batch.tokens:
            self._force(stuck)
        return self.batch

    # -- generations --------------------------------------------------------------------------------------------------

    def _going(self) -> dict[Request, None]:
        """Those who go on; where the cache is short, the newest of those that need a block stop, their cache kept."""
        queued, batch = self.bound.queued, self.batch
        going = dict.fromkeys(request for request in self.server.pool if request not in queued)
        self.left = batch.blocks_left - self.server.growth(going)
        if self.left < 0:
            short = sorted((request for request in going if batch.growth(request)), key=lambda request: -request.id)
            for request in short[: -self.left]:
                del going[request]
                self.moves.stopped.append(request)
        return going

    def _start(self, going: dict[Request, None]) -> None:
        """Those who wait, in line, until one does not fit; of the others those who can live with a host."""
        line = self.bound.line() if self.bound.queued else []
        for place, request in enumerate(line):
            lack = self.bound.lack(request)
            if lack > max(0, self.left - self.bound.kept):
                waiting = line[place:]
                if self.policy.pipelining:
                    self._lodge(waiting, going)
                behind = (request for request in waiting if request not in self.moves.started)
                self.owed = next((self.bound.lack(request) for request in behind), 0)
                return
            self.left -= lack
            self.moves.started[request] = None

    def _lodge(self, waiting: list[Request], going: dict[Request, None]) -> None:
        """Finds hosts: while a guest generates its length, the host grows by as much, and both must fit.

        Who lacks nothing, as a host whose guest has left, needs none. A guest whose own blocks are full takes a free
        one for its next token.
        """
        size, guests = self.server.block_size, self.server.hosts
        rooms = {
            host: room
            for host in going
            if (room := host.blocks * size - host.known_tokens) > self.policy.buffer
            and (self.policy.nested or host not in guests)
        }
        for request in waiting:
            lack, growth = self.bound.lack(request), self.batch.growth(request)
            lent = lack - growth
            if not lack:
                self.moves.started[request] = None
                continue
            room = lent * size + self.bound.steps(request) + self.policy.buffer
            able = [(space, host.id, host) for host, space in rooms.items() if space >= room]
            if able and lent > 0 and growth <= self.left and request not in guests:
                host = min(able)[2]
                rooms[host] -= lent * size
                self.left -= growth
                self.moves.started[request] = host

    def _generate(self, going: dict[Request, None]) -> None:
        """Tokens for all of them, and cache for those who start."""
        batch, started = self.batch, self.moves.started
        chosen = going | dict.fromkeys(started)
        if not (self.bound.queued or self.moves.stopped):
            batch.decode_all()
        elif chosen:
            batch.decode_only(chosen)
        for request, host in started.items():
            batch.extend(request, self.bound.lack(request) - batch.growth(request), host)

    def _force(self, stuck: list[Request]) -> None:
        """Nobody can go on: the oldest does with what there is, and the newest drop their cache until it can."""
        batch, (oldest, *others) = self.batch, sorted(stuck, key=lambda request: request.id)
        while batch.growth(oldest) > batch.blocks_left:
            batch.preempt(others.pop() if others else oldest)
            if oldest in batch.preempted:
                return
        batch.decode_only([oldest])
        batch.extend(oldest, self.bound.lack(oldest) - batch.growth(oldest))
        self.moves.started[oldest] = None
        self.moves.stopped[:] = [request for request in self.moves.stopped if request is not oldest]

    # -- prompts ------------------------------------------------------------------------------------------------------

    def _prompts(self) -> None:
        """Prompts that were cut go on; then new ones in line, until one does not fit."""
        batch, size = self.batch, self.bound.forward_size
        if self.policy.chunking:
            batch.tokens_left = max(0, size - batch.tokens)
        for request in self.server.prefilling:
            batch.prefill(request)
        batch.watermark = self.bound.kept + (self.owed if self.policy.prompts_wait else 0)
        for request in self.server.waiting if self.server.waiting.size else ():
            if batch.tokens >= size or not self._admit(request):
                break

    def _admit(self, request: Request) -> int:
        """Starts a prompt with cache for all of it; coupled, also for its generation."""
        batch, known = self.batch, request.known_tokens
        if not (self.server.running_count or batch.admitted):
            batch.watermark = 0
        tokens = min(known, batch.tokens_left)
        whole = known if self.policy.decoupled else self.bound.tokens(request)
        granted = batch.admit(request, tokens, reserve=whole - tokens) if tokens else 0
        batch.watermark = max(batch.watermark, self.bound.kept)
        return granted
