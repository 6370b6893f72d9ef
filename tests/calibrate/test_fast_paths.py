"""What a GPU runs, as far as a CPU can check it: the Triton kernel interpreted, recorded launches repeated."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from calibrate.attention import PlainAttention  # noqa: E402
from calibrate.backend import agrees, attention_for, candidates, runner_for  # noqa: E402
from calibrate.flash import FlashAttention  # noqa: E402
from calibrate.graphs import SCRATCH, SIZES, Recorded, cuda_graph, recorded  # noqa: E402
from calibrate.measure import Eager  # noqa: E402
from calibrate.model import Config, Decoder, Entry  # noqa: E402
from calibrate.plan import Plan, plan  # noqa: E402

torch.set_num_threads(1)  # numbers this small are not worth a second one
SHAPE = Config("small", 2, 32, 4, 48, vocabulary=64, positions=160)

KERNEL = """
import torch
from calibrate.attention import PlainAttention
from calibrate.backend import agrees
from calibrate.opt import Config
from calibrate.triton_decode import split_decode

class Split(PlainAttention):
    def __call__(self, layer, queries, plan):
        result, decodes = super().__call__(layer, queries, plan), len(plan.lengths)
        if decodes:
            result[:decodes] = split_decode(queries[:decodes], *plan.numbers[layer].unbind(0), plan)
        return result

for heads, hidden in ((4, 128), (2, 160)):
    assert agrees(Split(), Config("small", 1, hidden, heads, 64, vocabulary=64), "cpu", torch.float32, 16)
    Split.__call__, right = (lambda *given: 1.2 * right(*given)), Split.__call__
    assert not agrees(Split(), Config("small", 1, hidden, heads, 64, vocabulary=64), "cpu", torch.float32, 16)
    Split.__call__ = right
print("right")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_for_decodes_agrees_with_plain_attention(root: Path) -> None:
    """Interpreted, on a cache whose blocks lie out of order, for heads that are a power of two in size and not."""
    settings = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KERNEL], capture_output=True, text=True, cwd=root, env=settings, timeout=120
    )
    assert done.stdout.split() == ["right"], done.stderr


