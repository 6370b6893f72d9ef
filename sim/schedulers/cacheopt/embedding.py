"""Living in what another request has allocated and not used (CacheOPT section 3.3.1)."""

from __future__ import annotations

from bisect import bisect_left

from sim.request import Request


def room_needed(blocks: int, block_size: int, output: int, buffer: int) -> int:
    """Tokens that a host must have allocated and not used: a_j - u_j >= s_i^o + (s_i^p + s_i^o) + b (stated).

    While the guest generates its ``output``, the host grows by as much; ``blocks`` is what the guest's prompt and
    output take (the rounding up to blocks is inferred).
    """
    return output + blocks * block_size + buffer


class Hosts:
    """Running requests by the cache that they have allocated and not used (a_j - u_j), in tokens."""

    def __init__(self, rooms: list[tuple[int, int, Request]], block_size: int, age: int = 0) -> None:
        self.rooms = rooms
        """What each had to spare (tokens), its id and itself, in ascending order."""
        self.block_size = block_size
        self.age = age
        """Steps since: each has so many tokens less by now."""

    def __bool__(self) -> bool:
        return bool(self.rooms)

    @property
    def largest(self) -> int:
        """The most that any has to spare, tokens."""
        return self.rooms[-1][0] - self.age if self.rooms else 0

    def find(self, room: int) -> Request | None:
        """The host with the smallest remaining allocation that suffices (stated); the oldest of equal ones."""
        at = bisect_left(self.rooms, (room + self.age,))
        return self.rooms[at][2] if at < len(self.rooms) else None

    def lending(self, host: Request, blocks: int) -> Hosts:
        """The same when so much of a host's allocation is another's."""
        rooms = [(room - blocks * self.block_size * (each is host), id, each) for room, id, each in self.rooms]
        return Hosts(sorted(rooms), self.block_size, self.age)

    def without(self, host: Request) -> Hosts:
        """The same when one is gone."""
        return Hosts([entry for entry in self.rooms if entry[2] is not host], self.block_size, self.age)
