"""SLO attainment by the objective between tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest

from experiments.inputs import run
from experiments.scenario import Scenario
from experiments.sweeps.bands import by_tbt


def test_each_band_is_judged_by_its_own_requests() -> None:
    scenario = Scenario.model_validate(
        {"trace": {"requests": 60, "rate": 2.0}, "policies": ["vllm"], "slos": {"tbt_mix": [0.0333, 0.2, 0.5]}}
    )
    result = run(scenario, scenario.policies[0])
    bands = by_tbt(result)
    assert {name.partition("@")[2] for name in bands} == {"0.0333", "0.2", "0.5"}
    gaps = {limit: [0, 0] for limit in (0.0333, 0.2, 0.5)}
    for number in range(len(result)):
        times = result.token_times(number)
        limit = float(result.requests["slo_tbt"][number])
        for before, after in pairwise(times):
            gaps[limit][0] += bool(after - before <= limit)
            gaps[limit][1] += 1
        if not len(times):  # rejected: all it was due failed
            gaps[limit][1] += int(result.requests["output_tokens"][number]) - 1
    for limit, (good, all_of_them) in gaps.items():
        assert bands[f"slo_attainment_tbt@{limit:g}"] == pytest.approx(good / all_of_them)
    assert len({round(good / whole, 6) for good, whole in gaps.values()}) > 1, "the bands differ"


def test_many_objectives_are_no_bands() -> None:
    scenario = Scenario.model_validate({"trace": {"requests": 20, "rate": 2.0}, "policies": ["vllm"]})
    assert by_tbt(run(scenario, scenario.policies[0])) == {}


def test_a_mix_of_readers_is_of_the_papers_rule() -> None:
    with pytest.raises(ValueError, match="tbt_mix is of rule 'paper', but the rule is 'jct'"):
        Scenario.model_validate({"slos": {"rule": "jct", "tbt_mix": [0.05]}})
