"""Calibrates a rig by the batches that schedulers make: recorded from simulations, computed for real, fitted.

The recorded steps are computed several times, in passes, and the mean of each counts, because the runs that are
predicted will be disturbed as often as passes are; how far the passes differ as a whole says how steady the machine is.
What is fitted is a step on the device. What the engine's loop adds is measured by serving requests that are not those
of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.engine import record, serve
from calibrate.fit import FitReport, fit_points
from calibrate.session import Piece, Step, random_prompts, replay
from costmodel import BatchShape, Calibrated, Profile
from costmodel.points import Points
from experiments.fidelity.rig import Rig
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from traces import Burst, Trace
from traces.errors import SlosimError

ANY_TIME = Calibrated(per_token=1e-4)
"""In a burst these schedulers decide the same at any speed, so that nothing need be known of the machine."""
COPIES = (64, 256, 1024)
"""Tokens that are moved to the host and back, to time it."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    crowds: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Requests of each burst."""
    chunks: tuple[int, ...] = (64, 256)
    """Budgets of the scheduler that cuts prompts; another one computes them whole."""
    output: int = 16
    """Tokens that each request generates at most."""
    passes: int = 3
    requests: int = 40
    """Whose lengths these are; as many are served to see what the loop adds."""
    resamples: int = 20
    """Refits for the intervals of the parameters."""


@dataclass(frozen=True)
class Calibration:
    """A profile of a rig, and what it was fitted to."""

    profile: Profile
    """Of the engine: `bare` and what the loop adds."""
    bare: Profile
    """Of steps on the device, as fitted."""
    report: FitReport | None = None
    """None of a profile that was given."""
    drift: float = float("nan")
    """The slowest pass over the quickest, less one."""

    def __str__(self) -> str:
        extra = self.profile.provenance["host_time"]["seconds"]
        loop = f"the engine's loop adds {1e3 * extra:.2f} ms to an iteration"
        if not self.report:
            return f"profile {self.bare.name}: {loop}"
        error = self.report.errors["all"]
        told = f"calibrated on {self.report.points} iterations: held-out error median {error.median:.1%}"
        return f"{told}, p95 {error.p95:.1%}; passes differ by {self.drift:.1%}; {loop}"


def calibrate(rig: Rig, requests: Trace, kv_blocks: int, block_size: int, effort: Effort) -> Calibration:
    """Measures, fits, and adds what the loop costs. `requests` gives the lengths; its arrivals play no part."""
    shapes, times = measured_steps(rig, requests, kv_blocks, block_size, effort)
    points = points_of(shapes, times.mean(axis=0))
    report = fit_points(points, resamples=effort.resamples)
    totals = times.sum(axis=1)
    drift = float(totals.max() / totals.min() - 1)
    told = {
        "measured_on": repr(rig),
        "what": f"{len(points)} iterations of this engine, each the mean of {effort.passes} passes",
        "by": "slosim fidelity",
        "licence": "not stated",
        "prior": False,
        "passes_differ_by": drift,
    }
    swap = swap_time(rig, kv_blocks * block_size)
    profile = report.profile(rig.facts.name, told, model=rig.facts, keep_draws=True, per_swapped_token=swap)
    served = loop(rig, requests, profile, kv_blocks, block_size)
    return Calibration(with_host_time(profile, served), profile, report, drift)


def adopt(rig: Rig, requests: Trace, profile: Profile, kv_blocks: int, block_size: int) -> Calibration:
    """Takes a profile that was measured before, such as by `slosim calibrate`, and adds only what the loop costs."""
    served = loop(rig, requests, profile, kv_blocks, block_size)
    return Calibration(with_host_time(profile, served), profile)


