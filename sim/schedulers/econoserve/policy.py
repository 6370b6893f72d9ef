"""EconoServe (arXiv 2411.06364, also called EcoServe): its parts as switches, and what its abstract leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sim.batch import Batch
from sim.parameters import Count, NotNegative, PartShare, Whole
from sim.predictor import Noisy, Predictor
from sim.scheduler import Scheduler

if TYPE_CHECKING:
    from sim.schedulers.econoserve.queues import TwoQueues
    from sim.server import Server


@dataclass(frozen=True)
class EconoServe(Scheduler):
    """Decoupled prompts and generations, groups of one predicted length, cache for it, lent on, and ordered by cache.

    The body of the paper could not be read. "Stated" means in its abstract; "recalled" in a description from memory
    that was not checked; "inferred" that neither says it and it was chosen here. docs/econoserve.md has all of it.
    """

    predictor: ClassVar[Predictor] = Noisy()

    # -- prompts and generations --------------------------------------------------------------------------------------

    decoupled: bool = True
    """Separate queues (stated): a prompt starts with cache for itself alone, then waits for its generation to start.
    Off: it starts with cache for both, and only who ran out of cache waits to generate; groups and pipelining then have
    only those to work on."""
    forward_size: Literal["measured", "paper"] | Count = "measured"
    """Prompts are added up to this forward size, beyond which the GPU is saturated (recalled; that it is AccelGen's
    pivot is inferred): the profile's own, that paper's, or a number of tokens."""
    chunking: bool = True
    """Whether the prompt that passes the forward size is cut there; off: it is computed whole (inferred)."""
    prompts_wait: bool = True
    """Prompts start only in what the first waiting generation does not lack; off: in all that is free, and finished
    prompts may fill the cache until nobody can generate (inferred)."""

    # -- same-length groups -------------------------------------------------------------------------------------------

    same_length: bool = True
    """With the first in line start all generations of its predicted length, then those of the next (stated that they
    are batched by it; that a group may be started in parts as cache comes free is inferred). Off: one by one."""
    length_bucket: Count | None = None
    """Predicted lengths are rounded up to a multiple of so many tokens, and are the same if that is (inferred); None: a
    block, for then rounding takes next to no cache."""

    # -- cache for the predicted length -------------------------------------------------------------------------------

    exact_allocation: bool = True
    """A generation starts with cache for its predicted length (stated); off: block by block."""
    padding: NotNegative = 0.125
    """Share by which predictions are lengthened (recalled: 10 to 15 % is best; the middle is inferred)."""
    extra: Count | None = None
    """Tokens for which who outlived its prediction and ran out of cache is given more (inferred); None: a bucket."""
    reserve: PartShare = 0.03
    """Share of the cache that is kept for those who outlive their prediction (recalled). When it is used up, the newest
    of them stops, its cache kept, and joins the generations that wait (recalled: preemption without offloading). If
    nobody can go on, the newest drops its cache for the oldest (inferred)."""
    default_output: Count = 256
    """Output tokens assumed before any request has finished, without a predictor; then their mean (inferred)."""

    # -- pipelining ---------------------------------------------------------------------------------------------------

    pipelining: bool = True
    """A generation lives in what another has allocated and not used (stated), if it is done before that gets there: its
    length is at most half of what is left, less a buffer (recalled). Those do for whom too little is free, in their
    order, in the smallest allocation that suffices (inferred)."""
    nested: bool = True
    """Whether guests have guests (recalled)."""
    buffer: Whole = 8
    """Tokens (recalled that there is one; the number, CacheOPT's, is inferred)."""

    # -- ordering -----------------------------------------------------------------------------------------------------

    ordering: bool = True
    """By range of the deadline, then most cache held, then longest first (stated that SLOs and most cache count; the
    three keys are recalled). Off: by arrival."""
    deadline_range: NotNegative = 1.0
    """Seconds (inferred). A deadline is that of the next token or of the end, whichever is first; the paper's SLOs are
    of the end only, as recalled."""
    no_slo: NotNegative = 60.0
    """Seconds after its arrival that stand for the deadline of a request without one, against starvation (inferred)."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).catch_up().schedule(server)

    def bind(self, server: Server) -> TwoQueues:
        from sim.schedulers.econoserve.queues import TwoQueues

        return TwoQueues(self, server)
