"""ORCA by hand: who is admitted with whom, and what a reservation means. Blocks hold four tokens."""

from __future__ import annotations

import pytest

from costmodel import Calibrated
from sim.check import check_scheduler
from sim.result import RunResult
from sim.schedulers.orca import Orca
from sim.simulation import simulate
from tests.test_restated import Written
from traces import Trace


def story(policy: Orca, rows: list[tuple[float, int, int]], blocks: int) -> tuple[list[dict[int, int]], RunResult]:
    """The tokens of every iteration, by request."""
    written = Written()
    result = simulate(Trace.from_rows(rows), policy, written, kv_blocks=blocks, block_size=4, watch=written)
    return [step[1] for step in written.steps], result


def test_whole_prompts_join_decodes_while_reservations_fit() -> None:
    """OSDI 2022, Algorithm 1: n_rsrv + max_tokens <= n_slots, else break. Two of eight tokens fit in five blocks."""
    steps, result = story(Orca(max_model_len=8), [(0.0, 3, 2), (0.0, 2, 4), (0.0, 5, 2), (0.0, 1, 1)], 5)
    assert steps == [{0: 3, 1: 2}, {0: 1, 1: 1}, {1: 1, 2: 5}, {1: 1, 2: 1}, {3: 1}]
    assert result.iterations["free_blocks"].tolist() == [1, 1, 1, 1, 3]
    assert result.iterations["free_blocks_end"].tolist() == [1, 3, 1, 5, 5]


def test_no_limit_on_tokens_but_one_on_requests() -> None:
    steps, _ = story(Orca(max_num_seqs=2, max_model_len=4000), [(0.0, 3000, 2), (0.0, 3000, 1), (0.0, 9, 1)], 5000)
    assert steps == [{0: 3000, 1: 3000}, {0: 1, 2: 9}]


def test_without_a_model_length_each_reserves_its_own_maximum() -> None:
    """Three tokens and five more are two blocks, six and five are three: they fill five, and the last waits."""
    rows = [(0.0, 3, 2), (0.0, 6, 2), (0.0, 1, 1)]
    steps, _ = story(Orca(max_output=5), rows, 5)
    assert steps == [{0: 3, 1: 6}, {0: 1, 1: 1}, {2: 1}]
    steps, _ = story(Orca(max_output=5), rows, 7)
    assert steps == [{0: 3, 1: 6, 2: 1}, {0: 1, 1: 1}]


def test_a_prompt_beyond_the_model_is_rejected_and_blocks_nobody() -> None:
    steps, result = story(Orca(max_model_len=8), [(0.0, 9, 1), (0.0, 8, 1)], 9)
    assert dict(result.rejections) == {0: "its 9 tokens exceed the model's 8"}
    assert steps[-1] == {1: 8}


@pytest.mark.parametrize("policy", [Orca(max_model_len=4096), Orca()])
def test_a_reservation_larger_than_the_cache_is_all_of_it(policy: Orca) -> None:
    steps, result = story(policy, [(0.0, 3, 2), (0.0, 2, 1)], 4)
    assert steps == [{0: 3}, {0: 1}, {1: 2}]
    assert result.iterations["free_blocks"].tolist() == [0, 0, 0]


def test_who_outgrows_the_reservation_takes_free_blocks_and_then_the_newest_yields() -> None:
    """Both reserve four tokens and need eight; at the fifth the newer gives up its block to the older one."""
    written = Written()
    rows = [(0.0, 2, 7), (0.0, 3, 6)]
    result = simulate(Trace.from_rows(rows), Orca(max_model_len=4), written, kv_blocks=2, block_size=4, watch=written)
    assert [step[2] for step in written.steps].count([1]) == 1
    assert result.requests["preemptions"].tolist() == [0, 1]
    assert (result.requests["generated"] == result.requests["output_tokens"]).all()


def test_it_keeps_the_rules_and_is_seldom_asked() -> None:
    check_scheduler(Orca(max_model_len=300))
    asked = 0

    class Counting(Orca):
        def schedule(self, server):  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return super().schedule(server)

    rows = [(0.01 * n, 10, 100) for n in range(200)]
    result = simulate(Trace.from_rows(rows), Counting(8), Calibrated(1e-3), kv_blocks=4000, block_size=4)
    assert asked < len(result.iterations["end"]) / 5
