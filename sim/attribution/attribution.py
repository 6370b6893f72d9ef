"""The delays of all requests of a run, by cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel import CostModel
from sim.attribution.alone import Alone
from sim.attribution.causes import CAUSES, EXCESSES, Parts
from sim.attribution.course import Course
from sim.attribution.events import Events
from sim.attribution.first import first_tokens
from sim.attribution.later import LaterTokens
from sim.result import RunResult
from sim.tokens import Floats, Integers

BLOCKS = (("ttft", ("alone", *CAUSES)), ("later", ("alone", *CAUSES)), ("late", EXCESSES))


@dataclass(frozen=True, eq=False)
class Attribution:
    """One column per request, seconds; rows of `parts` by `CAUSES`, of excesses by `EXCESSES`."""

    first_alone: Floats
    """What its prompt takes alone; TTFT is this and the parts of `first`."""
    first: Parts
    """The first token's delay; 0 where none came."""
    later_alone: Floats
    """What its further tokens take alone; the time from first to last token is this and the parts of `later`."""
    later: Parts
    late: Parts
    """What its gaps between tokens that missed the SLO lie over it, added up."""
    late_gaps: Integers
    """How many these are."""

    def columns(self) -> dict[str, NDArray[Any]]:
        """As named columns: `ttft_alone`, `ttft_queueing`, ..., `later_...`, `late_...`, `late_gaps`."""
        blocks = (np.vstack([self.first_alone, self.first]), np.vstack([self.later_alone, self.later]), self.late)
        named = {
            f"{block}_{name}": row
            for (block, names), rows in zip(BLOCKS, blocks, strict=True)
            for name, row in zip(names, rows, strict=True)
        }
        return named | {"late_gaps": self.late_gaps}

    @classmethod
    def of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> Attribution:
        """What `columns` gave."""
        first, later, late = (np.stack([columns[f"{block}_{name}"] for name in names]) for block, names in BLOCKS)
        return cls(first[0], first[1:], later[0], later[1:], late, columns["late_gaps"])


def attribute(result: RunResult, cost_model: CostModel) -> Attribution:
    """Splits every delay of a run into its causes (see `sim.attribution`); `cost_model` is the one that it ran under.

    Raises SlosimError if the result does not hold the events that it takes.
    """
    requests = result.requests
    longest = int((requests["prompt_tokens"] + requests["generated"]).max(initial=0))
    course, alone = Course.of(result, cost_model), Alone(cost_model, longest)
    events = Events.of(result, course)
    whole = alone.prompts(requests["prompt_tokens"])
    later = LaterTokens.of(result, course, alone, events)
    (within, inside), (seams, between) = (each.of_requests(len(result)) for each in later.stretches())
    late, late_gaps = later.late(np.asarray(requests["slo_tbt"], np.float64))
    first = first_tokens(result, course, alone, events, whole)
    return Attribution(whole, first, within + seams, inside + between, late, late_gaps)