class TensorAttention:
    """Decodes by a plan's tensors alone, as a recorded launch must: what the host knows is long out of date."""

    name = "tensors alone"

    def __call__(self, layer: int, queries: Any, planned: Plan) -> Any:
        if planned.chunks:
            return PlainAttention()(layer, queries, planned)
        keys, values = planned.numbers[layer].unbind(0)
        size, found = planned.cache.block_size, []
        for query, length, table in zip(queries, planned.lengths.tolist(), planned.tables.tolist(), strict=True):
            rows = [table[place // size] * size + place % size for place in range(length)]
            score = torch.einsum("hd,khd->hk", query, keys[rows]) * query.shape[-1] ** -0.5
            found.append(torch.einsum("hk,khd->hd", score.softmax(-1), values[rows]))
        return torch.stack(found)


def varlen(
    queries: Any,
    keys: Any,
    values: Any,
    first_queries: Any,
    first_keys: Any,
    most_queries: int,
    most_keys: int,
    dropout: float,
    causal: bool,
    debug: bool,
    *,
    seqused_k: Any,
) -> tuple[Any]:
    """What torch's flash attention is documented to do on a GPU: keys from any start, causal from the bottom right."""
    assert (dropout, causal, debug) == (0.0, True, False)
    assert {tensor.dtype for tensor in (first_queries, first_keys, seqused_k)} == {torch.int32}
    found, firsts = torch.empty_like(queries), first_queries.tolist()
    assert (len(first_keys), firsts[-1]) == (len(seqused_k) + 1, len(queries))
    for first, last, start, used in zip(firsts, firsts[1:], first_keys.tolist(), seqused_k.tolist(), strict=False):
        assert last - first <= most_queries
        assert used <= most_keys
        score = torch.einsum("qhd,khd->hqk", queries[first:last], keys[start : start + used])
        hidden = torch.ones(last - first, used).tril(used - (last - first)) == 0
        weight = (score * queries.shape[-1] ** -0.5).masked_fill(hidden, -torch.inf).softmax(-1)
        found[first:last] = torch.einsum("hqk,khd->qhd", weight, values[start : start + used])
    return (found,)


@pytest.mark.parametrize("block_size", [16, 64])
@pytest.mark.parametrize("split", [False, True], ids=["decodes through it, too", "decodes apart"])
def test_flash_attention_is_told_where_everything_lies(
    block_size: int, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks out of order, which are gathered, and in long ones."""
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", varlen)

    def decode(queries: Any, keys: Any, values: Any, planned: Plan) -> Any:
        return TensorAttention()(0, queries, replace(planned, chunks=()))

    attention = FlashAttention(decode if split else None)
    assert agrees(attention, SHAPE, "cpu", torch.float32, block_size)
    assert attention.recordable == split


def test_flash_attention_copies_nothing_that_lies_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(queries: Any, keys: Any, *rest: Any, **named: Any) -> tuple[Any]:
        seen.append(keys.data_ptr())
        return varlen(queries, keys, *rest, **named)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", noted)
    plain, flash = Decoder.random(SHAPE), replace(Decoder.random(SHAPE), attention=FlashAttention())
    scores = []
    for decoder in (plain, flash):
        cache = decoder.slots(4, 160)
        decoder.forward([Entry(3, [1] * 9, 0), Entry(2, [5] * 30, 0)], cache)
        scores.append(decoder.logits([Entry(2, [7] * 20, 30), Entry(3, [4], 9), Entry(1, [3] * 11, 0)], cache))
    assert torch.allclose(*scores, atol=1e-5)
    assert set(seen) == {cache.numbers[layer, 0].data_ptr() for layer in range(SHAPE.layers)}


def repeating(work: Callable[[], Any]) -> Callable[[], Any]:
    """In place of a CUDA graph: the same work on the same tensors."""
    work()
    return work


def test_an_attention_that_is_wrong_is_not_chosen() -> None:
    class Off(PlainAttention):
        def __call__(self, layer: int, queries: Any, planned: Plan) -> Any:
            result = super().__call__(layer, queries, planned)
            result[: len(planned.lengths)] *= 1.2
            return result

    class Broken(PlainAttention):
        name = "a kernel"

        def __call__(self, layer: int, queries: Any, planned: Plan) -> Any:
            raise subprocess.CalledProcessError(1, "gcc")  # as Triton has it where Python.h is missing

    class Huge(PlainAttention):
        def __call__(self, layer: int, queries: Any, planned: Plan) -> Any:
            raise torch.OutOfMemoryError("too large")

    assert agrees(PlainAttention(), SHAPE, "cpu", torch.float32, 16)
    assert agrees(TensorAttention(), replace(SHAPE, shards=2), "cpu", torch.float32, 16)
    assert not agrees(Off(), SHAPE, "cpu", torch.float32, 16)
    with pytest.warns(RuntimeWarning, match=r"a kernel cannot be used on cpu \(CalledProcessError: Command 'gcc'"):
        assert not agrees(Broken(), SHAPE, "cpu", torch.float32, 16)
    with pytest.raises(torch.OutOfMemoryError):
        agrees(Huge(), SHAPE, "cpu", torch.float32, 16)
    assert isinstance(attention_for(SHAPE, "cpu", torch.float32, 16), PlainAttention)


def test_recorded_forwards_give_the_eager_tokens_whatever_came_before() -> None:
    decoder = replace(Decoder.random(SHAPE), attention=TensorAttention())
    cache = decoder.cache(60, 8)
    runner = Recorded(decoder, cache, repeating)
    lengths = {1: 100, 2: 5, 3: 33, 4: 8, 5: 16, 6: 64}
    for sequence, length in lengths.items():
        decoder.forward([Entry(sequence, [(7 * sequence + place) % 64 for place in range(length)], 0)], cache)
    scratch = cache.tables[SCRATCH][0]
    for turn, batch in enumerate(([1, 2, 3], [6], [4, 5, 6, 1, 2, 3], [2], [3, 1, 6, 5], [2, 4, 5, 6, 1], [2, 4, 5])):
        if turn % 2:  # someone else's newest token changes between two batches
            decoder.forward([Entry(3, [50 + turn], lengths[3])], cache)
        entries = [Entry(sequence, [sequence + turn], lengths[sequence]) for sequence in batch]
        planned = plan(entries, cache, decoder.config.positions)
        assert runner.path(planned) == "recorded"
        own = [*planned.rows.tolist(), *range(8 * scratch, 8 * scratch + 8)]
        others = [row for row in range(60 * 8) if row not in own]
        before = cache.numbers[:, :, others].clone()
        found = runner(planned).tolist()
        assert torch.equal(cache.numbers[:, :, others], before), "padding must not write to anyone's cache"
        assert found == decoder.scores(planned).argmax(-1).tolist(), batch


class MakeBelieveCuda:
    """As much of `torch.cuda` as records a launch: streams by name, and a capture that a failure never leaves."""

    def __init__(self) -> None:
        self.streams = ["main"]
        self.Stream = self.CUDAGraph = lambda: SimpleNamespace(name="aside", wait_stream=id, replay=id)

    def current_stream(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.streams[-1], wait_stream=id)

    def set_stream(self, stream: SimpleNamespace) -> None:
        self.streams = [stream.name]

    @contextmanager
    def stream(self, stream: SimpleNamespace) -> Iterator[None]:
        self.streams.append(stream.name)
        yield
        self.streams.pop()

    @contextmanager
    def graph(self, _: SimpleNamespace) -> Iterator[None]:
        self.streams.append("capture")
        yield
        self.streams.pop()


def test_a_recording_warms_up_aside_and_leaves_the_stream_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, seen = MakeBelieveCuda(), list[str]()
    for name in ("Stream", "CUDAGraph", "current_stream", "set_stream", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))

    def work() -> Any:
        seen.append(cuda.streams[-1])
        if len(seen) == 4:
            raise RuntimeError("operation not permitted when stream is capturing")

    cuda_graph(work)
    assert (seen, cuda.streams) == (["aside", "capture"], ["main"])
    with pytest.raises(RuntimeError, match="not permitted"):
        cuda_graph(work)
    assert (seen[2:], cuda.streams) == (["aside", "capture"], ["main"])


def test_what_cannot_be_recorded_is_started_eagerly() -> None:
    decoder = Decoder.random(SHAPE)
    cache = decoder.cache(400, 1)
    runner = Recorded(decoder, cache, repeating)
    chunk = plan([Entry(0, [1, 2, 3], 0)], cache, 160)
    many = plan([Entry(sequence, [1], 0) for sequence in range(1, 301)], cache, 160)
    other = plan([Entry(0, [1], 0)], decoder.cache(3, 1), 160)
    for planned in (chunk, many, other):
        assert runner.path(planned) == "eager"
        assert runner(planned).tolist() == decoder.scores(planned).argmax(-1).tolist()
    assert isinstance(runner_for(decoder, cache), Eager)


def test_recorded_launches_are_taken_only_where_their_tokens_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = replace(Decoder.random(SHAPE), attention=TensorAttention())
    cache = decoder.cache(60, 8)
    cache.numbers.normal_(generator=torch.Generator().manual_seed(2))
    assert recorded(decoder, cache) is None, "this attention does not say that it can be recorded"
    monkeypatch.setattr(TensorAttention, "recordable", True, raising=False)
    captured: list[int] = []
    monkeypatch.setattr("calibrate.graphs.cuda_graph", lambda work: captured.append(len(work())) or repeating(work))
    runner = recorded(decoder, cache)
    assert isinstance(runner, Recorded)
    assert cache.free_blocks == 59, "all but the padding's block are given back"
    assert sorted(captured) == list(SIZES)
    runner(plan([Entry(0, [1], 9), Entry(1, [2], 5)], cache, 160))
    assert len(captured) == len(SIZES), "what is served waits for no recording"
    cache.free(1)
    cache.free(0)
    monkeypatch.setattr("calibrate.graphs.cuda_graph", lambda work: lambda: (work() + 1) % SHAPE.vocabulary)
    assert recorded(decoder, cache) is None

    def refused(work: Callable[[], Any]) -> Callable[[], Any]:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("calibrate.graphs.cuda_graph", refused)
    assert recorded(decoder, cache) is None
    assert cache.free_blocks == 59


def test_a_gpu_is_offered_the_fastest_first() -> None:
    offered = list(candidates("cuda:0"))
    assert all(isinstance(one, FlashAttention) for one in offered)
    assert offered[-1].name == "flash attention, decodes through it, too"
    assert list(candidates("cpu")) == []
