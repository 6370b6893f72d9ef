"""A scenario: everything that decides what a comparison prints, checked before anything runs.

>>> scenario = Scenario(trace={"source": "paper_mix", "requests": 100, "rate": 2.0}, policies=["vllm", "sarathi,chunk_size=256"])
>>> [policy.spec for policy in scenario.policies]
['vllm', 'sarathi,chunk_size=256']
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from experiments.named import PolicyName, check_policy, check_predictor, split_spec

GENERATED = ("paper_mix", "alpaca", "sharegpt", "bookcorpus")
"""Sources of requests that are no files."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A table of the configuration: what it does not know is an error, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TraceSettings(Settings):
    """Which requests come, and when."""

    source: str = "paper_mix"
    """paper_mix, one of its applications (alpaca, sharegpt, bookcorpus), or the path of a trace file or folder."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """How many; of a file: its first ones. None: the paper's number, or the whole file."""
    rate: Positive | None = None
    """Requests per second. None: the paper's, or as recorded."""
    arrivals: Literal["auto", "poisson", "gamma", "constant", "burst", "replay"] = "auto"
    """auto: Poisson; of a file that says when its requests came, those arrivals, stretched to `rate` if one is given."""
    burstiness: Positive = 1.0
    """Of gamma arrivals: 1 is Poisson, less is burstier."""
    rescale: bool = False
    """Stretches arrivals to exactly requests / rate seconds, as vLLM's benchmark does."""
    seed: int = 0
    format: str | None = None
    """Format of a file (`slosim list formats`); None: found out from its name and contents."""
    reader: dict[str, Any] = {}
    """Further options of the format's reader."""
    application: str | None = None
    """A label for all requests of a file."""
    sources: dict[str, str] = {}
    """Applications of the mix with other lengths: a name of `traces.lengths_names()`, or a trace file to draw from."""
    bookcorpus_share: Share = 0.35
    fitted: bool = False
    """Lengths from fitted distributions rather than from measured quantiles."""
    stratified: bool = False
    """Lengths spread evenly, which lowers the noise between seeds."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def generated(self) -> bool:
        """Whether no file is needed."""
        return self.source in GENERATED

    @model_validator(mode="after")
    def _together(self) -> TraceSettings:
        only_generated = {"sources", "bookcorpus_share", "fitted", "stratified"} & self.model_fields_set
        if not self.generated and only_generated:
            raise ValueError(f"{min(only_generated)} is of generated traces; {self.source!r} is taken as a file")
        if self.generated and (self.format or self.reader):
            raise ValueError(f"format and reader are of files; {self.source} is generated")
        if self.generated and self.arrivals == "replay":
            raise ValueError(
                f"{self.source} has no recorded arrivals to replay: choose poisson, gamma, constant or burst"
            )
        return self


class ObjectiveSettings(Settings):
    """What is promised to requests, in seconds."""

    rule: Literal["paper", "jct", "fixed", "none"] = "paper"
    """paper: TTFT by prompt length, TBT by reading speed (`traces.Interactive`); jct: a completion time
    (`traces.JobCompletion`); fixed: the numbers below."""
    ttft: Positive | None = None
    tbt: Positive | None = None
    jct: Positive | None = None
    jct_scale: Positive = 2.0
    """Of rule jct: times the request's time alone."""

    @model_validator(mode="after")
    def _numbers_go_with_fixed(self) -> ObjectiveSettings:
        given = [name for name in ("ttft", "tbt", "jct") if getattr(self, name) is not None]
        if given and self.rule != "fixed":
            raise ValueError(f"{given[0]} is of rule 'fixed', but the rule is {self.rule!r}")
        if self.rule == "fixed" and not given:
            raise ValueError("rule 'fixed' needs at least one of ttft, tbt, jct (seconds)")
        return self


