"""A decision counted anew, from whom it names rather than from its own ledger: what it overdraws or mistakes."""

from __future__ import annotations

from collections.abc import Iterator

from sim.batch import Batch
from sim.request import Phase
from sim.server import Server


def recount(batch: Batch, server: Server) -> Iterator[str]:
    """What is wrong with a decision, a sentence each."""
    verbs = "Decide with the verbs of the batch, and leave its tables alone"
    if stranger := _stranger(batch, server):
        yield f"{stranger}. {verbs}"
    chosen = [r for r in server.decoding if r not in batch.preempted] if batch.everyone else list(batch.decodes)
    decodes = [request for request in chosen if request not in batch.paused]
    running = sum(batch.resumed.values())
    tokens = sum(batch.prefills.values()) + len(decodes) + running
    if tokens > batch.tokens:
        yield f"over budget: the batch has {tokens} tokens, {tokens - batch.tokens} more than it was granted. {verbs}"
    blocks = sum(taken for request, taken in batch.admitted.items() if request not in batch.hosts)
    blocks += sum(taken for request, taken in batch.extended.items() if request not in batch.hosts)
    blocks += sum(batch.growth(request) for request in decodes)
    blocks += sum(batch.shortage(request, n) for request, n in batch.prefills.items() if request not in batch.admitted)
    blocks += sum(request.host_blocks for request in batch.resumed)
    free = server.free_blocks + sum(request.blocks for request in batch.preempted)
    if blocks > free:
        yield f"over the cache: the batch takes {blocks} blocks, {free} are free. {verbs}"


def _stranger(batch: Batch, server: Server) -> str:
    """Somebody whom the batch treats as what he is not, in words."""
    size = server.block_size
    for request, tokens in batch.prefills.items():
        started = request.phase is Phase.PREFILLING and request not in batch.preempted
        if not (started or request in batch.admitted):
            return f"{request!r} computes a prompt without having been admitted"
        if not 0 < tokens <= (request.prefill_left if started else request.known_tokens):
            return f"over budget: {request!r} computes {tokens} tokens of a prompt that has fewer left"
        if request in batch.admitted and tokens > batch.admitted[request] * size:
            return f"over the cache: {request!r} computes {tokens} tokens with {batch.admitted[request]} blocks"
    for request in batch.admitted:
        if request.phase is not Phase.WAITING and request not in batch.preempted:
            return f"{request!r} is admitted but does not wait"
    for request in batch.rejected:
        if request in batch.admitted or request.phase is not Phase.WAITING:
            return f"{request!r} is rejected but does not wait"
    for request in batch.decodes:
        if request.phase is not Phase.DECODING or request in batch.preempted:
            return f"{request!r} decodes although it is preempted or not there yet"
    return ""
