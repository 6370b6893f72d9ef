"""FastServe: a skip-join multi-level feedback queue that moves the cache of those who wait to the host."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

from costmodel import prompt
from sim.batch import Batch
from sim.errors import SchedulerError
from sim.parameters import Count, NotNegative, Positive, Whole, Within
from sim.scheduler import Scheduler
from sim.schedulers.fastserve.in_turn import InTurn
from sim.schedulers.fastserve.mlfq import Mlfq
from sim.server import Server

LENGTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Prompts, in tokens, whose times the profile has (``profiling.py``)."""
LIMIT = 2048
"""Prompt tokens of a batch in the artifact's runs."""
SWAP_SPACE = 56 * 2**30
"""Bytes of host memory per GPU, as in the artifact's ShareGPT runs (``overall_fastserve_sharegpt.sh``)."""


@dataclass(frozen=True)
class FastServe(Scheduler):
    """Skip-join MLFQ with proactive swapping (Wu et al., arXiv 2305.05920), or its FCFS.

    Source: ``fastserve/scheduler.py`` of LLMServe/FastServe, 187a274 (stated there, quirks included): survivors return
    to the front of their level one by one, which reverses them; a step counts in full for each of its members;
    starvation is looked for every ``starvation_period`` iterations; prompts wait while less than a tenth of the host
    is free. Where that engine would crash or wait for ever, this one goes on (inferred): a prompt that can never run is
    rejected; what the full host cannot take is dropped and computed anew, as a prompt of at most a whole batch; a
    request that grows into the blocks kept free runs in them.
    """

    policy: Literal["sj-mlfq", "mlfq", "fcfs"] = "sj-mlfq"
    """``mlfq``: every prompt joins level 0."""
    max_num_seqs: Count = 16
    max_num_batched_tokens: Count | None = LIMIT
    """Prompt tokens of a batch; a longer prompt is rejected. Decodes are free, except that one more needs a token left;
    FCFS counts each. None: 2,048, too, but a longer prompt is its batch's only one (inferred: the artifact's models
    have 2,048 positions). Two such that do not fit the cache together then take turns at every step, swapping."""
    base_quantum: Positive = 0.01
    """Seconds that level 0 grants."""
    quantum_factor: Annotated[float, Within(gt=1)] = 2
    """How much more each level grants than the one before."""
    starvation_threshold: NotNegative = 3.0
    """Seconds without a step after which a request goes to level 0."""
    starvation_period: Count = 1000
    """Iterations from one look for them to the next."""
    proactive: bool = True
    """Whether blocks are kept free for newcomers, at least as many as ``max_num_seqs``, and used to swap in early."""
    num_min_free_blocks_threshold: Whole = 0
    """Blocks to keep free at least, if ``proactive``."""
    num_cpu_blocks: Whole | None = None
    """Blocks that the host holds. None: as many as fit ``SWAP_SPACE``, unlimited if the model is not known."""
    prefill_times: tuple[Positive, ...] | None = None
    """Seconds of one prompt of each of ``LENGTHS``, from which the levels are chosen; None: as the cost model says."""

    def bind(self, server: Server) -> Scheduler:
        return InTurn(self, server) if self.policy == "fcfs" else Mlfq(self, server)

    def schedule(self, server: Server) -> Batch:
        raise SchedulerError("FastServe remembers: ask what bind(server) returned, which is server.scheduler")

    @property
    def spare(self) -> int:
        """Blocks to keep free."""
        return max(self.max_num_seqs, self.num_min_free_blocks_threshold) if self.proactive else 0

    def host_blocks(self, server: Server) -> float:
        """Blocks that the host holds."""
        if self.num_cpu_blocks is not None:
            return self.num_cpu_blocks
        profile = server.machine.profile
        if profile is None or profile.model is None:
            return inf
        block = profile.model.kv_bytes_per_token * server.block_size
        return float(SWAP_SPACE * profile.tensor_parallel // block)

    @property
    def budget(self) -> int:
        """Prompt tokens of a batch."""
        return self.max_num_batched_tokens or LIMIT

    def too_long(self, tokens: int) -> str:
        """Why a prompt can never run, or nothing."""
        most = self.max_num_batched_tokens or tokens
        return f"its prompt of {tokens} tokens exceeds the limit of {most} tokens of one batch" if tokens > most else ""

    def anew(self, tokens: int) -> int:
        """What counts of a prompt that is computed anew, with what came of it."""
        return min(tokens, self.max_num_batched_tokens or tokens)

    def quantum(self, level: int) -> float:
        """Seconds that a level grants."""
        return self.base_quantum * self.quantum_factor**level

    def times(self, server: Server) -> tuple[float, ...]:
        """Seconds of one prompt of each of ``LENGTHS``."""
        if self.prefill_times is None:
            return tuple(server.cost_model.iteration_time(prompt(length)) for length in LENGTHS)
        if len(self.prefill_times) != len(LENGTHS):
            raise SchedulerError(f"prefill_times needs {len(LENGTHS)} times, not {len(self.prefill_times)}")
        return self.prefill_times

    def joins(self, tokens: int, times: tuple[float, ...]) -> int:
        """The level of a prompt: the first that grants the time it takes."""
        level = 0
        if self.policy == "sj-mlfq":
            time = _between(tokens, times)
            while self.quantum(level) < time:
                level += 1
        return level


def _between(tokens: int, times: tuple[float, ...]) -> float:
    """The time of a prompt, on straight lines between ``LENGTHS``, constant beyond."""
    at = bisect_left(LENGTHS, tokens)
    if at in (0, len(LENGTHS)):
        return times[0 if at == 0 else -1]
    shorter, longer = LENGTHS[at - 1 : at + 1]
    before, after = times[at - 1 : at + 1]
    return before + (after - before) * (tokens - shorter) / (longer - shorter)
