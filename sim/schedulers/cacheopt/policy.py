"""CacheOPT (arXiv 2503.13773): cache for padded output lengths, lent on, the critical first, victims by SLO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sim.batch import Batch
from sim.parameters import Count, NotNegative, PartShare, Positive, Whole
from sim.predictor import Noisy, Predictor
from sim.scheduler import Scheduler
from sim.schedulers.cacheopt.allocator import Allocator
from sim.server import Server


@dataclass(frozen=True)
class CacheOpt(Scheduler):
    """Five parts on top of vLLM's iteration, each a switch: C, A (embedding; critical-first and proactive), P and S.

    With all of them off, and ``allocation="prompt"``, it decides as ``vllm`` does (in chunked mode where no chunk waits
    for cache). What is stated comes from digests of the paper, the numbers called a third party's from a guide to
    re-implementing it; what the sources leave open is a parameter marked inferred. docs/cacheopt.md has what each part
    brings.
    """

    predictor: ClassVar[Predictor] = Noisy()

    # -- the iteration: vLLM's, on which the paper builds; which version's is inferred -------------------------------

    chunked_prefill: bool = False
    """Off: whole prompts in batches of their own, as vLLM V0; on: decodes and chunks together, up to the budget."""
    max_num_batched_tokens: Count | None = None
    """Prompt tokens of a prefill batch; in chunked mode the budget of every batch. None: no limit, chunked 512."""
    max_num_seqs: Count = 256
    watermark: PartShare = 0.01
    """Share of the blocks that admissions leave free: vLLM's, where ``reserve_blocks`` is not more."""

    # -- C: confidence-based padding (section 3.2) -------------------------------------------------------------------

    padding: bool = True
    """Off: the length that the predictor tells is taken as it is."""
    alpha: PartShare = 0.95
    """P_c = alpha / (1 + beta lambda); the default is a third party's."""
    beta: NotNegative = 0.001
    """Per request and second; the default is a third party's."""
    output_range: NotNegative | None = None
    """(b - a) in tokens; None: what was seen of the requests that finished before an arrival (inferred)."""
    spread: Literal["outputs", "deviations"] = "outputs"
    """Of what (b - a) is the range: output lengths (a third party's), or what the predictor was wrong by (inferred)."""
    deviation: Literal["mean", "under"] = "mean"
    """The paper's predictor says whether it under- or overestimates; ours does not. "mean": it is taken to overestimate
    where it tells more than the mean of the outputs so far; "under": never, so padding is always added (inferred)."""
    default_output: Count = 256
    """Output tokens assumed before any request has finished, without a predictor; then their mean (inferred)."""

    # -- A: allocation (section 3.3) ---------------------------------------------------------------------------------

    allocation: Literal["demand", "prompt"] = "demand"
    """What a newcomer is given: cache for prompt and assumed output (stated), or as vLLM does for the prompt only."""
    cuts: Literal["critical", "all"] = "critical"
    """Whose allocation may be cut to what is left (inferred; that there are cuts is stated)."""
    chunk: Count | None = None
    """B, tokens: a critical newcomer is given its prompt and this at least (stated), and it is what requests are given
    that outgrow their allocation; None: one block (inferred)."""
    candidates: Count = 32
    """Waiting requests considered for embedding behind one that does not fit, and critical ones in one decision (this
    project's own bound)."""

    embedding: bool = True
    """Newcomers live in what running requests have allocated and not used (section 3.3.1, stated)."""
    buffer: Whole = 8
    """b, tokens; the default is a third party's."""

    critical_first: bool = True
    """Critical requests, by remaining time, are given their least before anybody gets more (section 3.3.2, stated)."""
    urgency: NotNegative = 1.0
    """Critical is who has a remaining time of at most this many longest iterations after one (inferred)."""
    late: bool = True
    """Whether a waiting request stays critical when its SLO is broken already (inferred: it has the least remaining
    time, and nothing that is stated takes it out)."""
    critical_preempts: bool = True
    """Running requests that are not critical are preempted for critical newcomers where it takes that (stated)."""
    overtakes: Whole = 64
    """Later arrivals that may be admitted before the first in line because they are critical (this project's own bound,
    against starvation)."""
    ahead: Whole = 2
    """Iterations before the end of its allocation in which a request is given the next chunk (section 3.3.3, stated;
    the number is a third party's); 0: when it is used up."""
    reserve_blocks: Whole = 8
    """Blocks kept for running requests that would else be preempted (stated; the number is a third party's)."""

    # -- P and S: preemption (sections 3.4 and 3.5) ------------------------------------------------------------------

    victim_order: bool = True
    """TBT-SLO bucket descending, remaining output bucket descending, cache ascending (stated); off: the newest."""
    tbt_bucket: Positive = 0.05
    """Seconds within which SLOs count as alike (inferred)."""
    output_bucket: Count = 64
    """Tokens within which remaining outputs count as alike (inferred)."""
    preemption: Literal["crossover", "recompute", "swap"] = "crossover"
    """Contexts are swapped from the length on at which that takes less time than recomputing them (stated)."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).catch_up().schedule(server)

    def bind(self, server: Server) -> Allocator:
        return Allocator(self, server)

    @property
    def as_vllm(self) -> bool:
        """Whether running requests go on, or are preempted, just as vLLM's."""
        own = self.critical_first or self.victim_order or self.ahead or self.preemption == "crossover"
        return self.allocation == "prompt" and not own