class SLOSettings(ObjectiveSettings):
    """What is promised to all requests, and the exceptions."""

    keep: bool | None = None
    """Keep the objectives that a trace file brings; None: if it brings any and no rule is given."""
    per_application: dict[str, ObjectiveSettings] = {}
    scale: Positive = 1.0
    """All objectives times this."""
    bucket_mean: Literal["range", "trace"] = "range"
    """What the mean prefill latency of a prompt's 512-token bucket is taken over (`traces.assign_slos`)."""
    seed: int | None = None
    """None: the trace's."""


class CacheSettings(Settings):
    """How large the key-value cache of a replica is; one of the three sizes at most."""

    kvc_bytes: Positive | None = None
    memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the GPU's memory that the engine may take, weights included."""
    kv_blocks: Annotated[int, Field(ge=1)] | None = None
    block_size: Annotated[int, Field(ge=1)] = 32
    """Tokens per block (32: the paper's; vLLM's own default is 16)."""

    @model_validator(mode="after")
    def _one_size(self) -> CacheSettings:
        given = [name for name in ("kvc_bytes", "memory_utilization", "kv_blocks") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two sizes for one cache: keep one")
        return self


class PolicySettings(Settings):
    """A policy by name (or module:Class), its parameters, and what it is called in tables."""

    name: PolicyName
    parameters: dict[str, Any] = {}
    label: str = ""

    @property
    def spec(self) -> str:
        """As the registry takes it: ``name,key=value,...``."""
        return ",".join([self.name, *(f"{key}={value}" for key, value in self.parameters.items())])

    @property
    def title(self) -> str:
        """What it is called in tables and folders."""
        return self.label or self.spec

    @model_validator(mode="after")
    def _exists(self) -> PolicySettings:
        check_policy(self.spec)
        return self


Policy = Annotated[PolicySettings, BeforeValidator(split_spec)]
Predictor = Annotated[str, BeforeValidator(check_predictor)]


class Scenario(Settings):
    """One experiment: a trace, its objectives, a machine, and the policies to compare on it."""

    trace: TraceSettings = TraceSettings()
    slos: SLOSettings = SLOSettings()
    profile: str = "opt-13b@a100-80gb-vllm"
    model: str | None = None
    """If given, the profile must be of this model."""
    cache: CacheSettings = CacheSettings()
    policies: tuple[Policy, ...] = tuple(
        PolicySettings(name=name) for name in ("vllm", "sarathi", "accelgen", "oracle")
    )
    predictor: Predictor | None = None
    """What policies learn of output lengths; None: what each policy asks for (only Oracle asks, for the truth)."""
    replicas: Annotated[int, Field(ge=1)] = 1
    horizon: Positive | None = None
    """Seconds after which the simulation stops; None: when all requests are done."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the arrivals' time that metrics leave out."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Replications, with the trace's seed and those after it; all policies see the same ones."""
    rates: tuple[Positive, ...] = ()
    """Arrival rates to compare at, with tables, pictures and files; empty: the trace's own."""
    sweep: tuple[Positive, ...] = ()
    """Further arrival rates for the picture of metrics against load."""

    @model_validator(mode="after")
    def _policies_can_be_told_apart(self) -> Scenario:
        if not self.policies:
            raise ValueError("policies: name at least one")
        titles = [policy.title for policy in self.policies]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice:
            raise ValueError(f"two policies are called {twice!r}: give one a label of its own")
        return self

    def __hash__(self) -> int:
        return hash(self.canonical())

    def canonical(self) -> str:
        """The scenario as JSON, the same text for the same scenario."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """The sha256 (hex) of `canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def at(self, rate: float | None, seed: int | None = None) -> Scenario:
        """The same at one arrival rate (None: the trace's own) and seed."""
        trace = self.trace.model_copy(
            update={"rate": rate or self.trace.rate, "seed": self.trace.seed if seed is None else seed}
        )
        return self.model_copy(update={"trace": trace, "rates": (), "sweep": (), "seeds": 1})
