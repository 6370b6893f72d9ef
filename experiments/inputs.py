"""From a scenario to what `simulate` takes, and through it to a result."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from costmodel import MODELS, Profile, profile
from experiments.named import check_policy
from experiments.scenario import PolicySettings, Scenario
from experiments.workload_settings import ObjectiveSettings, SLOSettings, TraceSettings
from sim.parameters import meant, shown
from sim.predictor import Predictor
from sim.registry import predictor
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.simulation import Progress, simulate
from traces import (
    Arrivals,
    Burst,
    Constant,
    Gamma,
    Interactive,
    JobCompletion,
    Lengths,
    Observed,
    Poisson,
    Promised,
    Replay,
    SLORule,
    Trace,
    assign_slos,
    lengths_names,
    load,
    paper_mix,
    workload,
)
from traces.errors import SlosimError
from traces.paper import PAPER_RATES

MIX_RATE = 8.0
"""Requests per second of the paper's mixed workload (stated)."""


class Inputs(NamedTuple):
    """What a scenario comes to."""

    trace: Trace
    profile: Profile
    kv_blocks: int
    block_size: int
    predictor: Predictor | None


def build(scenario: Scenario) -> Inputs:
    """Makes or reads everything that the scenario names; raises SlosimError for what does not exist or fit."""
    found = the_profile(scenario)
    trace = with_objectives(the_trace(scenario.trace), scenario.slos, found, scenario.trace.seed)
    cache = found.cache(**scenario.cache.model_dump())
    told = None if scenario.predictor is None else predictor(scenario.predictor)
    return Inputs(trace, found, cache.kv_blocks, cache.block_size, told)


def run(
    scenario: Scenario,
    policy: PolicySettings | Scheduler | str,
    inputs: Inputs | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Serves the scenario's trace with one policy."""
    trace, found, blocks, block_size, told = inputs or build(scenario)
    return simulate(
        trace,
        check_policy(policy.spec if isinstance(policy, PolicySettings) else policy),
        found,
        kv_blocks=blocks,
        block_size=block_size,
        predictor=told,
        seed=scenario.trace.seed,
        replicas=scenario.replicas,
        router=scenario.router,
        max_model_len=scenario.max_model_len,
        horizon=scenario.horizon,
        warmup=scenario.warmup,
        progress=progress,
    )


def the_profile(scenario: Scenario) -> Profile:
    """The profile, of the model that was asked for."""
    found = profile(scenario.profile)
    model = found.model.name if found.model else "a model that it does not name"
    if scenario.model is not None and scenario.model.lower() != model:
        if scenario.model.lower() not in MODELS:
            raise SlosimError(f"there is no model {shown(scenario.model)}; {meant(scenario.model, MODELS)}")
        raise SlosimError(
            f"profile {found.name} is of {model}, not of {scenario.model}: choose another profile or model"
        )
    return found


def the_trace(settings: TraceSettings) -> Trace:
    """The requests, without the objectives of the scenario."""
    return _generated(settings) if settings.generated else _recorded(settings)


def the_rate(settings: TraceSettings) -> float:
    """Requests per second of a generated workload: as said, else the paper's."""
    return settings.rate or (MIX_RATE if settings.source == "paper_mix" else PAPER_RATES[settings.source])


def _generated(settings: TraceSettings) -> Trace:
    rate = the_rate(settings)
    arrivals = _arrivals(settings, rate)
    if settings.source == "paper_mix":
        return paper_mix(
            settings.requests or 20_000,
            rate,
            settings.seed,
            settings.bookcorpus_share,
            fitted=settings.fitted,
            stratified=settings.stratified,
            sources={label: _lengths(source, settings.seed) for label, source in settings.sources.items()},
            arrivals=arrivals,
            max_prompt_tokens=settings.max_prompt_tokens,
        )
    return workload(
        settings.source,
        settings.requests,
        rate,
        settings.seed,
        fitted=settings.fitted,
        stratified=settings.stratified,
        source=_lengths(settings.sources[settings.source], settings.seed)
        if settings.source in settings.sources
        else None,
        arrivals=arrivals,
        max_prompt_tokens=settings.max_prompt_tokens,
    )


def _lengths(source: str, seed: int) -> Lengths | str:
    """A name of known lengths, or a trace file to draw from."""
    if source in lengths_names() or not Path(source).exists():
        return source
    return Observed(load(source))


def _recorded(settings: TraceSettings) -> Trace:
    trace = load(settings.source, settings.format, application=settings.application, **settings.reader)
    if settings.requests is not None:
        trace = trace.head(settings.requests)
    if settings.max_prompt_tokens is not None:
        trace = trace.clipped(prompt_tokens=settings.max_prompt_tokens)
    if not len(trace):
        raise SlosimError(f"{settings.source}: no request is left to serve")
    timed = bool(trace.arrived_at[-1] > trace.arrived_at[0])
    if settings.arrivals in ("auto", "replay") and (timed or settings.arrivals == "replay" or settings.rate is None):
        return trace if settings.rate is None else trace.with_arrivals(Replay(trace.arrived_at, settings.rate))
    if settings.rate is None and settings.arrivals != "burst":
        raise SlosimError(f"{settings.arrivals} arrivals need a rate (requests/s): set trace.rate")
    return trace.with_arrivals(_arrivals(settings, settings.rate or 1.0), settings.seed)


def _arrivals(settings: TraceSettings, rate: float) -> Arrivals:
    if settings.arrivals == "constant":
        return Constant(rate)
    if settings.arrivals == "burst":
        return Burst()
    if settings.arrivals == "gamma":
        return Gamma(rate, settings.burstiness, settings.rescale)
    return Poisson(rate, settings.rescale)


def with_objectives(trace: Trace, settings: SLOSettings, found: Profile, seed: int) -> Trace:
    """The trace with the scenario's objectives, or with its own."""
    own = any(column is not None for column in (trace.ttft, trace.tbt, trace.jct))
    keep = settings.keep if settings.keep is not None else own and "rule" not in settings.model_fields_set
    if not keep:
        trace = assign_slos(
            trace,
            found.prefill_time,
            seed if settings.seed is None else settings.seed,
            rule=_rule(settings),
            per_application={label: _rule(each) for label, each in settings.per_application.items()},
            bucket_mean=settings.bucket_mean,
        )
    if settings.scale == 1.0:
        return trace
    columns = {name: getattr(trace, name) for name in ("ttft", "tbt", "jct")}
    return trace.with_slos(
        **{name: None if column is None else column * settings.scale for name, column in columns.items()}
    )


def _rule(settings: ObjectiveSettings) -> SLORule:
    if settings.rule == "paper":
        return Interactive(tbt_mix=settings.tbt_mix)
    if settings.rule == "jct":
        return JobCompletion(settings.jct_scale)
    return Promised(settings.ttft or np.inf, settings.tbt or np.inf, settings.jct or np.inf)
