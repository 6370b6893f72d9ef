"""DeepSpeed-FastGen's rules restated naively: one buffer, one queue, and markers in it that free blocks when chosen.

Written from the stated algorithm alone; nothing of the simulator is used. ``flush`` says when the client's marker for a
finished request comes into the queue: "pipeline" before the next generate(), "early" at once, "immediate" none needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tests.sim.restated import A, B, C, Known, Step


class Crash(Exception):
    """The real code stops here."""


class Livelock(Exception):
    """The real code never stops here."""


@dataclass(eq=False)
class Entry:
    """A request and the tokens to put in next; or a marker, without tokens: its blocks are to be freed."""

    request: Known
    tokens: int


@dataclass
class Settings:
    """Of RaggedBatchBase and its engine."""

    total: int
    size: int
    budget: int = 768
    sequences: int = 512
    tracked: int = 2048
    length: int = 1 << 60
    flush: str = "pipeline"


class Pipeline:
    """generate() once per step, as in ragged_batching.py."""

    def __init__(self, settings: Settings, rows: Iterable[tuple[float, int, int]]) -> None:
        self.settings = settings
        self.coming = deque(Known(number, *row) for number, row in enumerate(rows))
        self.free = settings.total
        self.clock = 0.0
        self.queue: list[Entry] = []
        self.buffer: deque[Entry] = deque()
        self.chosen: list[Entry] = []
        self.victims: list[int] = []
        self.replies: list[Known] = []
        self.holders: set[int] = set()
        self.unfinished = 0
        self.steps: list[Step] = []
        self.failed = 0
        """How often the real code fails its assertion, which is caught."""
        self.came = False
        """Whether the latest step gave somebody a token."""

    def run(self) -> list[Step]:
        """The whole workload; the loop goes round while markers are under way, too."""
        fruitless = 0
        while self.coming or self.unfinished:
            if not (self.unfinished or self.queue or self.buffer or self.chosen or self.replies):
                self.clock = max(self.clock, self.coming[0].at)
            self.arrive()
            self.queue += [Entry(request, 0) for request in self.replies]
            self.replies = []
            self.generate()
            fruitless = 0 if self.came else fruitless + 1
            if fruitless > 2000:
                raise Livelock
        return self.steps

    def arrive(self) -> None:
        while self.coming and self.coming[0].at <= self.clock:
            request = self.coming.popleft()
            if request.prompt < self.settings.length:
                self.queue.append(Entry(request, request.prompt))
                self.unfinished += 1

    def generate(self) -> None:
        flushes = [entry.request for entry in self.chosen if not entry.tokens]
        entries = [entry for entry in self.chosen if entry.tokens]
        for request in flushes:
            self.release(request)
        for entry in entries:
            self.take(entry.request, entry.request.computed + entry.tokens)
        if entries or self.victims:
            step = {entry.request.id: entry.tokens for entry in entries}
            self.steps.append((self.clock, step, self.victims, self.free))
        self.victims = []
        if entries:
            context = sum(entry.request.computed + entry.tokens for entry in entries)
            self.clock += A + B * sum(entry.tokens for entry in entries) + C * context
        self.arrive()
        self.came = False
        for entry in entries:
            self.advance(entry)
        self.choose()

    def advance(self, entry: Entry) -> None:
        request = entry.request
        request.computed += entry.tokens
        if request.computed < request.known:
            return
        self.came = True
        request.out += 1
        if request.computed < self.settings.length and request.out < request.output:
            self.queue.append(Entry(request, 1))
            return
        self.unfinished -= 1
        if self.settings.flush == "immediate":
            self.release(request)
        elif self.settings.flush == "early":
            self.queue.append(Entry(request, 0))
        else:
            self.replies.append(request)

    def choose(self) -> None:
        self.buffer += self.queue
        self.queue = []
        self.chosen = [entry for entry in self.buffer if not entry.tokens]
        live = [entry for entry in self.buffer if entry.tokens]
        decodes = [entry for entry in live if self.started(entry.request)]
        prompts = [entry for entry in live if entry not in decodes]
        used, length = self.choose_decodes(decodes)
        self.choose_prompts(prompts, used, length)
        if self.chosen:
            self.buffer = deque(entry for entry in self.buffer if entry not in self.chosen)
        elif self.buffer:
            self.flush_last()

    def started(self, request: Known) -> bool:
        """Whether its prompt, with what was generated before the last flush, is computed."""
        return request.computed >= request.prompt + request.restarted

    def choose_decodes(self, decodes: list[Entry]) -> tuple[int, int]:
        free, used, length = self.free, 0, 0
        for entry in decodes[: min(self.settings.sequences, self.settings.budget)]:
            if entry.request.computed % self.settings.size > 0:
                self.chosen.append(entry)
                length += 1
            elif free > 0:
                free, used, length = free - 1, used + 1, length + 1
                self.chosen.append(entry)
        return used, length

    def choose_prompts(self, prompts: list[Entry], used: int, length: int) -> None:
        for entry in prompts:
            request, running = entry.request, sum(1 for chosen in self.chosen if chosen.tokens)
            if self.free == 0 or running >= self.settings.sequences or self.settings.budget - length <= 0:
                break
            most = self.free - used
            if entry.tokens > 1 and self.query(request, entry.tokens, most) < entry.tokens:
                break
            tokens = self.query(request, min(entry.tokens, self.settings.budget - length), most)
            if tokens <= 0:
                continue
            used += self.blocks(request.computed + tokens) - request.held
            length += tokens
            rest, entry.tokens = entry.tokens - tokens, tokens
            self.chosen.append(entry)
            if rest:
                self.buffer.appendleft(Entry(request, rest))

    def query(self, request: Known, tokens: int, most: int) -> int:
        """Tokens of so many that fit into what it holds and ``most`` blocks more."""
        if request.id not in self.holders and len(self.holders) == self.settings.tracked:
            return 0
        if self.blocks(request.computed + tokens) - request.held <= most:
            return tokens
        return (most + request.held) * self.settings.size - request.computed

    def flush_last(self) -> None:
        holders = [entry for entry in self.buffer if entry.request.computed > 0]
        if not holders:
            self.failed += 1
            return
        victim = holders[-1]
        self.chosen = [Entry(victim.request, 0)]
        self.victims = [victim.request.id]
        self.buffer.remove(victim)
        victim.request.restarted = victim.request.out
        self.buffer.append(Entry(victim.request, victim.request.known))

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.settings.size)

    def take(self, request: Known, tokens: int) -> None:
        self.holders.add(request.id)
        if len(self.holders) > self.settings.tracked:
            raise Crash
        more = self.blocks(tokens) - request.held
        request.held += more
        self.free -= more

    def release(self, request: Known) -> None:
        """Its blocks are free; a victim starts anew."""
        self.holders.discard(request.id)
        self.free += request.held
        request.held = request.computed = 0
