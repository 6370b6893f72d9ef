"""One replica, as a scheduler sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.history import History
from sim.machine import Machine
from sim.plain import PlainPool
from sim.pool import DecodePool
from sim.queues import ArrivalQueue, PriorityQueue, WaitingQueue
from sim.recorder import Recorder
from sim.request import Request

if TYPE_CHECKING:
    from sim.scheduler import Scheduler


class Server:
    """One replica of the model: its clock, cache and requests. Schedulers read it and must not change it."""

    def __init__(self, number: int, scheduler: Scheduler, machine: Machine, plain: bool = False) -> None:
        self.number = number
        self.machine = machine
        self.cost_model = machine.cost_model
        self.total_blocks = machine.kv_blocks
        self.block_size = block_size = machine.block_size
        self.now = 0.0
        self.free_blocks = machine.kv_blocks
        self.kv_tokens = 0
        """Tokens in the device's cache."""
        self.decode_line: Any = getattr(machine.cost_model, "decode_line", None)
        """Iteration time of n decodes as (fixed, slope) in their context, where the cost model offers it."""
        self.history = History()
        self.pool: DecodePool | PlainPool = PlainPool(block_size) if plain else DecodePool(block_size)
        self.paused: dict[Request, None] = {}
        self.prefilling: dict[Request, None] = {}
        self.running_count = 0
        """Requests with cache on the device."""
        self.swapped: dict[Request, None] = {}
        self.hosts: dict[Request, tuple[Request, int]] = {}
        """Requests that live in blocks which another one has allocated but not used: that one, and how many blocks."""
        self.late_blocks: deque[tuple[int, int]] = deque()
        """Blocks of finished requests that are not free yet: after how many started batches, and how many."""
        self.recorder = Recorder()
        self.decodes_now = 0
        """Decodes of the iteration that runs."""
        self.arrived = 0
        """Requests that came since the last decision."""
        self.shortest = inf
        """The shortest of their prompts, tokens."""
        self.batches = 0
        """Batches started."""
        self.copied_tokens = 0
        """Tokens' worth of blocks copied by batches that computed nothing: the next one that computes pays for them."""
        self.policy = scheduler
        """The policy as it was asked for; ``scheduler`` is what its ``bind`` made for this server."""
        self.scheduler = bound(scheduler, self)
        self.release_delay = self.scheduler.release_delay
        self.waiting: WaitingQueue = self._new_queue()
        self._epoch = self.scheduler.epoch(self)

    def _new_queue(self) -> WaitingQueue:
        if self.scheduler.first_come_first_served:
            return ArrivalQueue()
        return PriorityQueue(self.scheduler.priority, self.scheduler.deadline)

    def new_batch(self, token_budget: int, watermark: int = 0) -> Batch:
        """An empty batch of at most ``token_budget`` tokens; its admissions leave ``watermark`` blocks free."""
        return Batch(self, token_budget, watermark)

    @property
    def decoding(self) -> Iterator[Request]:
        """Requests that decode, in the order in which they began to; those that sat out the last iteration last."""
        return chain(self.pool, self.paused)

    @property
    def decoding_count(self) -> int:
        """How many requests decode."""
        return self.pool.size + len(self.paused)

    @property
    def running(self) -> list[Request]:
        """All requests with cache on the device, in order of arrival."""
        return sorted(self.running_requests, key=lambda request: request.id)

    @property
    def running_requests(self) -> Iterator[Request]:
        """All requests with cache on the device, in no particular order."""
        return chain(self.pool, self.paused, self.prefilling)

    @property
    def idle(self) -> bool:
        """Whether no request is here."""
        return not (self.running_count or self.waiting.size or self.swapped)

    @property
    def first_unfinished(self) -> Request | None:
        """The oldest request that is here."""
        return next(iter(self.everyone()), None)

    def everyone(self) -> list[Request]:
        """All requests that are here, by arrival."""
        return sorted(chain(self.running, self.swapped, self.waiting), key=lambda request: request.id)

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold ``tokens`` tokens."""
        return -(-tokens // self.block_size)

    def growth(self, requests: Mapping[Request, object]) -> int:
        """Blocks that the next tokens of these take, all of which decode."""
        pool, size = self.pool, self.block_size
        need = pool.blocks_needed
        if not pool.consists_of(requests):
            need -= sum(r.kv_tokens == r.blocks * size for r in pool if r not in requests)
            need += sum(r.kv_tokens == r.blocks * size for r in requests.keys() & self.paused.keys())
        return need

    @property
    def crowded(self) -> bool:
        """Whether somebody could use what a finished request frees."""
        return bool(self.waiting.size or self.swapped or self.prefilling or self.paused)


def bound(scheduler: Scheduler, server: Server) -> Scheduler:
    """What ``bind`` returns; raises SchedulerError if that is no policy."""
    found: Any = scheduler.bind(server)
    if not callable(getattr(found, "schedule", None)):
        raise SchedulerError(f"bind of {scheduler!r} returned {found!r}: return a policy, such as self")
    return found  # type: ignore[no-any-return]
