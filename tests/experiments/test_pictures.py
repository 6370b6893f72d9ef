"""Pictures: they show the numbers of the results, in files that open, whatever the results are like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from experiments import pictures, sweep_picture
from experiments.drawing import LEAST_GAP, duration, looks, spread, time_unit
from experiments.pictures import draw, draw_attainment, draw_goodput, draw_latencies, draw_utilization
from experiments.sweep_picture import Panel, SweepPoint, draw_sweep
from sim.result import RunResult
from tests.sim.synthetic import made_up
from traces.errors import SlosimError

Drawn = Callable[..., Figure]
RESULTS = {"vllm": made_up(1, 20, 60), "oracle": made_up(2, 20, 60)}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Calls a picture and gives its figure instead of a file."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> Path:
        kept.append(figure)
        return path

    for module in (pictures, sweep_picture):
        monkeypatch.setattr(module, "write", keep)

    def call(picture: Callable[..., Path], *arguments: Any) -> Figure:
        picture(*arguments, Path("unwritten.png"))
        return kept.pop()

    return call


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(match=lambda one: hasattr(one, "get_text")))


def test_a_comparison_has_four_pictures_that_open(tmp_path: Path) -> None:
    import matplotlib.image

    paths = draw(RESULTS, tmp_path)
    assert [path.name for path in paths] == ["goodput.png", "latency.png", "utilization.png", "attainment.png"]
    for path in paths:
        pixels = matplotlib.image.imread(path)
        assert pixels.shape[1] > 1000
        assert pixels[..., :3].std() > 0.02, "not blank"


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_other_kinds_of_files_follow_the_name(tmp_path: Path, kind: str) -> None:
    begin = {"svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert all(path.read_bytes().startswith(begin) for path in draw(RESULTS, tmp_path, kind))


def test_a_picture_depends_on_nothing_but_the_results(tmp_path: Path) -> None:
    paths = [draw_goodput(RESULTS, tmp_path / name) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_goodput_lines_are_the_series(drawn: Drawn) -> None:
    (axes,) = drawn(draw_goodput, RESULTS).axes
    for line, result in zip(axes.lines, RESULTS.values(), strict=False):
        whole = int(result.end - result.first_arrival)
        np.testing.assert_allclose(line.get_ydata(), result.series(1.0).goodput[:whole])
        np.testing.assert_allclose(line.get_xdata(), np.arange(whole) + 0.5)
    assert "in windows of 1 s" in axes.get_title(loc="left")
    assert "seconds since the first arrival" in axes.get_xlabel()


def test_latency_lines_are_distributions(drawn: Drawn) -> None:
    first, between, whole = drawn(draw_latencies, RESULTS).axes
    for axes, name in ((first, "ttft"), (between, "tbt"), (whole, "jct")):
        for line, result in zip(axes.lines, RESULTS.values(), strict=True):
            seconds, share = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            assert (np.diff(seconds) >= 0).all()
            assert share[-1] == pytest.approx(0.999)
            median = np.interp(0.5, share, seconds)
            assert median == pytest.approx(result.summary()[f"p50_{name}"], rel=0.05)


def test_utilization_shows_the_shares(drawn: Drawn) -> None:
    gpu, cache = drawn(draw_utilization, RESULTS).axes
    summaries = [result.summary() for result in RESULTS.values()]
    marks = [np.asarray(line.get_xdata()).tolist() for line in gpu.lines]
    assert marks == [[one[key] for one in summaries] for key in ("gpu_busy", "pivot_utilization", "gpu_utilization")]
    widths = [patch.get_width() for patch in cache.patches]
    parts = [one[key] for key in ("kvc_used", "kvc_allocated_empty", "kvc_unallocated") for one in summaries]
    assert widths == pytest.approx(parts, rel=1e-12)
    assert [label.get_text() for label in gpu.get_yticklabels()] == list(RESULTS)


def test_attainment_has_a_mark_per_policy_and_application(drawn: Drawn) -> None:
    tokens, requests = drawn(draw_attainment, RESULTS).axes
    for axes, key in ((tokens, "slo_attainment_tokens"), (requests, "slo_attainment_requests")):
        for line, result in zip(axes.lines, RESULTS.values(), strict=True):
            expected = [table[key] for table in result.by_application().values()]
            assert np.asarray(line.get_xdata()).tolist() == expected
        assert [label.get_text() for label in axes.get_yticklabels()] == ["chat", "code"]


def points(seeds: int = 3) -> list[SweepPoint]:
    return [
        SweepPoint(policy, rate, seed, {"goodput": rate * (10 + seed + at), "mean_jct": 1.0 + rate + seed})
        for at, policy in enumerate(("vllm", "oracle"))
        for rate in (4.0, 0.5, 2.0)
        for seed in range(seeds)
    ]


def test_sweep_lines_are_means_over_seeds_and_bands_their_range(drawn: Drawn) -> None:
    panels = (Panel("goodput", "Goodput"), Panel("mean_jct", "JCT", logarithmic=True), Panel("goodput", "Once more"))
    goodput, jct, _, unused = drawn(lambda path: draw_sweep(points(), path, panels)).axes
    for at, line in enumerate(goodput.lines):
        assert np.asarray(line.get_xdata()).tolist() == [0.5, 2.0, 4.0]
        np.testing.assert_allclose(line.get_ydata(), np.array([0.5, 2.0, 4.0]) * (11 + at))
    low, high = goodput.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == (0.5 * 10, 4.0 * 12)
    assert jct.get_yscale() == "log"
    assert not unused.axison
    assert {text.get_text() for text in goodput.texts} == {"vllm", "oracle"}, "labels beside the lines"


@pytest.mark.parametrize(("number", "rows"), [(2, [2]), (5, [5]), (7, [4, 3])])
def test_names_stand_in_one_row_or_in_equal_ones(drawn: Drawn, number: int, rows: list[int]) -> None:
    names = [f"policy,parameter={at}" for at in range(number)]
    figure = drawn(draw_latencies, dict.fromkeys(names, RESULTS["vllm"]))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1
    boxes = {text.get_text(): text.get_window_extent() for text in legend.get_texts()}
    read = sorted(names, key=lambda name: (-round(boxes[name].y0), boxes[name].x0))
    assert read == names, "row by row"
    assert list(Counter(round(boxes[name].y0) for name in names).values()) == rows
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert {text.get_text(): text.get_color() for text in legend.get_texts()} == dict(zip(names, colours, strict=True))


def test_one_seed_has_no_band(drawn: Drawn) -> None:
    (goodput,) = drawn(lambda path: draw_sweep(points(1), path, (Panel("goodput", "Goodput"),))).axes
    assert not goodput.collections


def test_a_policy_without_values_has_no_label(drawn: Drawn) -> None:
    empty = [SweepPoint("empty", rate, 0, {"share": math.nan}) for rate in (1.0, 2.0)]
    full = [SweepPoint("full", rate, 0, {"share": 0.5}) for rate in (1.0, 2.0)]
    (axes,) = drawn(lambda path: draw_sweep([*empty, *full], path, (Panel("share", "Share", share=True),))).axes
    assert [text.get_text() for text in axes.texts] == ["full"]


def test_nothing_to_show_is_drawn_all_the_same(tmp_path: Path) -> None:
    nothing = made_up(0, requests=0, iterations=0)
    bare = RunResult(nothing.requests, nothing.iterations, nothing.spans, nothing.capacity)
    assert len(draw({"nothing": bare}, tmp_path)) == 4


def test_a_long_run_gets_long_windows_and_minutes(drawn: Drawn) -> None:
    result = made_up(1, 20, 60)
    stretched = {name: column * 200 for name, column in result.iterations.items() if name in ("start", "end")}
    later = {name: column * 200 for name, column in result.requests.items() if name.endswith("_at")}
    long = RunResult({**result.requests, **later}, {**result.iterations, **stretched}, result.spans, result.capacity)
    assert 20 < (long.end - long.first_arrival) / 160 < 50
    (axes,) = drawn(draw_goodput, {"long": long}).axes
    assert "in windows of 50 s" in axes.get_title(loc="left")
    assert axes.get_xlabel() == "minutes since the first arrival"


def test_an_unknown_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SlosimError, match="cannot be written"):
        draw(RESULTS, tmp_path / "file")


@given(st.lists(st.floats(0, 1), max_size=8))
def test_labels_are_moved_apart_in_order(places: list[float]) -> None:
    moved = spread(places, LEAST_GAP)
    order = np.argsort(places, kind="stable")
    assert (np.diff(np.array(moved)[order]) > LEAST_GAP * 0.999).all()
    if np.diff(np.sort(places)).min(initial=1) >= LEAST_GAP:
        assert moved == pytest.approx(places)
    assert sum(moved) == pytest.approx(sum(places)), "as a whole they stay where they were"


def test_every_policy_looks_its_own_and_the_oracle_is_dashed() -> None:
    names = [f"policy-{number}" for number in range(12)]
    found = looks(["Oracle,candidates=8", *names])
    assert len({(one["color"], str(one.get("linestyle"))) for one in found.values()}) == 13
    assert found["Oracle,candidates=8"]["linestyle"] == (0, (4, 2))
    assert looks(names)["policy-0"] == found["policy-0"], "an oracle takes no colour away"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (2e-5, "20 µs"),
        (0.001, "1 ms"),
        (0.25, "250 ms"),
        (0.9999, "1 s"),
        (1.5, "1.5 s"),
        (1000, "1000 s"),
    ],
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("seconds", "unit"), [(100, "seconds"), (1000, "minutes"), (20000, "hours")])
def test_units_of_time_follow_the_length(seconds: float, unit: str) -> None:
    assert time_unit(seconds)[1] == unit
