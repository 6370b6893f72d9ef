"""What a search tells: how it gets on, what it found, and the file that serves it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.files import write_json
from experiments.provenance import provenance
from experiments.scenario import Scenario
from experiments.search.climb import Climb
from experiments.search.objective import Objective, Score
from sim.result import RunResult


def progress(climb: Climb, goal: Objective, seconds: float, left: float | None) -> str:
    """How it gets on, in a line; ``left`` is the time that remains, seconds."""
    rate = f"{climb.simulations / seconds:.1f}/s" if seconds > 0 else ""
    remains = "" if left is None else f", {max(left, 0.0):.0f} s left"
    where = f"{goal.label}: {said(climb.best_score, goal)}"
    return f"{where} after {climb.simulations:,} simulations in {seconds:.0f} s ({rate}{remains})"


def said(score: Score, goal: Objective) -> str:
    """The value of the objective, without its sign."""
    return f"{goal.sign * score.value:.5g}"


def standings(climb: Climb, goal: Objective) -> list[str]:
    """What was found, beside the policies and the best start: a line each, with how near it comes to the best."""
    orders = {name: score for name, score in climb.scores.items() if name not in climb.policies}
    rows = {policy: climb.scores[policy] for policy in climb.policies if policy in climb.scores}
    if orders:
        start = max(orders, key=lambda name: orders[name])
        rows[f"best start ({start})"] = orders[start]
    rows["search"] = climb.best_score
    width = max(map(len, rows))
    return [f"{name:{width}}  {said(score, goal):>8}  {share(score, climb.best_score)}" for name, score in rows.items()]


def share(score: Score, best: Score) -> str:
    """How near a score comes to the best; of what should be small, the best is the share of it."""
    part, whole = (score.value, best.value) if best.value > 0 else (best.value, score.value)
    return f"{part / whole:7.2%}" if whole else ""


def write(path: Path, climb: Climb, goal: Objective, scenario: Scenario, result: RunResult, seconds: float) -> Path:
    """The file: what ``planned,plan=FILE`` serves again, and how it was found."""
    agenda = climb.best
    content: dict[str, Any] = {
        "agenda": agenda._asdict(),
        "objective": goal.key,
        "value": goal.sign * climb.best_score.value,
        "starts": {name: goal.sign * score.value for name, score in climb.scores.items()},
        "history": [_found(each._asdict(), goal) for each in climb.history],
        "search": {
            "seed": climb.seed,
            "together": climb.together,
            "simulations": climb.simulations,
            "seconds": seconds,
            "simulations_per_second": climb.simulations / seconds if seconds else None,
        },
        "summary": result.summary(),
        "provenance": provenance(result, scenario.model_dump(mode="json") | {"digest": scenario.digest}),
    }
    return write_json(path, content)


def _found(found: Mapping[str, Any], goal: Objective) -> dict[str, Any]:
    return {"simulations": found["simulations"], "value": goal.sign * found["score"].value, "what": found["what"]}
