"""A scenario: everything that decides what a comparison prints, checked before anything runs.

>>> scenario = Scenario(trace={"requests": 100, "rate": 2.0}, policies=["vllm", "sarathi,chunk_size=256"])
>>> [policy.spec for policy in scenario.policies]
['vllm', 'sarathi,chunk_size=256']
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from costmodel.profile import BLOCK_SIZE
from experiments.escaping import literally
from experiments.named import PolicyName, check_predictor, check_router, split_spec
from experiments.workload_settings import Positive, Rate, Settings, SLOSettings, TraceSettings
from sim.parameters import plain, shown, written
from sim.registry import scheduler


class CacheSettings(Settings):
    """How large the key-value cache of a replica is; one of the three sizes at most, `Profile.cache` without one."""

    kvc_bytes: Annotated[float, Field(gt=0, le=1e15)] | None = None
    memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the GPU's memory that the engine may take, weights included."""
    kv_blocks: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    block_size: Annotated[int, Field(ge=1, le=10**6)] = BLOCK_SIZE
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
    parameters: dict[str, Any] = Field(default={})
    label: str = ""

    @property
    def spec(self) -> str:
        """As the registry takes it: ``name,key=value,...``."""
        return written(self.name, self.parameters)

    @property
    def title(self) -> str:
        """What it is called in tables and folders."""
        return self.label or self.spec

    @field_validator("parameters")
    @classmethod
    def _data(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        """Tuples are lists, as in files, so that equal policies are equal scenarios."""
        return {key: plain(value) for key, value in parameters.items()}

    @model_validator(mode="after")
    def _exists(self) -> PolicySettings:
        scheduler(self.name, self.parameters)
        return self


Policy = Annotated[PolicySettings, BeforeValidator(split_spec)]
Predictor = Annotated[str, BeforeValidator(check_predictor)]
Router = Annotated[str, BeforeValidator(check_router)]


class Scenario(Settings):
    """One experiment: a trace, its objectives, a machine, and the policies to compare on it."""

    trace: TraceSettings = TraceSettings()
    slos: SLOSettings = SLOSettings()
    profile: str = "opt-13b@a100-80gb-vllm"
    model: str | None = None
    """If given, the profile must be of this model."""
    cache: CacheSettings = CacheSettings()
    policies: tuple[Policy, ...] = tuple(
        PolicySettings(name=name) for name in ("vllm", "orca", "fastgen", "sarathi", "accelgen", "punctual", "oracle")
    )
    predictor: Predictor | None = None
    """What policies learn of output lengths; None: what each policy asks for (only Oracle asks, for the truth)."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    router: Router = "round_robin"
    """Which replica serves a request: round_robin, least_loaded, shortest_queue, or module:Class (`sim.router`)."""
    max_model_len: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Requests with more tokens, prompt and output, are rejected; None: none is, whatever positions the model has."""
    horizon: Positive | None = None
    """Seconds after which the simulation stops; None: when all requests are done."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the arrivals' time that metrics leave out."""
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Replications, with the trace's seed and those after it; all policies see the same ones."""
    rates: tuple[Rate, ...] = ()
    """Arrival rates to compare at, with tables, pictures and files; empty: the trace's own."""
    sweep: tuple[Rate, ...] = ()
    """Further arrival rates for the picture of metrics against load."""

    @model_validator(mode="after")
    def _policies_can_be_told_apart(self) -> Scenario:
        if not self.policies:
            raise ValueError("policies: name at least one")
        titles = [literally(policy.title) for policy in self.policies]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice:
            raise ValueError(f"two policies are called {shown(twice)}: give one a label of its own")
        return self

    @model_validator(mode="after")
    def _each_load_once(self) -> Scenario:
        for name in ("rates", "sweep"):
            listed = getattr(self, name)
            twice = next((rate for rate in listed if listed.count(rate) > 1), None)
            if twice is not None:
                raise ValueError(f"{name}: {twice:g} is listed twice: keep one")
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
