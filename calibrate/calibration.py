"""The whole job: make a model, measure the grid on a device, fit a profile, write points, profile and report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calibrate.backend import attention_for, runner_for
from calibrate.copies import measure_copies
from calibrate.device import TYPES, checked, described, free_memory, gpu_number, known_gpu, memory_told
from calibrate.grid import Case, Limits, grid
from calibrate.journal import Journal
from calibrate.measure import PASSES, Meter, Progress, Repeats, measure
from calibrate.measurements import Measurements
from calibrate.memory import fitted
from calibrate.model import Decoder
from calibrate.opt import Config, config, config_of
from calibrate.profiling import Calibration, calibrated, profile_name
from calibrate.timing import Clocks, stopwatch
from traces.errors import SlosimError

BLOCK_SIZE = 16
CPU_CACHE = 16_384
"""Tokens of a CPU's cache unless it is said: others use its memory, too."""
COPYING = 0.25
"""Share of the minutes after which copies make way for the grid."""
FITTING = 20.0
"""Seconds of the minutes, but no more than half, that are left for the fit and the report (inferred)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure, on what, for how long at most, and where the results go."""

    model: str = "opt-13b"
    """An OPT size by name, or the folder of a checkpoint, whose weights are then used."""
    device: str = "cuda"
    dtype: str = ""
    """bfloat16 on a GPU and float32 on a CPU unless it is said."""
    shards: int = 1
    minutes: float = 8.0
    limits: Limits = Limits(cache=0)  # noqa: RUF009  (frozen)
    """A cache of nought tokens is as large as a GPU's memory allows, and of a modest size on a CPU."""
    repeats: Repeats = Repeats()  # noqa: RUF009  (a tuple)
    output: Path = Path("calibration")
    by: str = "not stated"
    licence: str = "not stated"
    seed: int = 0
    resamples: int = 100
    """Refits to points drawn again, for the intervals and the profile's draws."""
    memory: int | None = None
    """Bytes to use in place of what is free."""


Told = Callable[[str, Progress], None]


def calibrate(settings: Settings, told: Told = lambda *_: None) -> Calibration:
    """Measures what is still missing in the output folder, fits, and writes; see `Settings`.

    Finished measurements are kept as they come: after an interrupt, or when the minutes are over, the same settings go
    on where it stopped. Raises SlosimError for a device, model or grid that cannot be, before anything is measured, for
    a GPU whose memory does not do, and where what is measured is too little for a fit.
    """
    begin, seconds = time.monotonic(), 60 * settings.minutes

    def step(what: str, done: int, total: int) -> None:
        told(what, Progress(done, total, float("nan")))

    step("model and cache", 0, 1)
    meter, limits, about = prepared(settings)
    step("model and cache", 1, 1)
    journal = Journal(settings.output / "points.jsonl", about).open()
    cases = grid(limits, BLOCK_SIZE, settings.seed)
    with memory_told(settings.device, limits.cache):
        measure_copies(
            meter,
            limits,
            journal,
            until=begin + seconds * COPYING,
            told=lambda done, total: step("copies", done, total),
        )
        measure(
            meter,
            cases,
            journal,
            until=begin + max(seconds - FITTING, seconds / 2),
            told=lambda progress: told("batches", progress),
            seed=settings.seed,
        )
    step("fit and report", 0, 1)
    made = concluded(settings, journal, meter.decoder.config, cases)
    step("fit and report", 1, 1)
    return made


def concluded(settings: Settings, journal: Journal, shape: Config, cases: list[Case]) -> Calibration:
    """Fits what the journal holds and writes points, profile and report into the output folder."""
    from calibrate.report import write_report

    measurements = Measurements(journal.rows, {**journal.about, "rows_planned": PASSES * len(cases)})
    measurements.save(settings.output / "points.parquet")
    made = calibrated(
        measurements,
        shape.facts,
        by=settings.by,
        licence=settings.licence,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    made.profile.save(settings.output / f"{profile_name(journal.about)}.json")
    write_report(made, settings.output / "report.pdf")
    return made


def prepared(settings: Settings) -> tuple[Meter, Limits, dict[str, Any]]:
    """The model on its device, ready to be timed, the limits that fit, and what is measured in words."""
    device, (shape, folder) = checked(settings.device), _shape(settings)
    dtype = settings.dtype or ("bfloat16" if device.startswith("cuda") else "float32")
    if dtype not in TYPES:
        raise SlosimError(f"there is no number type {dtype!r}: choose from {', '.join(TYPES)}")
    memory = settings.memory or free_memory(device)
    most = 2**40 if device.startswith("cuda") else CPU_CACHE
    wanted = replace(settings.limits, cache=settings.limits.cache or most)
    limits = fitted(shape, wanted, TYPES[dtype].itemsize, memory)
    watch = stopwatch(device)
    with memory_told(device, limits.cache):
        decoder = _decoder(shape, folder, device, TYPES[dtype], limits.context)
        blocks = limits.cache // BLOCK_SIZE + 1  # one more for the padding of recorded decodes
        cache = decoder.cache(blocks, BLOCK_SIZE)
        cache.numbers.normal_()
        runner = runner_for(decoder, cache)
    meter = Meter(decoder, cache, runner, watch, Clocks(gpu_number(device)), settings.repeats)
    return meter, limits, _about(settings, decoder, dtype, folder)


def _decoder(shape: Config, folder: Path | None, device: str, dtype: torch.dtype, positions: int) -> Decoder:
    attention = attention_for(shape, device, dtype, BLOCK_SIZE)
    if folder is None:
        return Decoder.random(shape, device, dtype, positions=positions, attention=attention)
    shards = {"shards": shape.shards, "shard": shape.shard}
    return Decoder.loaded(folder, device, dtype, positions=positions, attention=attention, **shards)


def _shape(settings: Settings) -> tuple[Config, Path | None]:
    folder = Path(settings.model)
    if folder.is_dir():
        return config_of(folder, settings.shards), folder
    return config(settings.model, settings.shards), None


def _about(settings: Settings, decoder: Decoder, dtype: str, folder: Path | None) -> dict[str, Any]:
    told = described(settings.device)
    return {
        "model": decoder.config.name,
        "dtype": dtype,
        "weights": "a checkpoint's" if folder else "random",
        "shards": decoder.config.shards,
        **told,
        "gpu": known_gpu(told["device"]),
        "attention": decoder.attention.name,
        "block_size": BLOCK_SIZE,
    }
