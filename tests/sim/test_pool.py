"""The decode pool against the plain one, step by step, under anything that may happen to members."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sim.plain import PlainPool
from sim.pool import DecodePool
from sim.request import Phase, Request


def decoding(id: int, prompt: int, output: int, blocks: int, now: float = 0.0) -> Request:
    """A request whose prefill is just done, with so many blocks."""
    one = Request(id, 0.0, prompt, output)
    one._last_token_at = now
    one._kv, one._generated, one._blocks, one.phase = prompt, 1, blocks, Phase.DECODING
    return one


class Pools(RuleBasedStateMachine):
    """The same life in both pools; every member is a pair of requests."""

    size = 4

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.plain = DecodePool(self.size), PlainPool(self.size)
        self.members: list[tuple[Request, Request]] = []
        self.resting: list[tuple[Request, Request]] = []
        self.now, self.ids = 0.0, 0

    @rule(prompt=st.integers(1, 20), output=st.integers(2, 12), reserve=st.integers(0, 6))
    def join(self, prompt: int, output: int, reserve: int) -> None:
        blocks = -(-prompt // self.size) + reserve
        pair = (
            decoding(self.ids, prompt, output, blocks, self.now),
            decoding(self.ids, prompt, output, blocks, self.now),
        )
        self.ids += 1
        self._join(pair)

    def _join(self, pair: tuple[Request, Request]) -> None:
        self.fast.join(pair[0])
        self.plain.join(pair[1])
        self.members.append(pair)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        pair = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
        self.fast.leave(pair[0])
        self.plain.leave(pair[1])
        self.resting.append(pair)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), more=st.integers(-6, 6))
    def resize(self, data: st.DataObject, more: int) -> None:
        """A member takes blocks ahead or gives back what it does not fill."""
        pair = data.draw(st.sampled_from(self.members))
        filled = -(-pair[0].kv_tokens // self.size)
        for request, pool in zip(pair, (self.fast, self.plain), strict=True):
            pool.resize(request, max(filled, request.blocks + more))

    @precondition(lambda self: self.resting)
    @rule()
    def come_back(self) -> None:
        """Who paused decodes in the very next step."""
        self._join(self.resting.pop())
        self.step(1)

    @rule(several=st.integers(1, 9))
    def step(self, several: int) -> None:
        for _ in range(several):
            self.now += 0.5
            self.fast.step(self.now)
            self.plain.step(self.now)
            done = [[request.id for request in pool.finished()] for pool in (self.fast, self.plain)]
            assert done[0] == done[1]
            self.members = [pair for pair in self.members if pair[0].id not in done[0]]
            self.agree()

    @precondition(lambda self: self.members)
    @rule()
    def stretch(self) -> None:
        """Up to the next event the fast pool may take all steps at once."""
        steps = self.fast.steps_to_event()
        assert 1 <= steps <= min(fast._output_tokens - fast.generated for fast, _ in self.members)
        growth = [self.fast.growing[(self.fast.steps + n) % self.size] for n in range(steps)]
        for n in range(steps):
            assert growth[n] == self.plain.blocks_needed
            self.now += 0.25
            self.plain.step(self.now)
        self.fast.step(self.now, steps)
        done = [[request.id for request in pool.finished()] for pool in (self.fast, self.plain)]
        assert done[0] == done[1]
        self.members = [pair for pair in self.members if pair[0].id not in done[0]]

    @invariant()
    def agree(self) -> None:
        assert [request.id for request in self.fast] == [request.id for request in self.plain]
        for name in ("size", "steps", "context", "blocks_needed"):
            assert getattr(self.fast, name) == getattr(self.plain, name), name
        for fast, plain in [*self.members, *self.resting]:
            for name in ("kv_tokens", "generated", "blocks", "known_tokens", "prefill_left", "prefilled", "mid_decode"):
                assert getattr(fast, name) == getattr(plain, name), name
            assert fast.last_token_at == plain.last_token_at
            assert (fast in self.fast) == (plain in self.plain) == ((fast, plain) in self.members)


class SmallBlocks(Pools):
    size = 1


class LargeBlocks(Pools):
    size = 16


TestPools = Pools.TestCase
TestSmallBlocks = SmallBlocks.TestCase
TestLargeBlocks = LargeBlocks.TestCase
FEW = settings(max_examples=settings.default.max_examples * 2 // 5, stateful_step_count=30)  # type: ignore[union-attr]
TestPools.settings = TestSmallBlocks.settings = TestLargeBlocks.settings = FEW


def test_versions_tell_when_members_change() -> None:
    for pool in (DecodePool(4), PlainPool(4)):
        one, seen = decoding(0, 3, 3, 1), [pool.version]
        pool.join(one)
        seen.append(pool.version)
        pool.step(1.0)
        assert pool.version == seen[-1], "a step alone changes nobody"
        pool.leave(one)
        seen.append(pool.version)
        assert seen == sorted(set(seen))
        assert one not in pool


def test_an_empty_pool_has_no_event() -> None:
    assert DecodePool(4).steps_to_event() == PlainPool(4).steps_to_event() == 0
