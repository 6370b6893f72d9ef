"""The checker passes good policies and tells bad ones, in words, what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, ClassVar

import pytest

from costmodel import profile
from sim.batch import Batch
from sim.check import check_scheduler
from sim.errors import SchedulerError
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.oracle import Oracle
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import PROFILE, Whimsical, little_trace

GOOD = (
    Vllm(),
    Vllm(preemption="swap"),
    Vllm(max_num_batched_tokens=64, max_num_seqs=4),
    Vllm(chunked_prefill=True),
    Vllm(chunked_prefill=True, max_num_batched_tokens=32, max_num_seqs=16, preemption="swap"),
    Vllm(max_num_batched_tokens=512, max_paddings=64, max_model_len=100),
    VllmV1(),
    VllmV1(max_num_batched_tokens=64, reserve_full_prompt=False),
    VllmV1(max_num_batched_tokens=64, long_prefill_token_threshold=16, watermark=0.05),
    VllmV1(chunked_prefill=False, max_num_batched_tokens=4096, max_num_seqs=8),
    Sarathi(),
    Sarathi(chunk_size=32, max_num_seqs=32, max_model_len=110),
    AccelGen(),
    AccelGen(token_budget="inverse"),
    AccelGen(pivot="paper", dynamic_chunking=False),
    AccelGen(slo_ordering=False),
    AccelGen(multi_resource=False),
    AccelGen(exclusive=False, gamma=0.1),
    AccelGen(overdue="urgent", urgency=2.0),
    AccelGen(admission="chunk", normalized=True, pivot=64),
    Oracle(),
    Whimsical(),
    Whimsical(patient=True, whim=0.5, rejects=0.0),
)


class ShortestPromptFirst(Scheduler):
    """Decodes never wait; the shortest prompt goes first."""

    token_budget = 2048

    def priority(self, request):  # type: ignore[no-untyped-def]
        return request.prompt_tokens

    def schedule(self, server):  # type: ignore[no-untyped-def]
        batch = server.new_batch(self.token_budget)
        batch.decode_all()  # preempts the newest if memory is short
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            if not batch.admit(request):
                break
        return batch


def test_the_sample_of_the_documentation() -> None:
    report = check_scheduler(ShortestPromptFirst())
    assert "make it a frozen dataclass" in str(report)
    result = simulate(little_trace(0), ShortestPromptFirst(), PROFILE)
    assert result.summary()["finished"] == 30


@pytest.mark.parametrize("policy", GOOD, ids=repr)
def test_good_policies_pass(policy: Scheduler) -> None:
    report = check_scheduler(policy)
    assert repr(policy) in str(report)
    assert report.notes == (
        () if any(trial.preemptions for trial in report.trials) else ("it never preempted anybody",)
    )
    assert any(trial.swaps for trial in report.trials) == ("swap" in repr(policy) or isinstance(policy, Whimsical))


def test_by_name_and_on_another_machine() -> None:
    report = check_scheduler("sarathi,chunk_size=64", profile("opt-13b@a100-80gb"))
    assert report.policy.startswith("Sarathi(chunk_size=64")
    assert "preempted" in str(report)
    assert "24 requests" in str(report.trials[1])


@dataclass(frozen=True)
class Simple(Scheduler):
    """A good policy, for bad ones to spoil."""

    budget: int = 512

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            if not batch.admit(request):
                break
        return batch


class TakesBlocks(Simple):
    def schedule(self, server: Server) -> Batch:
        server.free_blocks += 1
        return super().schedule(server)


class PopsTheQueue(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in list(batch.admitted):
            server.waiting.remove(request)
        return batch


class WritesOnRequests(Simple):
    def schedule(self, server: Server) -> Batch:
        for request in server.waiting:
            request.predicted_output = 5.0
        return super().schedule(server)


class KeepsNotesOnTheServer(Simple):
    def schedule(self, server: Server) -> Batch:
        server.asked = getattr(server, "asked", 0) + 1  # type: ignore[attr-defined]
        return super().schedule(server)


class SpoilsTheHistory(Simple):
    def schedule(self, server: Server) -> Batch:
        server.history.longest_iteration = 0.0
        return super().schedule(server)


class Lazy(Simple):
    def schedule(self, server: Server) -> Batch:
        return super().schedule(server) if server.running_count or server.now > 1 else server.new_batch(1)


class IgnoresLongPrompts(Simple):
    """Never gives anybody with a long prompt a chance."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            if request.prompt_tokens < 100:
                batch.admit(request)
        return batch


class DropsAll(Simple):
    """Starts afresh in every step, so that time passes and nobody gets anywhere."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(8)
        for request in server.running:
            batch.preempt(request)
        for request in [*batch.preempted, *server.waiting]:
            batch.admit(request)
        return batch


class MovesForEver(Simple):
    """Swaps out and in, and computes nothing."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        for request in server.swapped:
            batch.resume(request, run=False)
        for request in server.running:
            batch.preempt(request, swap=True)
        return batch if batch.changes else super().schedule(server)


class Rolls(Simple):
    rolls: ClassVar = count()

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        batch.decode_all()
        for request in server.waiting:
            batch.admit(request, next(self.rolls) % request.known_tokens + 1)
        for request in server.prefilling:
            batch.prefill(request)
        return batch


@dataclass(frozen=True)
class Remembers(Simple):
    """Decides alike when asked twice, but not in the next run."""

    seen: set[tuple[float, int]] = field(default_factory=set, compare=False)

    def schedule(self, server: Server) -> Batch:
        self.seen.add((server.now, server.history.iterations))
        batch = server.new_batch(self.budget if len(self.seen) < 200 else 16)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in server.waiting:
            batch.admit(request)
        return batch


class RandomOrder(Simple):
    def priority(self, request: Request) -> float:
        return Random().random()


