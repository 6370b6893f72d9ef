"""Checks of a policy: hard little traces, and in words what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from costmodel import profile as named_profile
from sim.audit import audit
from sim.errors import PolicyFault, SchedulerError
from sim.faults import blaming, defined
from sim.inspector import Inspector, Progress
from sim.patience import CHECKING, NOT_ENFORCED, patience
from sim.predictor import unknown
from sim.registry import scheduler as resolve
from sim.result import RunResult
from sim.scheduler import Scheduler
from sim.simulation import simulate
from sim.trials import Trial, trials
from traces.errors import SlosimError

DEFAULT_PROFILE = "opt-13b@a100-80gb-vllm"
HINT = "; a larger `limit` of check_scheduler allows more"


@dataclass(frozen=True)
class TrialReport:
    """What a policy did in one trial."""

    name: str
    requests: int
    decisions: int
    iterations: int
    preemptions: int
    swaps: int
    rejections: int

    def __str__(self) -> str:
        events = {"preempted": self.preemptions, "swapped": self.swaps, "rejected": self.rejections}
        told = "".join(f", {number} {what}" for what, number in events.items() if number)
        return f"{self.name}: {self.requests} requests in {self.iterations} iterations{told}"


@dataclass(frozen=True)
class Report:
    """A policy that broke no rule, and what it was put through."""

    policy: str
    trials: tuple[TrialReport, ...]
    notes: tuple[str, ...] = ()
    """What is allowed but not wise."""

    def __str__(self) -> str:
        lines = [f"{self.policy} keeps all rules in {len(self.trials)} trials:"]
        lines += [f"  {trial}" for trial in self.trials]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def check_scheduler(policy: Scheduler | str, profile: Any = None, limit: float = CHECKING, hint: str = HINT) -> Report:
    """Puts a policy through hard little traces; raises SchedulerError with words on the first rule that it breaks.

    The rules: the server is only read; the same server gives the same decision and the same run the same story; true
    output lengths are not looked at; budget and cache are kept; no empty batch while requests are there; nobody
    starves for ever; ``hold`` is a promise; no call takes longer than ``limit`` seconds (0: no limit). ``profile`` is
    the machine of the trials, by default OPT-13B on an A100; ``hint`` ends the message about the limit.

    >>> print(str(check_scheduler("vllm"))[:6])
    Vllm(m
    """
    machine = named_profile(DEFAULT_PROFILE) if profile is None else profile
    with patience(limit, hint) as enforced:
        chosen = resolve(policy)
        if not isinstance(chosen, Scheduler):
            raise SchedulerError(f"{chosen!r} is not a Scheduler: write class {type(chosen).__name__}(Scheduler), ...")
        reports = tuple(_try(chosen, trial, machine) for trial in trials())
        with blaming(chosen):
            return Report(repr(chosen), reports, tuple(_notes(chosen, reports, enforced)))


def _try(policy: Scheduler, trial: Trial, machine: Any) -> TrialReport:
    """One trial: with the inspector, step by step, and coasting."""
    try:
        progress = Progress(trial.patience)
        inspected = _run(Inspector(policy, progress), policy, trial, machine, coast=False)
        for complaint in audit(inspected):
            raise SchedulerError(complaint)
        stepping = _run(policy, policy, trial, machine, coast=False)
        _same(inspected, stepping, "not deterministic: the same run once more tells another story")
        _same(stepping, _coasting(policy, trial, machine), "the promise of hold() is broken: asked anew, it differs")
    except SlosimError as error:
        where = "" if isinstance(error, PolicyFault) else defined(policy)
        raise SchedulerError(f"trial {trial.name!r}: {error}{where}") from error
    requests = inspected.requests
    return TrialReport(
        trial.name,
        len(inspected),
        progress.decisions,
        len(inspected.iterations["end"]),
        int(requests["preemptions"].sum()),
        int(requests["swaps"].sum()),
        len(inspected.rejections),
    )


def _run(policy: Scheduler, original: Scheduler, trial: Trial, machine: Any, coast: bool) -> RunResult:
    with blaming(original):
        predictor = getattr(original, "predictor", unknown)
    return simulate(
        trial.trace,
        policy,
        machine,
        kv_blocks=trial.kv_blocks,
        block_size=trial.block_size,
        predictor=predictor,
        coast=coast,
    )


def _coasting(policy: Scheduler, trial: Trial, machine: Any) -> RunResult:
    try:
        return _run(policy, policy, trial, machine, coast=True)
    except SchedulerError as error:
        raise SchedulerError(f"the promise of hold() is broken: not asked anew, {error}") from error


def _same(one: RunResult, other: RunResult, what: str) -> None:
    """Raises with the first iteration, or else request, in which two stories part."""
    words = _parting(one, other, "iterations", "iteration") or _parting(one, other, "requests", "request")
    if words or dict(one.rejections) != dict(other.rejections):
        raise SchedulerError(f"{what}: {words or 'other requests are rejected'}")


def _parting(one: RunResult, other: RunResult, table: str, row: str) -> str:
    mine, theirs = getattr(one, table), getattr(other, table)
    names = [name for name in mine if name != "schedule_seconds"]
    size = min(len(mine[names[0]]), len(theirs[names[0]]))
    unlike = {name: ~_alike(mine[name][:size], theirs[name][:size]) for name in names}
    wrong = np.any(list(unlike.values()), axis=0)
    if not wrong.any():
        longer = len(mine[names[0]]) != len(theirs[names[0]])
        return f"one has {len(mine[names[0]])} {table}, the other {len(theirs[names[0]])}" if longer else ""
    at = int(np.flatnonzero(wrong)[0])
    told = [f"{name} {mine[name][at]} and {theirs[name][at]}" for name in names if unlike[name][at]]
    when = f" at t = {mine['start'][at]:.6f} s" if "start" in mine else ""
    return f"{row} {at}{when}: {', '.join(told[:4])}"


def _alike(one: Any, other: Any) -> Any:
    return (one == other) | ((one != one) & (other != other))


def _notes(policy: Scheduler, reports: tuple[TrialReport, ...], enforced: bool) -> list[str]:
    found: list[tuple[Callable[[], bool], str]] = [
        (lambda: not is_dataclass(policy), "its repr does not tell its parameters: make it a frozen dataclass"),
        (lambda: not any(report.preemptions for report in reports), "it never preempted anybody"),
        (lambda: not enforced, NOT_ENFORCED),
    ]
    return [words for holds, words in found if holds()]
