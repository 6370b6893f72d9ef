"""What the audit of Algorithm 2 comes to: what was chosen by distance, and whether it leaves less of the cache free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.grid import Summary
from sim.result import RunResult

MEANS = ("available_tokens", "available_kv", "tokens", "kv")
"""Of A_c, A_m, D_c and D_m, in tokens."""
SELECTION = (
    *("selection_iterations", *(f"selection_{name}" for name in MEANS), "selection_overruled"),
    *("selection_kv_gain", "selection_kv_weight", "selection_correlation"),
)


def by_selection(result: RunResult) -> Summary:
    """Metrics of the selections that were a choice between several; nothing of a run that wrote down none.

    `selection_iterations` is the share of iterations with such a choice; then the means of what was available and of
    what the chosen one took; `selection_overruled` the share of choices whose demand was not that of the first in the
    queue's order, `selection_kv_gain` how much more cache was taken than that one would have (tokens);
    `selection_kv_weight` the cache's part of the squared distance; `selection_correlation` Spearman's between the
    distance of an iteration's last choice and the blocks that stay free in it.
    """
    notes = result.notes
    if "available_kv" not in notes:
        return {}
    choice = notes["candidates"] > 1
    if not choice.any():
        return dict.fromkeys(SELECTION, float("nan")) | {"selection_iterations": 0.0}
    told = {name: column[choice] for name, column in notes.items()}
    moments = np.unique(np.column_stack([told["server"], told["at"]]), axis=0)
    other = (told["tokens"] != told["first_tokens"]) | (told["kv"] != told["first_kv"])
    of_tokens, of_kv = (told[f"available_{name}"] - told[name] for name in ("tokens", "kv"))
    total = of_tokens**2 + of_kv**2
    return {
        "selection_iterations": len(moments) / len(result.iterations["start"]),
        **{f"selection_{name}": float(told[name].mean()) for name in MEANS},
        "selection_overruled": float(other.mean()),
        "selection_kv_gain": float((told["kv"] - told["first_kv"]).mean()),
        "selection_kv_weight": float(np.divide(of_kv**2, total, where=total > 0, out=np.zeros(len(total))).mean()),
        "selection_correlation": _correlation(result, told),
    }


def _correlation(result: RunResult, told: dict[str, NDArray[np.float64]]) -> float:
    """Between the last distance of an iteration and its free blocks; nan with less than three, or if all are alike."""
    from scipy.stats import rankdata

    last = {(server, at): away for server, at, away in zip(told["server"], told["at"], told["distance"], strict=True)}
    started = zip(result.iterations["server"].tolist(), result.iterations["start"].tolist(), strict=True)
    pairs = [
        (last[moment], free)
        for moment, free in zip(started, result.iterations["free_blocks"].tolist(), strict=True)
        if moment in last
    ]
    ranks = [rankdata(column) for column in zip(*pairs, strict=True)]
    if len(pairs) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
