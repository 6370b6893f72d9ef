"""A scheduler's decision for one iteration, made with verbs that cannot overdraw token budget or KV blocks."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from sim.errors import SchedulerError
from sim.ledger import Ledger
from sim.request import Phase, Request
from sim.room import decode_in_turn, make_room


class Batch(Ledger):
    """Who computes how many tokens next. A decision changes nothing until the engine applies it.

    Every verb returns what was granted, and none can overdraw ``tokens_left`` or ``blocks_left``.
    """

    __slots__ = ()

    # -- decodes ------------------------------------------------------------------------------------------------

    def decode_all(self, least_free: int = 0, swap: bool = False) -> int:
        """Gives every decoding request its token; returns how many got one.

        If memory is short, the newest running request is preempted (``swap`` or recompute) until the rest fits.
        ``least_free`` is 1 for engines that ask for a free block per decode, needed or not (vLLM V0, Sarathi-Serve).
        """
        if self.everyone:
            raise SchedulerError("decode_all was called before: every decoding request has its token")
        server = self.server
        number = server.pool.size + len(server.paused)
        need = server.pool.blocks_needed
        if server.paused:
            need += sum(map(self.growth, server.paused))
        if number > self.tokens_left or self.decodes or self.preempted:
            return decode_in_turn(self, least_free, swap)
        if need + least_free > self.blocks_left:
            number, need = make_room(self, number, need, least_free, swap)
        self.everyone = True
        self.least_free = least_free
        self.tokens += number
        self.tokens_left -= number
        self.blocks_left -= need
        return number

    def decode(self, request: Request) -> int:
        """Gives one decoding request its token: 1, or 0 if budget or memory is short."""
        need = self.growth(request)
        if self.everyone or request in self.decodes or request.phase is not Phase.DECODING or request in self.preempted:
            raise SchedulerError(f"{request!r} cannot decode: it does not run, or has its token already")
        if self.tokens_left < 1 or need > self.blocks_left:
            return 0
        self.decodes[request] = None
        self._take(1, need)
        return 1

    def decode_only(self, requests: Iterable[Request], least_free: int = 0) -> int:
        """Gives these decoding requests their tokens, all or none, and no others; returns how many.

        ``least_free``: blocks that must stay free, here and while the engine repeats the batch.
        """
        chosen = dict.fromkeys(requests)
        if self.everyone or self.decodes:
            raise SchedulerError("decode_only comes after other decodes: choose once")
        for request in chosen:
            if request.phase is not Phase.DECODING or request in self.preempted:
                raise SchedulerError(f"{request!r} cannot decode: it does not run")
        need = self.server.growth(chosen)
        if len(chosen) > self.tokens_left or need + least_free > self.blocks_left:
            return 0
        self.decodes = chosen
        self.least_free = least_free
        self._take(len(chosen), need)
        return len(chosen)

    def pause(self, request: Request) -> int:
        """Takes a granted decode back: it keeps its cache and waits an iteration. Returns 1, or 0 if it had none."""
        if request in self.decodes:
            del self.decodes[request]
        elif self.everyone and request.phase is Phase.DECODING and request not in self.paused:
            self.paused[request] = None
        else:
            return 0
        self._take(-1, -self.growth(request))
        return 1

    # -- prompts ------------------------------------------------------------------------------------------------

    def prefill(self, request: Request, tokens: int | None = None) -> int:
        """Gives a started prompt its next chunk: as much as budget and memory allow, at most ``tokens``."""
        if request in self.prefills or request.phase is not Phase.PREFILLING:
            raise SchedulerError(f"{request!r} cannot prefill: it is not prefilling, or has its chunk already")
        if request in self.preempted:
            return 0
        size, held = self.server.block_size, request.blocks
        fitting = (held + self.blocks_left) * size - request.kv_tokens
        granted = min(request.prefill_left, self.tokens_left, fitting)
        granted = max(0, granted if tokens is None else min(granted, tokens))
        if granted:
            self.prefills[request] = granted
            self._take(granted, self.shortage(request, granted))
        return granted

    def admit(self, request: Request, tokens: int | None = None, reserve: int = 0, host: Request | None = None) -> int:
        """Starts a waiting request with a chunk of its prompt; returns the tokens granted, 0 if it must wait.

        ``reserve``: tokens beyond the chunk whose blocks it takes at once. Without ``tokens`` the chunk is cut to
        what budget and memory allow; with it, it is all (up to the rest of the prompt and the budget) or nothing.
        ``host``: its blocks are lent by that running request, of those it has to ``spare``, instead of the free ones.
        """
        dropped = self.preempted.get(request)
        if (
            request in self.admitted
            or request in self.rejected
            or (request.phase is not Phase.WAITING and dropped is not False)
        ):
            raise SchedulerError(f"{request!r} cannot be admitted: it does not wait, or is decided on already")
        size = self.server.block_size
        room = self.blocks_left - self.watermark if host is None else self.spare(host)
        left = request.prefill_left if dropped is None else request.known_tokens
        granted = min(left, self.tokens_left)
        granted = min(granted, room * size - reserve) if tokens is None else min(granted, tokens)
        blocks = -(-(granted + reserve) // size)
        if granted <= 0 or blocks > room:
            return 0
        self.admitted[request] = blocks
        self.prefills[request] = granted
        if host is None:
            self._take(granted, blocks)
        else:
            self.hosts[request] = host
            self._take(granted, 0)
        return granted

    # -- memory -------------------------------------------------------------------------------------------------

    def preempt(self, request: Request, swap: bool = False) -> int:
        """Sends a running request back, its cache dropped or (``swap``) moved to the host; returns the blocks freed."""
        if request in self.preempted or request.phase not in (Phase.DECODING, Phase.PREFILLING):
            raise SchedulerError(f"{request!r} cannot be preempted: it does not run")
        if request in self.prefills:
            granted = self.prefills.pop(request)
            self._take(-granted, -self.shortage(request, granted))
        ahead = self.extended.pop(request, 0)
        if ahead and self.hosts.pop(request, None) is None:
            self._take(0, -ahead)
        self.pause(request)
        self.paused.pop(request, None)
        if request in self.hosts.values():
            raise SchedulerError(f"{request!r} cannot be preempted: it lends blocks to a newcomer of this batch")
        freed = self.freed(request) if self.server.hosts else request.blocks
        self.preempted[request] = swap
        self.blocks_left += freed
        return freed

    def resume(self, request: Request, run: bool = True) -> int:
        """Swaps a request back in, to decode at once if ``run``; returns the blocks it takes, 0 if it must wait."""
        if request.phase is not Phase.SWAPPED or request in self.resumed:
            raise SchedulerError(f"{request!r} cannot be resumed: it is not swapped out")
        run = run and request.mid_decode
        need = request.host_blocks + int(run and request.kv_tokens == request.host_blocks * self.server.block_size)
        if need > self.blocks_left or run > self.tokens_left:
            return 0
        self.resumed[request] = run
        self._take(int(run), need)
        return need

    def extend(self, request: Request, blocks: int, host: Request | None = None) -> int:
        """A running request takes up to ``blocks`` blocks beyond what it fills; returns how many. After its tokens.

        ``host``: they are lent by that other running request, of those it has to ``spare``. One host for each guest.
        """
        if request.phase not in (Phase.DECODING, Phase.PREFILLING) or request in self.preempted:
            raise SchedulerError(f"{request!r} cannot take blocks ahead: it does not run")
        if host is not None and (request is host or request in self.server.hosts or request in self.extended):
            raise SchedulerError(f"{host!r} cannot lend to {request!r}: that has a host, or took blocks ahead")
        granted = max(0, min(blocks, self.blocks_left if host is None else self.spare(host)))
        if granted:
            self.extended[request] = self.extended.get(request, 0) + granted
            if host is None:
                self._take(0, granted)
            else:
                self.hosts[request] = host
        return granted

    def reject(self, request: Request, why: str) -> None:
        """Gives a waiting request up for good; the result reports it with ``why``."""
        if request.phase is not Phase.WAITING or request in self.admitted:
            raise SchedulerError(f"{request!r} cannot be rejected: it does not wait, or was admitted")
        self.rejected[request] = why

    def hold(self, head_of_line: bool = False, until: float = inf, room: float = inf) -> None:
        """Promises that, if this batch only decodes, the next decisions are the same until something arrives, memory
        runs short, or a request finishes while others wait. The engine then need not ask; ``check_scheduler`` tests it.

        ``head_of_line``: the first waiting request blocks all others, so arrivals behind it change nothing either.
        ``room``: while others wait, nor do arrivals whose prompt has more than so many tokens.
        ``until``: the promise is for decisions before that time (seconds) only.
        """
        self.holds = True
        self.until = until
        self.room = 0 if head_of_line else room