def measured_steps(
    rig: Rig, requests: Trace, kv_blocks: int, block_size: int, effort: Effort
) -> tuple[list[BatchShape], NDArray[np.float64]]:
    """Shapes of recorded steps, and the seconds of each in every pass [passes, steps]."""
    shapes: list[BatchShape] = []
    tasks = []
    for trace, policy in bursts(requests, effort):
        result, steps = record(trace, policy, ANY_TIME, kv_blocks=kv_blocks, block_size=block_size)
        shapes += shapes_of(result)
        tasks.append((steps, random_prompts(trace.prompt_tokens, rig.facts.vocabulary)))
    passes = [
        np.concatenate([replay(steps, rig.session(prompts), rig.seconds) for steps, prompts in tasks])
        for _ in range(effort.passes + 1)
    ]
    kept = [place for place, shape in enumerate(shapes) if shape.forward_size and not shape.swapped_tokens]
    return [shapes[place] for place in kept], np.array(passes[1:])[:, kept]  # the first pass warms up


def bursts(requests: Trace, effort: Effort) -> Iterator[tuple[Trace, Scheduler]]:
    """Crowds of every size, under schedulers that make batches of every kind."""
    at_once = requests.clipped(output_tokens=effort.output).with_slos().with_arrivals(Burst())
    begin = 0
    for crowd in effort.crowds:
        policies: list[Scheduler] = [Vllm(), *(Sarathi(chunk_size=chunk) for chunk in effort.chunks)]
        for policy in policies:
            yield at_once[np.arange(begin, begin + crowd) % len(at_once)], policy
            begin += crowd


def shapes_of(result: RunResult) -> list[BatchShape]:
    """The shape of every iteration of a run."""
    names = BatchShape._fields
    columns = (result.iterations[name].tolist() for name in names)
    return [BatchShape(*row) for row in zip(*columns, strict=True)]


def points_of(shapes: list[BatchShape], seconds: NDArray[np.float64]) -> Points:
    """Measured iterations as a fit takes them."""
    prefill, decodes, context, pairs, sequences, _ = np.array(shapes, np.float64).T
    return Points(prefill, sequences - decodes, pairs, decodes, context, seconds)


def swap_time(rig: Rig, cache_tokens: int) -> float:
    """Seconds per token moved between device and host, one way: the median of a few sizes."""
    found = []
    for tokens in (each for each in COPIES for _ in range(3) if each <= cache_tokens):
        pieces = [Piece(0, 0, tokens, False)]
        session = rig.session(random_prompts([tokens], rig.facts.vocabulary))
        times = replay([Step(pieces=pieces), Step(swapped_out=[0]), Step(swapped_in=[0])], session, rig.seconds)
        found.append(float(times[1:].sum()) / (2 * tokens))
    return float(np.median(found)) if found else 0.0


def loop(rig: Rig, requests: Trace, profile: Profile, kv_blocks: int, block_size: int) -> RunResult:
    """Some requests served for real at about half of what the device alone would serve, to see what the loop adds."""
    cut = requests.with_slos()
    alone = sum(map(profile.prefill_time, cut.prompt_tokens.tolist())) / len(cut)
    trace = cut.with_arrivals(np.arange(len(cut)) * 2 * alone)
    session = rig.session(random_prompts(trace.prompt_tokens, rig.facts.vocabulary))
    return serve(trace, Sarathi(), profile, session, kv_blocks=kv_blocks, block_size=block_size, clock=rig.clock())


def with_host_time(profile: Profile, served: RunResult) -> Profile:
    """The same with the time that iterations of a real run took beyond the device's share of them, on average."""
    model: Any = profile.cost_model
    if not isinstance(model, Calibrated):
        raise SlosimError(f"profile {profile.name}: only the calibrated form has a host time")
    number = len(served.iterations["end"])
    whole = float(np.sum(served.iterations["end"] - served.iterations["start"]))
    extra = max(0.0, (whole - served.about["device_seconds"]) / max(number, 1))
    host = {"seconds": extra, "evidence": f"mean over {number} iterations of the engine: the loop around the device"}
    return replace(
        profile,
        cost_model=replace(model, host_time=model.host_time + extra),
        provenance={**profile.provenance, "host_time": host},
    )
