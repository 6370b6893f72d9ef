"""CacheOPT on one server: what it remembers, and decisions that need not be made anew."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sim.batch import Batch
from sim.request import Phase, Request
from sim.scheduler import Scheduler
from sim.schedulers.cacheopt.allocation import Allocation
from sim.schedulers.cacheopt.deadlines import Deadlines
from sim.schedulers.cacheopt.embedding import Hosts
from sim.schedulers.cacheopt.lengths import Lengths
from sim.schedulers.cacheopt.needs import Needs
from sim.schedulers.cacheopt.quiet import Quiet
from sim.schedulers.cacheopt.turns import Turns
from sim.server import Server

if TYPE_CHECKING:
    from sim.schedulers.cacheopt.policy import CacheOpt


class Allocator(Scheduler):
    """The policy for one server."""

    def __init__(self, policy: CacheOpt, server: Server) -> None:
        self.policy = policy
        self.server = server
        self.lengths = Lengths(policy, server.history)
        self.needs = Needs(policy, server, self.lengths)
        self.deadlines = Deadlines(policy, server)
        self.turns = Turns(server, policy.overtakes)
        self.cut: dict[Request, int] = {}
        """Requests that were given less than they are assumed to need, and how many blocks that is."""
        self.latest: deque[Request] = deque(maxlen=16)
        """Arrivals."""
        self._hosts: tuple[tuple[int, int], int, Hosts] = ((-1, -1), 0, Hosts([], 1))
        self._moves = 0
        """Batches that moved somebody, or took blocks ahead."""
        self._quiet: Quiet | None = None

    def __repr__(self) -> str:
        return repr(self.policy)

    def schedule(self, server: Server) -> Batch:
        quiet = self._quiet.still(self) if self._quiet else None
        if quiet:
            batch = server.new_batch(1 << 62)
            batch.decode_all(quiet.least_free)
        else:
            allocation = Allocation(self)
            batch = allocation.decide()
            quiet = None if allocation.unsure else Quiet.after(self, batch)
        self._quiet = quiet
        if quiet:
            batch.hold(until=quiet.until, room=quiet.room(self))
        return batch

    def hosts(self) -> Hosts:
        """Running requests that may take a guest: no guests themselves, and given all that they are assumed to need.

        Kept while nobody comes or goes: with every step each of them has a token less to spare.
        """
        server, steps = self.server, self.server.pool.steps
        key = (server.pool.version, self._moves)
        if key != self._hosts[0] or server.paused or server.prefilling:
            guests, cut, size = server.hosts, self.cut, server.block_size
            running = [each for each in server.running_requests if each not in guests and each not in cut]
            rooms = [(each.blocks * size - each.known_tokens, each.id, each) for each in running]
            self._hosts = key, steps, Hosts(sorted(rooms), size)
        _, since, hosts = self._hosts
        return Hosts(hosts.rooms, hosts.block_size, steps - since)

    # -- what is told --------------------------------------------------------------------------------------------------

    def arrived(self, request: Request) -> None:
        self.lengths.arrived(request)
        self.latest.append(request)
        self._wait(request)

    def ended(self, server: Server, batch: Batch) -> None:
        if not batch.changes:
            return
        self._moves += 1
        self.turns.ended(batch)
        for request, blocks in batch.admitted.items():
            self.lengths.started(request)
            target = self.needs.of(request).blocks
            self._wait_no_more(request)
            if blocks < target:
                self.cut[request] = target
            else:
                self.cut.pop(request, None)
        for request in batch.rejected:
            self.lengths.rejected(request)
            self._wait_no_more(request)
        for request in batch.preempted:
            if request.phase is Phase.WAITING:
                self._wait(request)
        for request in batch.extended:
            if request.blocks >= self.cut.get(request, 0):
                self.cut.pop(request, None)
        if len(self.cut) > 2 * server.running_count + 16:
            gone = (Phase.FINISHED, Phase.WAITING)
            self.cut = {request: blocks for request, blocks in self.cut.items() if request.phase not in gone}

    def _wait(self, request: Request) -> None:
        if self.policy.critical_first:
            self.deadlines.add(request)

    def _wait_no_more(self, request: Request) -> None:
        self.deadlines.remove(request)
        self.needs.forget(request)

    def catch_up(self) -> Allocator:
        """Takes in who is there already, for a server whose past nobody told it."""
        for request in self.server.waiting:
            self.arrived(request)
        return self
