"""The policy: AccelGen's switches and parameters, what is stated of each and what is inferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sim.batch import Batch
from sim.parameters import Count, NotNegative, PartShare, Positive
from sim.scheduler import Scheduler
from sim.schedulers.accelgen.budget import Members
from sim.schedulers.accelgen.chunking import Chunking
from sim.schedulers.accelgen.slack import Completion, Execution, Longest
from sim.schedulers.accelgen.urgent import Victim

if TYPE_CHECKING:
    from sim.schedulers.accelgen.bound import BoundAccelGen
    from sim.server import Server


@dataclass(frozen=True)
class AccelGen(Scheduler):
    """SLO-guaranteed dynamic chunking, iteration-level SLO priorities and multi-resource-aware batching.

    Its components are switches, for ablation. What the paper leaves open is a parameter, marked inferred; what it
    leaves to future work is one marked option. docs/accelgen.md has what each of them changes.
    """

    # -- SLO-guaranteed dynamic chunking (section 4.2) ----------------------------------------------------------------

    dynamic_chunking: bool = True
    """Off: a static budget of ``static_chunk`` tokens."""
    static_chunk: Count = 512
    token_budget: Literal["eq6", "inverse"] = "eq6"
    """Equation (6), as stated; or the calibrated model inverted, this project's own."""
    pivot: Literal["measured", "paper"] | Count = "measured"
    """S_pf: the profile's own, the paper's (768, 1280), or a number of tokens. T_pf is the profile's time for it."""
    largest_budget: Positive | None = None
    """The budget is at most so many S_pf; None: as much as the SLOs allow, for no cap is mentioned (inferred)."""
    members: Members = "batch"
    """Whose SLO the budget respects: those taken into the batch so far, or from the start all that might be, urgent or
    in the first window: what the paper does about the circle of members and budget is not known (inferred)."""
    chunking: Chunking = "fill"
    """How long a prompt's chunk is: all that budget and cache leave (stated); or (option) "time", what the calibrated
    model says ends in time, its own context counted; or "pace", no more than it needs to make its own deadline."""
    exclusive: bool = True
    """ERA: no new long prompt is started while one is unfinished (stated)."""
    long_prompts: Count = 1
    """How many long prompts may be unfinished under ERA (literally "exclusive"; the number is inferred)."""
    long_prompt: Count | None = None
    """Tokens beyond which a prompt is long; None: the pivot forward size (inferred)."""

    # -- iteration-level SLO priorities (section 4.3, Algorithm 1) ----------------------------------------------------

    slo_ordering: bool = True
    """Off: order of arrival, and nobody is urgent."""
    urgent: bool = True
    """Off: nobody is urgent: nobody gets a place by force, and nobody is preempted for another."""
    urgency: NotNegative = 1.0
    """Urgent is who has a remaining time of at most this many longest iterations (1: a review's reading; inferred)."""
    first: Literal["decodes", "remaining"] = "decodes"
    """Who is placed first among the urgent: decodes, which cannot be cut, or whoever has least time (inferred)."""
    overdue: Literal["late", "urgent", "last"] = "late"
    """A waiting request past its deadline: "late" keeps its place in the order, but its SLO is broken already, so it is
    not urgent and does not tighten the budget; "urgent" treats it like any other; "last" is late and also comes after
    all who can still be on time, if its first token is what is late (inferred)."""
    execution: Execution = "chunks"
    """T_e: chunks left, rounded up, times the longest iteration; or not rounded ("exact"), times the mean iteration
    ("mean"), or one longest iteration for everybody ("one") (the factors are stated, the form is inferred)."""
    completion: Completion = "deadline"
    """Iteration deadlines from a completion SLO: all of its slack at once ("deadline", this project's own); the slack
    spread over the iterations left ("spread", stated, by which a nearly finished job is the most deferrable of all); or
    the SLO's even share for every iteration since the arrival ("proportional", inferred). The default is the form that
    keeps most jobs within their SLO: docs/accelgen.md has the figures."""
    longest: Longest = "ever"
    """Which iteration is T_max, the longest: of all time ("ever", the literal reading, which one long prompt raises for
    good), of the latest ``recent`` iterations ("recent"), or what a full token budget takes by Equation (6) for the
    decodes that run ("budget": S_b T_pf / S_pf, their tightest SLO) (inferred: the paper says "maximum batch execution
    time")."""
    recent: Count = 100
    """Iterations over which the longest is taken if ``longest`` is "recent" (this project's own)."""
    default_output: Count = 256
    """Output tokens assumed before any request has finished, without a predictor (inferred)."""
    victim: Victim = "deferrable"
    """Who is preempted for the urgent: the largest remaining time (stated); or (option) the loosest SLO, the longest
    remaining output by the prediction, the largest cache, or the newest."""
    preemption: Literal["recompute", "pause"] = "recompute"
    """What the request that yields to an urgent one loses: its cache, to be computed anew (vLLM's preemption), or only
    its place in the batch ("pause": the cache is kept, so an urgent request starts only where the cache has room for
    it) (the paper says "preempt from the current batch"; inferred)."""
    victims: Literal["first", "head_of_line", "by_slack"] = "first"
    """Where a preempted request waits: before all others, in order of arrival ("first"); the same, and while the cache
    has no room for it only urgent requests start ("head_of_line": vLLM's rule to the letter); or by its remaining time
    like the others ("by_slack": the literal reading, by which it waits for all requests whose deadlines passed before
    that of its next token). The paper relies on vLLM's preemption and does not say where the preempted wait
    (inferred)."""
    overflow: Victim = "newest"
    """Who is preempted when the decodes outgrow the cache: vLLM's choice, on which the paper relies; or an option."""
    stalls: bool = True
    """Whether a decode that is not urgent waits while the cache has no block for it: what Algorithm 2 comes to; off:
    every decode counts as urgent, so that others yield to it, the newest at last: vLLM's rule (inferred)."""
    refresh: NotNegative = 0.1
    """The order is refreshed when mean chunk or longest iteration moved by this share (inferred: the paper refreshes it
    on arrivals and when parts of long prompts were batched)."""

    # -- multi-resource-aware batching (section 4.4, Algorithm 2) -----------------------------------------------------

    multi_resource: bool = True
    """Off: in queue order rather than by distance."""
    gamma: NotNegative = 0.75
    """Seconds of remaining time within which requests count as alike (stated)."""
    normalized: bool = False
    """Whether the distance takes tokens and blocks as shares of what is available (the paper's, it seems, does not)."""
    admission: Literal["prompt", "chunk", "output"] = "prompt"
    """What must fit the cache for a newcomer to start: all of its prompt, as vLLM's block manager demands on which the
    paper builds, or only a chunk: the letter of Algorithm 2, which drops and recomputes many half-done prompts when the
    cache is full (inferred; the chunk itself is cut to the smaller of compute and cache either way, as stated); or
    (option) the predicted outputs as well, its own and those of all that run, until each ends."""
    watermark: PartShare = 0.01
    """Share of the blocks that admissions leave free: vLLM's, on whose block manager the paper builds (inferred)."""
    after_preemption: bool = False
    """Whether newcomers start in a step that preempted (vLLM's rule is no; inferred)."""
    candidates: Count = 32
    """Waiting requests considered for one batch, in order of remaining time, of those past their deadline and of the
    others each (this project's own bound)."""
    audit: bool = False
    """Whether every selection by distance is written down: the result's `notes` (see ``Selections``)."""

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).schedule(server)

    def bind(self, server: Server) -> BoundAccelGen:
        from sim.schedulers.accelgen.bound import BoundAccelGen

        return BoundAccelGen(self, server)
