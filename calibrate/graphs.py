"""Decodes as recorded launches: a whole forward is started at once instead of kernel by kernel (CUDA graphs)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calibrate.cache import KvCache
from calibrate.model import Decoder
from calibrate.plan import Entry, Plan, plan

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 192, 256)
"""Numbers of decodes that a forward is recorded for; a batch is padded up to the next."""
CLOSE = 0.02
"""Of the best score, by which that of a recorded forward's token may be less, in half precision (inferred)."""
SCRATCH = -1_000_000
"""The sequence whose one block the padding writes to."""

Work = Callable[[], Tensor]
Capture = Callable[[Work], Work]
"""Records some work on tensors that stay where they are, and gives back what repeats it on their new numbers."""


@dataclass(eq=False)
class Recorded:
    """A runner that records a forward of decodes for each size, ahead or when it is first needed, and repeats it.

    Everything else, and more decodes than the largest size, is started kernel by kernel.
    """

    decoder: Decoder
    cache: KvCache
    capture: Capture
    _held: dict[int, tuple[Plan, Work]] = field(default_factory=dict, init=False)
    """By size, the plan whose tensors a recorded forward works on, and what repeats it."""

    def __post_init__(self) -> None:
        self.cache.reserve(SCRATCH, 1)

    def path(self, planned: Plan) -> str:
        """See `calibrate.measure.Runner`."""
        return "recorded" if self._size(planned) else "eager"

    def __call__(self, planned: Plan) -> Tensor:
        """See `calibrate.measure.Runner`."""
        size, number = self._size(planned), len(planned.tokens)
        if not size:
            return self.decoder.scores(planned).argmax(-1)
        fixed, repeat = self.record(size)
        self._fill(fixed, planned, number)
        return repeat()[:number]

    def record(self, size: int) -> tuple[Plan, Work]:
        """The plan and the forward of one of SIZES, recorded now unless it is."""
        if size not in self._held:
            fixed = self._blank(size)
            self._held[size] = fixed, self.capture(lambda: self.decoder.scores(fixed).argmax(-1))
        return self._held[size]

    def _size(self, planned: Plan) -> int:
        """The recorded size that a plan is padded to; nought if it is not of decodes only, or of too many."""
        if planned.chunks or planned.cache is not self.cache:
            return 0
        return next((size for size in SIZES if size >= len(planned.tokens)), 0)

    def _blank(self, size: int) -> Plan:
        """A plan of that size whose tensors stay, all of padding."""
        width = -(-self.decoder.config.positions // self.cache.block_size)
        block = self.cache.tables[SCRATCH][0]

        def full(value: int, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.full(shape, value, dtype=dtype, device=self.cache.numbers.device)

        return Plan(
            full(0, size),
            full(0, size),
            full(block * self.cache.block_size, size),
            torch.arange(size, device=self.cache.numbers.device),
            full(1, size, dtype=torch.int32),
            full(block, size, width, dtype=torch.int32),
            (),
            (),
            self.cache,
        )

    def _fill(self, fixed: Plan, planned: Plan, number: int) -> None:
        block = self.cache.tables[SCRATCH][0]
        rest = {"tokens": 0, "positions": 0, "rows": block * self.cache.block_size, "lengths": 1}
        for name, padding in rest.items():
            tensor = getattr(fixed, name)
            tensor[:number].copy_(getattr(planned, name))
            tensor[number:].fill_(padding)
        fixed.tables[:number, : planned.tables.shape[1]].copy_(planned.tables)


def cuda_graph(work: Work) -> Work:
    """Records CUDA kernels: once run on a side stream, so that everything is loaded, then captured."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()
    torch.cuda.current_stream().wait_stream(aside)
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            answer = work()
    finally:
        torch.cuda.set_stream(before)  # a capture that fails leaves its own one behind

    def repeat() -> Tensor:
        graph.replay()
        return answer

    return repeat


def recorded(decoder: Decoder, cache: KvCache) -> Recorded | None:
    """A runner for a CUDA device; None if its attention cannot be recorded, or tokens are not as good as eager ones.

    Not the same ones: padding may choose other matrix kernels, which round otherwise. All sizes are recorded ahead, so
    that no request that is served has to wait for it.
    """
    if not getattr(decoder.attention, "recordable", False):
        return None
    runner = Recorded(decoder, cache, cuda_graph)
    planned = plan([Entry(number, [number + 1], 40 + number) for number in range(3)], cache, decoder.config.positions)
    try:
        scores, chosen = decoder.scores(planned).float(), runner(planned)
        best = scores.max(-1).values
        same = bool((best - scores.gather(-1, chosen[:, None])[:, 0] <= CLOSE * best.abs()).all())
        for size in SIZES if same else ():
            runner.record(size)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return None  # something in the forward cannot be captured
    finally:
        for number in (2, 1, 0):
            cache.free(number)
    return runner if same else None
