"""Routers: which replica serves a request.

A router is a function of the request and of the replicas' present state, so that the same inputs give the same story.
Equals take turns by the request's number: where all replicas are alike, every router goes round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sim.errors import SchedulerError
from sim.request import Request
from sim.server import Server


class Router(Protocol):
    """Chooses a replica for a request when it arrives."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        """One of the servers, which must not be changed."""
        ...


@dataclass(frozen=True)
class RoundRobin:
    """Request k goes to replica k modulo their number."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return servers[request.id % len(servers)]


@dataclass(frozen=True)
class LeastLoaded:
    """The replica with the fewest requests, waiting, running or swapped."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return least(request, servers, lambda server: server.waiting.size + server.running_count + len(server.swapped))


@dataclass(frozen=True)
class ShortestQueue:
    """The replica with the least of 4 x waiting + running, as vLLM's data-parallel front end weighs them.

    vLLM's counts are up to 100 ms old; here they are those of the moment.
    """

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return least(
            request, servers, lambda server: 4 * (server.waiting.size + len(server.swapped)) + server.running_count
        )


def least(request: Request, servers: Sequence[Server], load: Callable[[Server], float]) -> Server:
    """The server with the least load; of equals the next one from the request's turn on."""
    first = request.id % len(servers)
    return min((*servers[first:], *servers[:first]), key=load)


def routed(router: Router, request: Request, servers: Sequence[Server]) -> int:
    """The number of the chosen server; raises SchedulerError if the router fails or answers with something else."""
    try:
        chosen = router.route(request, servers)
    except Exception as error:
        why = f"failed at request {request.id}: {type(error).__name__}: {error}"
        raise SchedulerError(f"router {router!r} {why}") from error
    if not any(chosen is server for server in servers):
        raise SchedulerError(
            f"router {router!r} answered request {request.id} with {chosen!r}: route must return one of the servers"
        )
    return chosen.number
