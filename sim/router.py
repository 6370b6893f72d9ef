"""Routers: which replica serves a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sim.request import Request
from sim.server import Server


class Router(Protocol):
    """Chooses a replica for a request when it arrives."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server: ...


@dataclass(frozen=True)
class RoundRobin:
    """Request k goes to replica k modulo their number."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return servers[request.id % len(servers)]


@dataclass(frozen=True)
class LeastLoaded:
    """The replica with the fewest requests, the first of equals."""

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return min(servers, key=lambda server: len(server.waiting) + server.running_count + len(server.swapped))
