"""What requests need at least: against token-by-token sums under one floor, and against a machine of their own."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest

from costmodel import Calibrated, CostModel, WholeEngine, profile
from costmodel.whole_engine import DecodeLine, PromptLine
from experiments.bound.demand import Demand, demand
from experiments.bound.floors import floors
from experiments.bound.prices import Prices
from sim.machine import Machine
from sim.simulation import simulate
from tests.sim.stories import MODEL, little_trace
from traces import Trace

LINE = WholeEngine(PromptLine(0.02, 2e-3), (DecodeLine(1, 0.02, 1e-6, 1e-4),), 1e-8)
DEAR_DECODES = Calibrated(per_token=1e-4, weight_time=0.01, per_decode=2e-3, per_pair=1e-6)


def token_by_token(trace: Trace, model: CostModel, blocks: int, size: int) -> tuple[list[float], list[list[float]]]:
    """Machine time of the prompt and of every later token of each request, the plain way, under the only floor."""
    ((fixed, per_token, per_pair, per_decode, per_context),) = floors(model, blocks, size).any[-1:]
    prompts, later = [], []
    for row in trace:
        if -(-(row.prompt_tokens + row.output_tokens - 1) // size) > blocks:
            continue

        def computed(tokens: int) -> float:
            return per_token * tokens + per_pair * tokens**2 / 2 + fixed * tokens / (size * blocks)

        def decoded(context: int) -> float:
            return per_decode + per_context * context + fixed * -(-context // size) / blocks

        prompts.append(computed(row.prompt_tokens))
        contexts = range(row.prompt_tokens + 1, row.prompt_tokens + row.output_tokens)
        later.append([min(decoded(context), computed(context)) for context in contexts])
    return prompts, later


@pytest.mark.parametrize("size", [1, 5, 16])
def test_machine_time_is_that_of_all_tokens(size: int) -> None:
    trace, blocks = little_trace(3, 40, prompt=90, output=70), 100 // size
    found = demand(trace, Machine(LINE, blocks, size))
    first, later = token_by_token(trace, LINE, blocks, size)
    assert len(found) == len(first) < len(trace), "one is too long for this cache"
    assert found.first == pytest.approx(np.array(first))
    assert found.later == pytest.approx(np.array([sum(tokens) for tokens in later]))
    assert np.bincount(found.stretches.owner, found.stretches.tokens, len(found)).tolist() == [len(t) for t in later]


def test_a_token_costs_no_more_than_to_compute_all_anew() -> None:
    trace = little_trace(4, 30, prompt=10, output=40)
    found = demand(trace, Machine(DEAR_DECODES, 60, 4))
    first, later = token_by_token(trace, DEAR_DECODES, 60, 4)
    assert found.first == pytest.approx(np.array(first))
    exact = np.array([sum(tokens) for tokens in later])
    assert (found.later <= exact * (1 + 1e-12)).all()
    assert found.later.sum() > 0.5 * exact.sum()
    least = [min(each) for each in later if each]
    assert (found.stretches.least[np.diff(found.stretches.owner, prepend=-1) > 0] <= least).all()


@pytest.mark.parametrize("model", [MODEL, LINE, DEAR_DECODES, profile("opt-13b@a100-80gb").cost_model], ids=repr)
def test_nobody_is_faster_than_alone(model: CostModel) -> None:
    for row in little_trace(5, 12, prompt=90, output=70):
        trace = Trace.from_rows([row._replace(arrived_at=0.0)])
        found, result = demand(trace, Machine(model, 50, 4)), simulate(trace, "vllm", model, kv_blocks=50, block_size=4)
        if not len(found):
            continue
        served = result.requests
        assert found.first_alone[0] <= served["first_token_at"][0] * (1 + 1e-12)
        assert found.alone[0] <= served["finished_at"][0] * (1 + 1e-12)
        assert found.alone[0] >= 0.5 * served["finished_at"][0]
        gaps = np.diff(result.token_times(0))
        shortest = np.repeat(found.stretches.gap, found.stretches.tokens.astype(int))
        assert (shortest <= gaps * (1 + 1e-9)).all()
        assert_begins(found)


def assert_begins(found: Demand) -> None:
    """Stretches of a request follow each other on the clock."""
    rows = found.stretches
    for one, other in pairwise(range(len(rows.owner))):
        expected = rows.begins[one] + rows.tokens[one] * rows.gap[one]
        if rows.owner[one] != rows.owner[other]:
            expected = found.first_alone[rows.owner[other]]
        assert rows.begins[other] == pytest.approx(expected)


def test_without_requests_nothing_is_needed() -> None:
    found = demand(little_trace(1, 3)[:0], Machine(LINE, 10, 4))
    assert len(found) == len(found.stretches.owner) == 0


def test_the_lowest_price_is_found() -> None:
    random = Random(2)
    for windows in (1, 2, 3, 7, 16):
        edges = np.concatenate([[0.0], np.cumsum([random.choice((0.5, 1.0, 2.0)) for _ in range(windows)])])
        for tail in (0, 1):
            prices = Prices(edges, np.array([random.random() for _ in range(windows + tail)]))
            ends = [*edges[1:], *([np.inf] if tail else [])]
            for _ in range(50):
                begin = random.choice([*edges, random.random() * edges[-1]])
                end = begin + random.choice((0.0, 0.25, random.random() * edges[-1], np.inf))
                spans = enumerate(zip([*edges, np.inf], ends, strict=False))
                touched = [place for place, (low, high) in spans if low < end and begin < high]
                least = min((prices.price[place] for place in touched), default=None)
                found = prices.lowest(np.array([begin]), np.array([end]))[0]
                assert found == least or (least is None and found in prices.price)
