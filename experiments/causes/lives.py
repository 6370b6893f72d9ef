"""One request's life under several policies: a table of its stages, a picture, and who to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.causes.picture import COLOURS, name_colours
from experiments.drawing import duration, figure, write
from experiments.escaping import in_picture
from sim.attribution import EXCESSES, Stage
from sim.result import RunResult

if TYPE_CHECKING:
    import pandas


def latest_first(result: RunResult, most: int = 5) -> list[int]:
    """The requests whose first tokens came furthest beyond their SLO, the latest first."""
    rows = result.requests
    beyond = rows["first_token_at"] - rows["arrived_at"] - rows["slo_ttft"]
    order = np.argsort(-np.nan_to_num(beyond, nan=-inf), kind="stable")
    return [int(number) for number in order[:most] if beyond[number] > 0]


def life_frame(stages: Sequence[Stage]) -> pandas.DataFrame:
    """A row per stage: from, to, tokens, and the seconds that it took alone and for each cause."""
    import pandas

    rows = [
        {"stage": stage.what, "from": stage.begin, "to": stage.end, "tokens": stage.tokens, "alone": stage.alone}
        | stage.causes
        for stage in stages
    ]
    frame = pandas.DataFrame(rows)
    known = [name for name in EXCESSES if name in frame.columns]
    return frame[["stage", "from", "to", "tokens", *known]].fillna(dict.fromkeys(known, 0.0))


def draw_life(lives: Mapping[str, Sequence[Stage]], path: Path, slo_ttft: float = inf) -> Path:
    """A bar per policy from arrival to last token; within a stage the order of causes says nothing about time."""
    places = np.arange(len(lives))[::-1]
    used: set[str] = set()
    with figure(1, 1, 9.5, 1.7 + 0.5 * len(lives)) as (drawn, (axes,)):
        for place, stages in zip(places, lives.values(), strict=True):
            for stage in stages:
                left = stage.begin
                for name, seconds in ({"alone": stage.alone} | stage.causes).items():
                    axes.barh(place, seconds, 0.6, left, color=COLOURS[name])
                    left += seconds
                    used.add(name)
            firsts = [stage.end for stage in stages if stage.what == "prompt"]
            axes.plot(firsts, [place] * len(firsts), "|", color="#111111", markersize=24)
            end = stages[-1].end if stages else 0.0
            said = duration(end) if stages else "no token"
            axes.annotate(
                said, (end, place), (4, 0), textcoords="offset points", va="center", color="#555555", fontsize=8
            )
        if slo_ttft < inf:
            axes.axvline(slo_ttft, color="#111111", linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("seconds since its arrival; a stroke marks the first token, a dotted line its SLO")
        axes.set_yticks(places, list(map(in_picture, lives)))
        axes.set_ylim(-0.6, len(lives) - 0.4)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        name_colours(drawn, used)
        return write(drawn, path)
