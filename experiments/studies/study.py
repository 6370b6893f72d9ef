"""A study: one question, the variants and loads that it takes, and what of the answer the numbers say themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.scenario import Scenario
from experiments.sweeps.plan import Point

if TYPE_CHECKING:
    from experiments.studies.findings import Findings

SETTING = "setting"
"""What the runs of a study vary besides policy, load and seed."""


class Variant(NamedTuple):
    """A policy, with what it is told of output lengths."""

    policy: str
    """name,key=value,..."""
    what: str = ""
    """What it stands for, in words; empty: the policy says it."""
    predictor: str | None = None

    @property
    def title(self) -> str:
        """What it is called in tables and files."""
        return self.policy if self.predictor is None else f"{self.policy} +{self.predictor}"


class Setting(NamedTuple):
    """A machine and its workload."""

    name: str
    what: str
    overrides: dict[str, Any]
    """Settings of the scenario."""
    rates: tuple[float, ...]
    """Requests per second, from idle to overload."""


SMALL = Setting(
    "12GB", "OPT-13B on one A100, the paper's 12 GB cache: the cache binds", {}, (0.1, 0.3, 0.5, 0.6, 0.8, 2, 8)
)
LARGE = Setting(
    "49GB",
    "the same with all of the GPU's memory, a cache of 49 GB: compute binds first",
    {"cache": {"memory_utilization": 0.9}},
    (0.5, 0.8, 1, 2, 8),
)
BIG = Setting(
    "176B",
    "BLOOM-176B for OPT-175B on eight A100, the paper's cache of 270 GiB",
    {"profile": "bloom-176b@a100-80gb-tp8", "cache": {"kvc_bytes": 270 * 2**30}},
    (0.3, 0.6, 0.9, 2, 8),
)
WHOLE_RANGE = (SMALL, LARGE, BIG)
COARSE = (
    SMALL._replace(rates=(0.3, 0.6, 0.8, 2, 8)),
    LARGE._replace(rates=(1, 2)),
    BIG._replace(rates=(0.6, 2)),
)
"""Fewer loads: light, just below and just above what the machine serves, and overload."""
HEADLINES = ("goodput", "request_goodput", "slo_attainment_tokens", "slo_attainment_requests")
"""What a better scheduler must not lose, and of which it must gain the first or the second."""


@dataclass(frozen=True)
class Study:
    """What is asked, and the grid of runs that answers: every variant in every setting, at every load, with every seed.

    The first variant is the baseline; all see the same requests under one seed (common random numbers).
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    verdict: Callable[[Findings], str]
    """A paragraph computed from the numbers."""
    settings: tuple[Setting, ...] = COARSE
    requests: int = 500
    seeds: int = 5
    first_seed: int = 0
    metrics: tuple[str, ...] = (*HEADLINES, "mean_jct")

    @property
    def baseline(self) -> Variant:
        """What the others are compared with."""
        return self.variants[0]

    def quick(self) -> Study:
        """Hardly any work: shows that it runs."""
        settings = tuple(setting._replace(rates=setting.rates[-2:]) for setting in self.settings[:1])
        return replace(self, settings=settings, requests=40, seeds=2)

    def points(self) -> Iterator[Point]:
        """All runs; those that several studies share are kept once."""
        for setting in self.settings:
            scenarios = [self._scenario(setting, variant) for variant in self.variants]
            for rate in sorted(setting.rates, reverse=True):
                for seed in range(self.first_seed, self.first_seed + self.seeds):
                    for scenario in scenarios:
                        yield Point(scenario.at(rate, seed), ((SETTING, setting.name),))

    def _scenario(self, setting: Setting, variant: Variant) -> Scenario:
        from experiments.named import split_spec

        policy = {**split_spec(variant.policy), "label": variant.title}
        trace = {"requests": self.requests, **setting.overrides.get("trace", {})}
        return Scenario(**{**setting.overrides, "trace": trace, "policies": [policy], "predictor": variant.predictor})
