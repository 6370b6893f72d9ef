"""Bounds against the best of all schedules of tiny workloads, and that an inequality tightened wrongly is noticed.

SLOSIM_SEEDS=40 tries forty times as many; with `pytest -s` it says how tight they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from experiments.bound.bounds import GOALS, at_most, edges, of_any, of_serving, shortest
from experiments.bound.certificate import Question, certified
from experiments.bound.demand import Demand, demand
from experiments.bound.floors import Floor, Floors, floors
from experiments.bound.goals import Goal
from experiments.bound.prices import Prices
from tests.experiments.bound.brute import Best, Search
from tests.experiments.bound.tiny import tiny

MANY = int(os.environ.get("SLOSIM_SEEDS", "1"))
SEEDS = range(24)


@cache
def best_of(seed: int, whole: bool, requests: int = 2) -> Best:
    case = tiny(seed, requests)
    return Search(case.rows, case.machine, whole).best()


def tightness(seed: int, requests: int = 2, machines: Any = 1, stopping: bool = True) -> dict[str, float]:
    """The optimum's share of each bound."""
    case = tiny(seed, requests)
    needs = demand(case.trace, case.machine)
    everybody, last = np.ones(len(needs), bool), float(needs.arrived[-1])
    bounds = {
        "serving": of_serving(needs, everybody, everybody, machines),
        "refusing": of_any(needs, last, replicas=machines),
        "most": at_most(needs, machines),
    }
    if stopping:
        bounds["stopping"] = of_any(needs, 0.0, replicas=machines)
    found = {}
    for whole, name in ((False, "tokens"), (True, "requests")):
        best = best_of(seed, whole, requests)
        optima = {
            "serving": best.per_second_serving(),
            "refusing": best.per_second(last),
            "stopping": best.per_second(),
            "most": max(best.by_end.values()),
        }
        for kind, bound in bounds.items():
            optimum = optima[kind]
            found[f"{kind} {name}"] = optimum / bound[whole] if bound[whole] else np.inf if optimum else 1.0
    return found


@pytest.mark.parametrize(("requests", "seeds"), [(2, 24), (3, 3)])
def test_no_schedule_is_better_than_the_bound(requests: int, seeds: int) -> None:
    found = {seed: tightness(seed, requests) for seed in range(seeds * MANY)}
    for seed, shares in found.items():
        assert all(share <= 1 for share in shares.values()), (seed, shares)
    for kind in found[0]:
        tenth, half = np.quantile([shares[kind] for shares in found.values()], (0.1, 0.5))
        reached = np.mean([shares[kind] > 0.999 for shares in found.values()])
        print(f"{kind:17} of {requests}: median {half:.3f}, tenth {tenth:.3f}, reached by {reached:.0%}")
        assert half > 0.7, "the bound is not just large"


def test_any_prices_make_a_bound() -> None:
    random = np.random.default_rng(3)
    for seed in SEEDS:
        needs = demand(tiny(seed).trace, tiny(seed).machine)
        nobody, everybody = np.zeros(len(needs), bool), np.ones(len(needs), bool)
        last = max(float(needs.arrived[-1]), float(needs.first_alone.min()))
        for whole, goal in enumerate(GOALS):
            best = best_of(seed, bool(whole))
            for must, optimum in ((nobody, best.per_second(last)), (everybody, best.per_second_serving())):
                question = Question(needs, goal(needs), must, everybody, 1, shortest(needs, must) or last, np.inf)
                cuts = edges(question)
                prices = Prices(cuts, random.choice([0.0, 0.1, 1.0]) * random.random(len(cuts)))
                assert optimum <= certified(question, prices, float(random.choice([0.0, 0.2, 1.0])))


def test_the_ratio_pays_for_the_time_after_the_least_end() -> None:
    """Without requests a bound is what is paid for the time itself: half a token a second until 4 s, then `ratio`."""
    needs = demand(tiny(0).trace, tiny(0).machine)
    nobody = np.zeros(len(needs), bool)
    question = Question(needs, GOALS[0](needs), nobody, nobody, 1, 4.0, np.inf)
    assert certified(question, Prices(np.array([0.0, 4.0]), np.array([0.5, 0.0])), 0.0) == pytest.approx(0.5)
    assert certified(question, Prices(np.array([0.0, 4.0]), np.array([0.5, 0.0])), 0.75) == pytest.approx(0.75)


def floors_with(**factors: float) -> Callable[..., Floors]:
    def changed(*machine: Any) -> Floors:
        def times(floor: Floor) -> Floor:
            return floor._replace(**{name: factor * getattr(floor, name) for name, factor in factors.items()})

        return Floors(*(tuple(map(times, some)) for some in floors(*machine)))

    return changed


def goals_with(change: Callable[[Demand, Goal], Goal]) -> list[Callable[[Demand], Goal]]:
    def changed(original: Callable[[Demand], Goal]) -> Callable[[Demand], Goal]:
        return lambda needs: change(needs, original(needs))

    return [changed(goal) for goal in GOALS]


def first_tokens_sooner(needs: Demand, goal: Goal) -> Goal:
    return replace(goal, possible=goal.possible & ~(needs.first_alone > 0.9 * needs.ttft))


def jobs_sooner(needs: Demand, goal: Goal) -> Goal:
    return replace(goal, possible=goal.possible & ~(needs.alone > 0.8 * needs.jct))


def gaps_shorter(needs: Demand, goal: Goal) -> Goal:
    short = needs.stretches.gap > 0.5 * needs.tbt[needs.stretches.owner]
    return replace(goal, counted=np.where(short, 0.0, goal.counted))


def prompts_due_sooner(needs: Demand, goal: Goal) -> Goal:
    return replace(goal, first_due=needs.arrived)


WRONG: dict[str, tuple[str, Any]] = {
    "an iteration takes longer": ("demand.floors", floors_with(fixed=1.3)),
    "a prompt token takes longer": ("demand.floors", floors_with(per_prompt_token=1.5)),
    "a pair takes longer": ("demand.floors", floors_with(per_pair=4.0)),
    "a decode takes longer": ("demand.floors", floors_with(per_decode=2.0)),
    "a context token takes longer": ("demand.floors", floors_with(per_context_token=3.0)),
    "first tokens must be possible sooner": ("bounds.GOALS", goals_with(first_tokens_sooner)),
    "jobs must be possible sooner": ("bounds.GOALS", goals_with(jobs_sooner)),
    "gaps must be shorter": ("bounds.GOALS", goals_with(gaps_shorter)),
    "prompts are due sooner": ("bounds.GOALS", goals_with(prompts_due_sooner)),
    "serving takes longer": ("bounds.shortest", lambda *inputs: 1.2 * shortest(*inputs)),
    "work costs what the dearest window does": (
        "prices.Prices.lowest",
        lambda self, begin, end: np.full(len(begin), self.price.max()),
    ),
}


@pytest.mark.parametrize("what", [*WRONG, "there is less time"])
def test_an_inequality_tightened_wrongly_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what in WRONG:
        place, change = WRONG[what]
        monkeypatch.setattr(f"experiments.bound.{place}", change)
    machines = 1 if what in WRONG else 0.8
    assert any(max(tightness(seed, machines=machines, stopping=False).values()) > 1 for seed in SEEDS)