class Greedy(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(32)
        batch.decode_all()
        for request in server.waiting:
            if batch.admit(request, 8, reserve=request.known_tokens):
                batch.prefills[request] = request.known_tokens
        return batch


class OverTheCache(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1 << 30)
        batch.blocks_left = 1 << 30
        batch.decode_all()
        for request in server.waiting:
            batch.admit(request, request.known_tokens)
        return batch


class TooFewBlocks(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in batch.admitted:
            batch.admitted[request] = 1
        return batch


class Twice(Simple):
    """Puts the same request into two tables."""

    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in list(batch.admitted)[1:]:
            batch.rejected[request] = "no"
        return batch


class AdmitsTheRunning(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in server.decoding:
            batch.admitted[request] = 0
        return batch


class PrefillsAnybody(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = super().schedule(server)
        for request in batch.waiting():
            batch.prefills[request] = 1
        return batch


class DecodesTheDead(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        for request in server.decoding:
            batch.decodes[request] = None
            batch.preempted[request] = False
        return batch if batch.decodes else super().schedule(server)


class Promises(Simple):
    """Holds, but serves a prompt only at every fourth iteration."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        batch.decode_all()
        if server.history.iterations % 4 == 0 or not batch.tokens:
            for request in [*server.prefilling]:
                batch.prefill(request)
            for request in server.waiting:
                batch.admit(request)
        batch.hold()
        return batch


class PromisesTooMuch(Simple):
    """Holds as if memory did not matter, and preempts in time only when asked."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        for request in server.running[1:]:
            if request.generated % 5 == 4 and request.preemptions < 2:
                batch.preempt(request)
        batch.decode_all()
        for request in server.prefilling:
            if request not in batch.preempted:
                batch.prefill(request)
        for request in server.waiting:
            batch.admit(request)
        batch.hold()
        return batch


class PromisesRoom(Simple):
    """Says that there is no room, but starts whoever fits."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(1 << 20)
        batch.decode_all()
        for request in [] if batch.preempted else server.waiting:
            batch.admit(request, request.known_tokens)
        batch.hold(room=2)
        return batch


class Peeks(Simple):
    """Admits by true length."""

    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(64)
        batch.decode_all()
        for request in server.prefilling:
            batch.prefill(request)
        for request in sorted(server.waiting, key=lambda request: request._output_tokens):
            batch.admit(request)
        return batch


class PeeksInTheQueue(Simple):
    def priority(self, request: Request) -> int:
        return request._output_tokens


class PeeksAtDeadlines(Simple):
    def deadline(self, request: Request) -> float:
        return request.arrived_at + request._output_tokens


class Crashes(Simple):
    def schedule(self, server: Server) -> Batch:
        return {}["batch"]  # type: ignore[no-any-return]


class ReturnsNothing(Simple):
    def schedule(self, server: Server) -> Any:
        super().schedule(server)


class WrongVerb(Simple):
    def schedule(self, server: Server) -> Batch:
        batch = server.new_batch(self.budget)
        for request in server.waiting:
            batch.prefill(request)
        return batch


BAD = {
    TakesBlocks: "trial 'one request alone': schedule changed the server: free_blocks was 100, then 101",
    PopsTheQueue: "changed the server: waiting was [0], then []",
    WritesOnRequests: "changed the server: predicted_output of request 0 was None, then 5.0",
    KeepsNotesOnTheServer: "changed the server: attributes of the server",
    SpoilsTheHistory: "changed the server: history.longest_iteration was",
    Lazy: "an empty batch although requests are there (1 waiting, 0 running, 0 swapped; 100 blocks free).*: all hangs",
    IgnoresLongPrompts: "an empty batch.*it starves for ever, though others that came later were served",
    DropsAll: "nobody finished in .* decisions: requests starve for ever. The oldest is Request(0",
    MovesForEver: "a livelock|starve for ever",
    Rolls: "not deterministic: asked twice about the same server it decides differently",
    Remembers: "not deterministic: the same run once more tells another story: iteration",
    RandomOrder: "priority is not deterministic",
    Greedy: "over budget: the batch has .* tokens, .* more than it was granted",
    OverTheCache: "over the cache: the batch takes",
    TooFewBlocks: "over the cache: Request(.* with 1 blocks",
    Twice: "is rejected but does not wait",
    AdmitsTheRunning: "is admitted but does not wait",
    PrefillsAnybody: "computes a prompt without having been admitted",
    DecodesTheDead: "decodes although it is preempted",
    Promises: "the promise of hold() is broken",
    PromisesTooMuch: "the promise of hold() is broken",
    PromisesRoom: "the promise of hold() is broken",
    Peeks: "schedule looked at true output lengths.*Use request.predicted_output",
    PeeksInTheQueue: "priority looked at the true output length",
    PeeksAtDeadlines: "deadline looked at the true output length",
    Crashes: "schedule raised KeyError: 'batch'",
    ReturnsNothing: "schedule returned None: make a batch",
    WrongVerb: "cannot prefill",
}


def pattern(words: str) -> str:
    for sign in "()[]{}?":
        words = words.replace(sign, "\\" + sign)
    return words


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_bad_policies_are_caught(kind: type[Scheduler]) -> None:
    with pytest.raises(SchedulerError, match=pattern(BAD[kind])):
        check_scheduler(kind())


def test_simple_is_good() -> None:
    """What the bad ones spoil is good itself."""
    assert len(check_scheduler(Simple()).trials) == 12


def test_a_policy_must_be_a_scheduler() -> None:
    class Duck:
        def schedule(self, server: Server) -> None: ...

    with pytest.raises(SchedulerError, match=r"is not a Scheduler: write class Duck\(Scheduler\)"):
        check_scheduler(Duck())  # type: ignore[arg-type]
