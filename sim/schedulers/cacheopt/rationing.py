"""How CacheOPT shares the cache among requests that run: whose turn it is for the next block, and who gives way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

from sim.request import Request
from sim.schedulers.cacheopt.eviction import reluctance
from sim.schedulers.cacheopt.provision import Provision, by_deadline


class Rationing(Provision):
    """The part of a decision that concerns requests with cache on the device."""

    def run(self) -> None:
        """Decodes, then started prompts, then victims that return; what is left goes to those who were cut."""
        server, batch = self.server, self.batch
        if server.decoding_count:
            self._decode()
        for request in server.prefilling:
            if request not in batch.preempted:
                batch.prefill(request)
        if not batch.tokens and server.decoding_count:
            self._unlock()
        if server.swapped and not batch.preempted:
            self._swap_in()
        if self.policy.chunked_prefill or not self.server.waiting.size:
            self.top_up()

    # -- the next token ----------------------------------------------------------------------------------------------

    def _decode(self) -> None:
        server, batch = self.server, self.batch
        if self.policy.as_vllm:
            batch.decode_all(least_free=1, swap=self.policy.preemption == "swap")
            return
        need = server.pool.blocks_needed + sum(map(batch.growth, server.paused))
        if need <= batch.blocks_left and server.decoding_count <= batch.tokens_left:
            batch.decode_all()
        else:
            self._ration()

    def _ration(self) -> None:
        """Tokens or blocks are short: who needs no block goes on, and who needs one gets it by remaining time. Room is
        made for the critical; others sit out while there is none."""
        batch = self.batch
        decoding = list(self.server.decoding)
        if len(decoding) > batch.tokens_left:
            decoding.sort(key=by_deadline)
        growing = [request for request in decoding if batch.growth(request)]
        if growing:
            growing.sort(key=by_deadline)
            needy = [request for request in growing if self._critical(request)]
            self._make_room(needy)
            growing = needy + [request for request in growing if request not in set(needy)]
        last = set(growing)
        order = [request for request in decoding if request not in last] + growing
        order = [request for request in order if request not in batch.preempted]
        if not batch.decode_only(order):
            for request in order:
                batch.decode(request)

    def _critical(self, request: Request) -> bool:
        """Whether others are preempted for its next token: all are alike where that does not count."""
        deadlines = self.bound.deadlines
        return not self.policy.critical_first or deadlines.tight or deadlines.critical(request)

    def _unlock(self) -> None:
        """All sit out: whoever has least time is given room."""
        decoding = [request for request in self.server.decoding if request not in self.batch.preempted]
        if decoding:
            first = min(decoding, key=by_deadline)
            self._make_room([first])
            if first not in self.batch.preempted:
                self.batch.decode(first)

    # -- who gives way -------------------------------------------------------------------------------------------------

    def _make_room(self, needy: list[Request]) -> None:
        """Preempts until there is a block for each of those left; who gets its own back from a guest waits for it."""
        batch, hosts = self.batch, self.server.hosts
        victims = self._victims() if len(needy) > batch.blocks_left else iter(())
        while len(needy) > batch.blocks_left:
            victim = self._failed_guest(needy) or next(
                request
                for request in victims
                if request not in batch.preempted and (request in needy or batch.freed(request))
            )
            self.evict(victim)
            lender = hosts[victim][0] if victim in hosts else None
            needy = [request for request in needy if request not in batch.preempted and request is not lender]

    def _failed_guest(self, needy: Iterable[Request]) -> Request | None:
        """A guest that outlived what was assumed while its host needs the blocks ("may be preempted": stated)."""
        for guest, (host, _) in self.server.hosts.items():
            if host in needy and guest not in self.batch.preempted and self.bound.lengths.left(guest) <= 0:
                return guest
        return None

    def _victims(self) -> Iterator[Request]:
        """Running requests in the policy's order; the critical come last."""
        running, reluctance, critical = list(self.server.running_requests), self.reluctance, self._critical
        if self.bound.deadlines.tight or not self.policy.critical_first:  # all are alike
            return iter(sorted(running, key=reluctance))
        return iter(sorted(running, key=lambda request: (critical(request), reluctance(request))))

    @cached_property
    def reluctance(self) -> Callable[[Request], tuple[float, ...]]:
        """The key by which the victim is the least."""
        policy = self.policy
        if not policy.victim_order:
            return lambda request: (-request.id,)
        return partial(reluctance, self.bound.lengths.left, policy.tbt_bucket, policy.output_bucket)

    def force(self, missing: int) -> int:
        """Preempts decodes that are not critical for a newcomer that is, if that frees enough; returns the blocks."""
        batch, before, critical = self.batch, self.batch.blocks_left, self._critical
        spared = batch.preempted.keys() | set(batch.hosts.values())
        victims, freed = [], 0
        for request in sorted(self.server.decoding, key=self.reluctance):
            if freed >= missing:
                break
            if request not in spared and not critical(request) and (gain := batch.freed(request)) > 0:
                victims.append(request)
                freed += gain
        if freed < missing:
            self.unsure = True  # with the next token they may have time again, or more to give
            return 0
        for request in victims:
            self.evict(request)
        return batch.blocks_left - before

    def evict(self, request: Request) -> None:
        """Preempts by swapping or dropping, whichever takes less time for a context of its length."""
        self.batch.preempt(request, swap=request.kv_tokens >= self.bound.needs.sweet_spot)
        if "hosts" in self.__dict__:
            self.hosts = self.hosts.without(request)

    def _swap_in(self) -> None:
        """The oldest first, while a block more than each held stays above what is kept: as vLLM does (inferred)."""
        batch, running = self.batch, self.server.running_count
        for request in self.bound.turns.swapped:
            spare = batch.blocks_left - request.host_blocks - 1 - batch.watermark
            full = not self.fits(0, spare) or running >= self.policy.max_num_seqs
            if (running and full) or not batch.resume(request):
                break
            running += 1
