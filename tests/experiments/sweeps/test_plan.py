"""Grids, cases, policies, loads and seeds: every combination once, and what is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from experiments.settings import scenario_of
from experiments.sweeps.plan import Point, points_of
from traces.errors import SlosimError

TABLE: dict[str, Any] = {
    "policies": ["vllm", "sarathi,chunk_size=256"],
    "trace": {"requests": 10, "seed": 4},
    "seeds": 2,
}


def facts(point: Point) -> tuple[Any, ...]:
    cache = point.scenario.cache
    return (cache.kv_blocks, cache.block_size, point.policy.title, point.rate, point.seed)


def test_every_combination_once() -> None:
    grid = {"cache": {"kv_blocks": [100, 200], "block_size": [16, 32]}}
    points = points_of(TABLE | {"rates": [0.5, 2.0], "sweep": [1.0, 2.0], "grid": grid})
    policies = ("vllm", "sarathi,chunk_size=256")
    expected = set(product([100, 200], [16, 32], policies, [0.5, 1.0, 2.0], [4, 5]))
    assert len(points) == len(expected)
    assert {facts(point) for point in points} == expected
    assert points[0].varied == (("cache.kv_blocks", 100), ("cache.block_size", 16))
    assert [point.policy.title for point in points[:2]] == [*policies], "the policies of one trace follow each other"
    assert points[0].title == "cache.kv_blocks=100, cache.block_size=16, vllm, 2/s, seed 4"


def test_a_point_is_the_scenario_that_one_would_write_by_hand() -> None:
    table = TABLE | {"grid": {"slos": {"scale": [2.0]}, "policy": {"max_num_seqs": [7]}}, "rates": [3.0]}
    [first, second, *_] = points_of(table)
    trace = {"requests": 10, "seed": 4, "rate": 3.0}
    by_hand = scenario_of(defaults={"policies": ["vllm,max_num_seqs=7"], "trace": trace, "slos": {"scale": 2.0}})
    assert first.scenario == by_hand
    assert second.policy.spec == "sarathi,chunk_size=256,max_num_seqs=7", "its own parameters stay"


def test_cases_go_together_and_are_crossed_with_the_grid() -> None:
    cases = [{"profile": "opt-13b@a100-80gb", "cache": {"kv_blocks": 50}}, {"trace": {"source": "alpaca", "rate": 1.0}}]
    points = points_of(TABLE | {"policies": ["vllm"], "seeds": 1, "cases": cases, "grid": {"horizon": [5.0, 9.0]}})
    assert [(p.scenario.profile, p.scenario.trace.source, p.scenario.horizon) for p in points] == [
        ("opt-13b@a100-80gb", "paper_mix", 5.0),
        ("opt-13b@a100-80gb", "paper_mix", 9.0),
        ("opt-13b@a100-80gb-vllm", "alpaca", 5.0),
        ("opt-13b@a100-80gb-vllm", "alpaca", 9.0),
    ]
    assert points[2].varied == (("trace.source", "alpaca"), ("trace.rate", 1.0), ("horizon", 5.0))


def test_what_comes_to_the_same_is_one_point() -> None:
    assert len(points_of(TABLE | {"grid": {"cache": {"kv_blocks": [100, 100]}}})) == 4
    assert len(points_of(TABLE)) == 4, "without a grid: the scenario itself"


def test_whole_tables_can_be_values() -> None:
    points = points_of(TABLE | {"seeds": 1, "grid": {"slos": [{"rule": "jct"}, {"rule": "none"}]}})
    assert [point.scenario.slos.rule for point in points] == ["jct", "jct", "none", "none"]
    assert points[0].varied == (("slos", '{"rule": "jct"}'),)
    assert len(set(points)) == 4


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"grid": {"cache": {"kv_blokcs": [1]}}}, "did you mean 'kv_blocks'"),
        ({"grid": {"cache": {"kv_blocks": [1, 0]}}}, "cache.kv_blocks: .*greater than or equal to 1"),
        ({"grid": {"cache": {"kv_blocks": 5}}}, "grid.cache.kv_blocks: write a list of values, not 5"),
        ({"grid": {"horizon": []}}, "grid.horizon: write a list"),
        ({"grid": {"policies": [["vllm"]]}}, "grid.policies: list them as policies"),
        ({"grid": {"trace": {"seed": [1, 2]}}}, "grid.trace.seed: say seeds = N"),
        ({"cases": [{"seeds": 2}]}, "cases.seeds: it is one number"),
        ({"cases": {"horizon": 2}}, "one table"),
        ({"cases": [3]}, "cases: write a table"),
        ({"grid": {"policy": {"gama": [1.0]}}}, "no parameter"),
        ({"rates": [1.0], "grid": {"trace": {"rate": [2.0]}}}, "keep one of them"),
        ({"policies": ["vlm"]}, "did you mean 'vllm'"),
    ],
)
def test_mistakes_are_told_before_anything_runs(table: dict[str, Any], said: str) -> None:
    with pytest.raises(SlosimError, match=said):
        points_of(TABLE | table)
