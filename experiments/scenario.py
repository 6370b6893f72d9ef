"""A scenario: everything that decides what a comparison prints, checked before anything runs.

>>> scenario = Scenario(trace={"requests": 100, "rate": 2.0}, policies=["vllm", "sarathi,chunk_size=256"])
>>> [policy.spec for policy in scenario.policies]
['vllm', 'sarathi,chunk_size=256']
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from costmodel.profile import BLOCK_SIZE
from experiments.named import PolicyName, check_policy, check_predictor, split_spec
from experiments.workload_settings import Positive, Settings, SLOSettings, TraceSettings


class CacheSettings(Settings):
    """How large the key-value cache of a replica is; one of the three sizes at most, `Profile.cache` without one."""

    kvc_bytes: Positive | None = None
    memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the GPU's memory that the engine may take, weights included."""
    kv_blocks: Annotated[int, Field(ge=1)] | None = None
    block_size: Annotated[int, Field(ge=1)] = BLOCK_SIZE
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
        PolicySettings(name=name) for name in ("vllm", "orca", "fastgen", "sarathi", "accelgen", "punctual", "oracle")
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
