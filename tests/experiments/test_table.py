"""Tables of comparisons: the right numbers, ratios in the right direction, and room for them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.bound.bounds import Goodput
from experiments.bound.shares import Bounds, shares
from experiments.bound.standing import GOODPUTS
from experiments.table import Comparison
from experiments.table_rows import SECTIONS, Kind, Metric
from tests.sim.synthetic import made_up
from traces.errors import SlosimError

SMALL = {
    "vllm": {"goodput": 200.0, "mean_jct": 10.0, "slo_attainment_tokens": 0.5, "kvc_used": 0.8, "preemptions": 12},
    "accelgen": {"goodput": 500.0, "mean_jct": 4.0, "slo_attainment_tokens": 0.875, "kvc_used": 0.9, "preemptions": 3},
    "sarathi": {"goodput": 200.4, "mean_jct": 1234.5, "slo_attainment_tokens": 0.5, "kvc_used": 0.8, "preemptions": 0},
}
GREEN, RED = "\x1b[32m", "\x1b[31m"


def cells(comparison: Comparison, label: str) -> dict[str, tuple[str, str]]:
    (row,) = [row for rows in comparison.sections.values() for row in rows if row.label == label]
    return {name: cell[:2] for name, cell in zip(comparison.policies, row.cells, strict=True)}


def test_ratios_say_how_many_times_better() -> None:
    comparison = Comparison.of(SMALL)
    assert cells(comparison, "goodput, tokens/s") == {
        "vllm": ("200", ""),
        "accelgen": ("500", "2.50x"),
        "sarathi": ("200", "1.00x"),
    }
    assert cells(comparison, "JCT mean") == {
        "vllm": ("10", ""),
        "accelgen": ("4", "2.50x"),
        "sarathi": ("1234", "0.00810x"),
    }
    assert cells(comparison, "tokens") == {
        "vllm": ("50.0 %", ""),
        "accelgen": ("87.5 %", "+37.5 pp"),
        "sarathi": ("50.0 %", "="),
    }
    assert cells(comparison, "preemptions")["accelgen"] == ("3", "")


def test_the_best_and_the_better_are_marked_where_there_is_a_better() -> None:
    rows = {row.label: row.cells for rows in Comparison.of(SMALL).sections.values() for row in rows}
    assert [cell.best for cell in rows["goodput, tokens/s"]] == [False, True, False]
    assert [cell.best for cell in rows["JCT mean"]] == [False, True, False]
    assert [cell.better for cell in rows["JCT mean"]] == [None, True, False]
    assert [cell.better for cell in rows["goodput, tokens/s"]] == [None, True, None], "1.00x is no difference"
    assert not any(cell.best or cell.better is not None for cell in rows["KV cache holding tokens"])


def test_any_policy_can_be_the_baseline() -> None:
    comparison = Comparison.of(SMALL, "accelgen")
    assert cells(comparison, "goodput, tokens/s")["vllm"] == ("200", "0.40x")
    assert "times better than accelgen" in comparison.text()


@pytest.mark.parametrize(
    ("baseline", "hint"), [("acelgen", "did you mean 'accelgen'"), ("fcfs", "choose one of vllm, acc")]
)
def test_an_unknown_baseline_is_named(baseline: str, hint: str) -> None:
    with pytest.raises(SlosimError, match=f"baseline '{baseline}' is not among the compared policies; {hint}"):
        Comparison.of(SMALL, baseline)


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(SlosimError, match="nothing to compare"):
        Comparison.of({})


def test_what_no_policy_has_is_left_out_and_what_one_lacks_is_a_dash() -> None:
    nan = float("nan")
    one = {"goodput": nan, "mean_jct": 3.0, "mean_ttft": nan}
    other = {"goodput": 0.0, "mean_jct": 0.0, "mean_ttft": nan}
    comparison = Comparison.of({"one": one, "other": other})
    assert cells(comparison, "goodput, tokens/s") == {"one": ("-", ""), "other": ("0", "")}
    assert cells(comparison, "JCT mean")["other"] == ("0", ""), "no ratio to nothing"
    assert [row.label for row in comparison.sections["Latency, s"]] == ["JCT mean"]
    assert "Events" not in comparison.sections


def test_every_metric_of_the_table_is_one_of_the_summary_or_a_share() -> None:
    keys = {metric.key for metrics in SECTIONS.values() for metric in metrics}
    summary = made_up(1).summary()
    beside = shares(summary, Bounds(Goodput(1.0, 1.0), Goodput(1.0, 1.0)))
    assert keys - {f"oracle_share_{name}" for name in GOODPUTS} <= summary.keys() | beside.keys()


@pytest.mark.parametrize("width", [60, 100, 120])
@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_lines_fit_and_no_policy_is_lost(width: int, number: int) -> None:
    summaries = {f"policy-{one}": made_up(one).summary() for one in range(number)}
    text = Comparison.of(summaries).text(width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(text.count(f"policy-{one}") == 1 for one in range(1, number))
    assert "\x1b" not in text


def test_the_four_policies_of_the_paper_stand_in_one_table_of_100_characters() -> None:
    names = ("vllm", "sarathi", "accelgen", "oracle")
    summaries = {name: made_up(at).summary() for at, name in enumerate(names)}
    assert len(Comparison.of(summaries).tables(100)) == 1


def test_a_terminal_gets_colours() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=110)
    with console.capture() as captured:
        console.print(*Comparison.of(SMALL).tables())
    shown = captured.get()
    assert f"{GREEN}   2.50x" in shown
    assert f"{RED}0.00810x" in shown


def test_markdown_is_a_table_of_the_same_cells() -> None:
    lines = Comparison.of(SMALL).markdown().splitlines()
    assert lines[0] == "| | vllm | accelgen | sarathi |"
    assert lines[1] == "|---|---:|---:|---:|"
    assert "| goodput, tokens/s | 200 | **500** (2.50x) | 200 (1.00x) |" in lines
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {5}


def test_groups_become_sections() -> None:
    groups = {name: {"chat": summary, "": {"goodput": 1.0}} for name, summary in SMALL.items()}
    comparison = Comparison.of_groups(groups, "sarathi")
    assert list(comparison.sections) == ["chat", "no application"]
    assert [row.label for row in comparison.sections["chat"]] == ["goodput, tokens/s", "tokens in SLO", "JCT mean, s"]
    assert comparison.sections["chat"][0].cells[1].ratio == "2.50x"


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_a_shown_ratio_is_the_ratio(one: float, other: float) -> None:
    sections = {"": (Metric("a", "more", Kind.MORE), Metric("a", "less", Kind.LESS))}
    more, less = Comparison.of({"x": {"a": one}, "y": {"a": other}}, sections=sections).sections[""]
    for cell, ratio in ((more.cells[1], other / one), (less.cells[1], one / other)):
        assert float(cell.ratio.removesuffix("x")) == pytest.approx(
            ratio, rel=0.006, abs=0.0051 if 0.1 <= ratio < 10 else 1e-6
        )
        assert float(cell.value) == pytest.approx(other, rel=0.006, abs=1e-6)
