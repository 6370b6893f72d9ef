"""From a scenario to what `simulate` takes, and through it to a result."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from costmodel import MODELS, Profile, profile
from experiments.named import check_policy
from experiments.scenario import PolicySettings, Scenario
from experiments.workload_settings import ObjectiveSettings, SLOSettings, TraceSettings
from sim.limits import untold
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
    Reading,
    Replay,
    SLORule,
    Trace,
    assign_slos,
    lengths_names,
    load,
    paper_mix,
    workload,
)
from traces.errors import SlosimError, TraceWarning
from traces.paper import PAPER_RATES, PAPER_REQUESTS

_PLACES = ("source", "format")
_ASKED_OF_FILES = {
    *_PLACES,
    *("application", "columns", "time_unit", "keep_start", "start", "end", "requests", "reader"),
}
MIX_REQUESTS = 20_000
"""Requests of the paper's mixed workload unless said."""
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
    """Serves the scenario's trace with one policy; its cautions are in the result, for the command to print."""
    trace, found, blocks, block_size, told = inputs or build(scenario)
    with untold():
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


def requests_meant(settings: TraceSettings) -> int:
    """Requests of a generated workload: as many as said, else the paper's number."""
    return settings.requests or {"paper_mix": MIX_REQUESTS, **PAPER_REQUESTS}[settings.source]


def the_rate(settings: TraceSettings) -> float:
    """Requests per second of a generated workload: as said, else the paper's."""
    return settings.rate or (MIX_RATE if settings.source == "paper_mix" else PAPER_RATES[settings.source])


def _generated(settings: TraceSettings) -> Trace:
    rate = the_rate(settings)
    arrivals = _arrivals(settings, rate)
    if settings.source == "paper_mix":
        return paper_mix(
            requests_meant(settings),
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
    if not _is_file_of_lengths(source):
        return source
    return Observed(loaded(TraceSettings(source=source)))


def _is_file_of_lengths(source: str) -> bool:
    return source not in lengths_names() and Path(source).exists()


def loaded(settings: TraceSettings) -> Trace:
    """The requests of a trace file as it has them; a file that does not change is read once by a process."""
    asked = settings.model_dump_json(include=_ASKED_OF_FILES)
    return _loaded(asked, tuple(_states(Path(settings.source))))


def readings(settings: TraceSettings) -> list[Reading]:
    """What was read of the files that a workload comes from."""
    files = [TraceSettings(source=source) for source in settings.sources.values() if _is_file_of_lengths(source)]
    if not settings.generated:
        files.append(settings)
    return [trace.reading for trace in map(loaded, files) if trace.reading is not None]


def load_in_words(settings: TraceSettings, rate: float | None) -> str:
    """A load as tables have it; "as recorded" only of files that record arrivals."""
    if rate is not None:
        return f"{rate:g} requests/s"
    try:
        with quiet_reading():
            recorded = settings.generated or all(reading.time_unit is not None for reading in readings(settings))
    except SlosimError:  # the file is gone or was changed since its runs
        recorded = True
    return "arrivals as recorded" if recorded else "all at once: the file records no arrivals"


@contextmanager
def quiet_reading() -> Iterator[None]:
    """Suppresses `TraceWarning`: for commands that print `readings` themselves, and for workers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        yield


@lru_cache(maxsize=4)
def _loaded(asked: str, states: tuple[tuple[str, int, int], ...]) -> Trace:
    told = json.loads(asked)
    own = told.pop("reader")
    given = {name: value for name, value in told.items() if name not in _PLACES and value not in (None, {}, False)}
    return load(told["source"], told["format"], **given, **own)


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    """Path, modification time and size of a file, or of each file in a folder: a change means other contents."""
    for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if each.is_file():
            state = each.stat()
            yield str(each), state.st_size, state.st_mtime_ns


def _recorded(settings: TraceSettings) -> Trace:
    trace = loaded(settings)
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
    keep = settings.keep if settings.keep is not None else own
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
