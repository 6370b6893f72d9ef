"""The experiment: calibrate, simulate, serve for real, compare; open loop and closed loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from calibrate.engine import record, serve
from calibrate.session import random_prompts, replay
from costmodel import Profile
from experiments.console import Steps
from experiments.fidelity.calibrating import Calibration, Effort, adopt, calibrate, shapes_of
from experiments.fidelity.judging import Case, Summary, iteration_errors, request_errors
from experiments.fidelity.rig import Rig
from experiments.grid import folder_names
from experiments.inputs import the_trace, with_objectives
from experiments.named import check_policy
from experiments.pool import remove_drafts
from experiments.results import save
from experiments.scenario import Scenario
from sim.registry import predictor
from sim.result import RunResult
from sim.simulation import simulate
from traces import Burst, Trace
from traces.errors import SlosimError

CALIBRATION_SEED = 1000
"""Added to the seed for the requests that are calibrated with: none of them is compared."""
CROWD = 200
"""Requests of the burst whose predicted throughput is load 1."""
OPEN_LOOP = 1000
"""Iterations that are replayed at most, of each scheduler."""


class Place(NamedTuple):
    """One scheduler at one load."""

    load: float
    rate: float
    policy: str
    spec: str


@dataclass
class Fidelity:
    """The experiment at work. With `recalibrate` every round begins with a calibration and predicts anew.

    The workload is made once, with objectives by the first calibration. Policies learn of the machine what the latest
    one says.
    """

    scenario: Scenario
    """Requests, objectives, schedulers, and the size of the cache in blocks."""
    rig: Rig
    folder: Path
    out: Console
    loads: tuple[float, ...] = (0.7, 1.05)
    seconds: float = 60.0
    """How long requests come in every run."""
    rounds: int = 2
    recalibrate: bool = False
    max_output: int | None = None
    effort: Effort = field(default_factory=Effort)
    given: Profile | None = None
    """A profile of the device that was measured before; only the loop's time is added to it."""
    calibrations: list[Calibration] = field(default_factory=list)
    open_loop: dict[str, dict[str, float]] = field(default_factory=dict)
    predicted: dict[Place, list[RunResult]] = field(default_factory=dict)
    real: dict[Place, list[RunResult]] = field(default_factory=dict)
    _traces: dict[float, Trace] = field(default_factory=dict)

    def run(self) -> list[Case]:
        """Does everything; an interrupt leaves what is finished in files."""
        try:
            self._calibrate()
            places = list(self._places())
            self._replay_steps(places)
            self._serve_all(places)
        except KeyboardInterrupt:
            remove_drafts(self.folder)
            done = sum(map(len, self.real.values()))
            self.out.print(f"\nInterrupted. {done} real runs are finished and whole, in {self.folder}")
            raise
        return self.cases()

    def more(self, rounds: int) -> list[Case]:
        """Further rounds of the same; what is known then rests on all of them."""
        self._serve_all(list(self.real), rounds)
        return self.cases()

    def cases(self) -> list[Case]:
        """What is known so far, of what was served at least once."""
        return [
            Case(place.load, place.rate, place.policy, summaries(ours), summaries(theirs), request_errors(ours, theirs))
            for place, theirs in self.real.items()
            if (ours := self.predicted[place][: len(theirs)])
        ]

    @property
    def profile(self) -> Any:
        """The latest calibration's."""
        return self.calibrations[-1].profile

    # -- the parts ------------------------------------------------------------------------------------------------

    def _requests(self, number: int, rate: float, more_seed: int = 0) -> Trace:
        seed = self.scenario.trace.seed + more_seed
        settings = self.scenario.trace.model_copy(update={"requests": number, "rate": rate, "seed": seed})
        return the_trace(settings).clipped(output_tokens=self.max_output)

    def _calibrate(self) -> None:
        began = perf_counter()
        requests = self._requests(self.effort.requests, 1.0, CALIBRATION_SEED)
        size = (self._kv_blocks, self._block_size)
        if self.given:
            found = adopt(self.rig, requests, self.given, *size)
        else:
            found = calibrate(self.rig, requests, *size, self.effort)
        self.calibrations.append(found)
        number = len(self.calibrations)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"profile{'' if number == 1 else f'-{number}'}.json"
        found.profile.save(path)
        self.scenario = self.scenario.model_copy(update={"profile": str(path)})
        self.out.print(f"{found} ({perf_counter() - began:.0f} s)", markup=False)

    def _places(self) -> Iterator[Place]:
        """Every scheduler at every load; load 1 is what the first one is predicted to make of a burst."""
        first = self.scenario.policies[0].spec
        crowd = self._requests(CROWD, 1.0).with_arrivals(Burst())
        capacity = simulate(crowd, first, self.profile, **self._options).summary()["request_throughput"]
        for load in self.loads:
            rate = float(f"{load * capacity:.3g}")
            trace = self._requests(max(1, round(rate * self.seconds)), rate)
            trace = with_objectives(trace, self.scenario.slos, self.profile, self.scenario.trace.seed)
            self._traces[load] = trace
            for policy in self.scenario.policies:
                yield Place(load, rate, policy.title, policy.spec)

    @property
    def _kv_blocks(self) -> int:
        if self.scenario.cache.kv_blocks is None:
            raise SlosimError("the device's cache must have a size: give kv_blocks")
        return self.scenario.cache.kv_blocks

    @property
    def _block_size(self) -> int:
        return self.scenario.cache.block_size

    @property
    def _options(self) -> dict[str, Any]:
        """What the simulator and the real engine are told alike."""
        told = None if self.scenario.predictor is None else predictor(self.scenario.predictor)
        size = {"kv_blocks": self._kv_blocks, "block_size": self._block_size}
        return {**size, "predictor": told, "seed": self.scenario.trace.seed}

    def _replay_steps(self, places: list[Place]) -> None:
        """Open loop: the device computes just the batches that the simulator made, at the first load."""
        for place in (each for each in places if each.load == self.loads[0]):
            trace = self._traces[place.load]
            result, steps = record(trace, check_policy(place.spec), self.profile, **self._options)
            steps = steps[:OPEN_LOOP]
            measured = replay(steps, self._session(trace), self.rig.seconds)
            bare = self.calibrations[-1].bare.cost_model
            times = np.array([bare.iteration_time(shape) for shape in shapes_of(result)[: len(steps)]])
            self.open_loop[place.policy] = iteration_errors(times, measured)

    def _serve_all(self, places: list[Place], rounds: int | None = None) -> None:
        number = self.rounds if rounds is None else rounds
        began, total = perf_counter(), number * len(places)
        with Steps(self.out, "real engine", total) as steps:
            for _ in range(number):
                if self.recalibrate and self.real:
                    self._calibrate()
                for place in places:
                    text = self._serve(place)
                    left = (perf_counter() - began) / (steps.done + 1) * (total - steps.done - 1)
                    steps.finished(f"{text}, about {left:.0f} s left")

    def _serve(self, place: Place) -> str:
        """One prediction, if it is a new one, and one real run."""
        trace, policy = self._traces[place.load], check_policy(place.spec)
        runs = self.real.get(place, [])
        known = self.predicted.setdefault(place, [])
        if known and not self.recalibrate:
            known.append(known[0])
        else:
            known.append(simulate(trace, policy, self.profile, coast=False, **self._options))
            self._keep(known[-1], place, f"predicted-{len(known)}")
        began = perf_counter()
        real = serve(trace, policy, self.profile, self._session(trace), clock=self.rig.clock(), **self._options)
        self.real[place] = [*runs, real]
        self._keep(real, place, f"real-{len(runs) + 1}")
        return f"load {place.load:g}, {place.policy}: {len(trace)} requests in {perf_counter() - began:.1f} s"

    def _session(self, trace: Trace) -> Any:
        return self.rig.session(random_prompts(trace.prompt_tokens, self.rig.facts.vocabulary))

    def _name(self, title: str) -> str:
        return folder_names(tuple(policy.title for policy in self.scenario.policies))[title]

    def _keep(self, result: RunResult, place: Place, name: str) -> None:
        where = self.folder / f"load-{place.load:g}" / self._name(place.policy) / name
        save(result, where, self.scenario.model_dump(mode="json") | {"policies": [place.policy]})


def summaries(results: list[RunResult]) -> tuple[Summary, ...]:
    """The metrics of each."""
    return tuple(result.summary() for result in results)
