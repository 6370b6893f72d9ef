"""Verdicts on claims: effects paired by seed, sizes, directions, loads."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import pytest

from experiments.figures.figure import EVERY, LESS, MORE, Claim, Unit
from experiments.figures.judging import Judgement, band, effect_of, judge
from experiments.figures.report import borne_table
from experiments.figures.supported import supported
from experiments.figures.words import load_said, loads_said, ours_said, paper_said, where_said
from experiments.studies.findings import Findings, Place
from experiments.studies.study import Setting, Study, Variant
from experiments.studies.verdicts import who_wins

HERE = Setting("here", "made up", {}, (1.0, 8.0))
NOISE = (1.0, 1.02, 1.05)
"""Of the seeds, the same for all."""


def claim(paper: tuple[float, float], unit: Unit, beside: tuple[str, ...] = ("base",)) -> Claim:
    return Claim("it is better", "made up", "m", "a", beside, paper, unit, (("here", 8.0),))


def findings(idle: dict[str, float], busy: dict[str, float], spread: float = 0.01) -> Findings:
    """A metric of variants that is their level times the seed's, with a little noise of their own."""
    own = (1 - spread, 1.0, 1 + spread)
    asked = Study("s", "?", tuple(map(Variant, idle)), who_wins, (HERE,), 10, 3, metrics=("m",))
    runs = {
        Place("here", rate, title): [
            {"m": value * seed * (1.0 if title == "base" else each)} for seed, each in zip(NOISE, own, strict=True)
        ]
        for rate, values in ((1.0, idle), (8.0, busy))
        for title, value in values.items()
    }
    return Findings(asked, runs)


def verdict(paper: tuple[float, float], unit: Unit, level: float, idle: float = 1.0, spread: float = 0.01) -> str:
    return judge(claim(paper, unit), findings({"base": 1.0, "a": idle}, {"base": 1.0, "a": level}, spread)).verdict


@pytest.mark.parametrize(
    ("paper", "unit", "level", "expected"),
    [
        ((1.4, 10.0), "times", 3.0, "reproduced"),
        ((1.4, 10.0), "times", 1.35, "reproduced"),  # 0.35 is three quarters of 0.4 and more
        ((1.4, 10.0), "times", 1.25, "in part"),
        ((1.4, 10.0), "times", 1.05, "not"),  # an eighth of what the paper has
        ((1.4, 10.0), "times", 0.3, "not"),
        ((1.4, 10.0), "times", 20.0, "in part"),  # far more than the paper has is not what it has
        ((2.0, 4.0), "times less", 1 / 3, "reproduced"),
        ((2.0, 4.0), "times less", 3.0, "not"),
        ((-35.0, -35.0), "%", 0.62, "reproduced"),
        ((-35.0, -35.0), "%", 0.85, "in part"),
        ((-97.0, -97.0), "%", 0.99, "not"),
        ((-35.0, -35.0), "%", 1.35, "not"),
        (MORE, "%", 1.1, "reproduced"),
        (MORE, "%", 1.005, "not"),  # a trifle, though no chance would be that even
        (LESS, "%", 0.9, "reproduced"),
        (LESS, "%", 1.1, "not"),
    ],
)
def test_a_verdict_has_direction_and_size(paper: tuple[float, float], unit: Unit, level: float, expected: str) -> None:
    assert verdict(paper, unit, level, spread=0.001) == expected


def test_chance_is_no_reproduction() -> None:
    assert verdict((1.4, 10.0), "times", 2.0, spread=0.01) == "reproduced"
    assert verdict((1.4, 10.0), "times", 2.0, spread=0.9) == "not"


def test_another_load_is_only_a_part() -> None:
    assert verdict((1.4, 10.0), "times", 1.0, idle=3.0) == "in part"
    found = judge(claim((1.4, 10.0), "times"), findings({"base": 1.0, "a": 3.0}, {"base": 1.0, "a": 1.0}))
    assert where_said(found, findings({"base": 1.0, "a": 1.0}, {"base": 1.0, "a": 1.0}).study) == "here at 1/s"


def test_all_baselines_count() -> None:
    asked = claim((1.4, 10.0), "times", ("base", "b"))
    known = findings({"base": 1.0, "a": 1.0, "b": 1.0}, {"base": 1.0, "a": 2.0, "b": 1.9}, 0.001)
    found = judge(asked, known)
    assert found.verdict == "in part"
    assert where_said(found, known.study) == "beside base only: here at 8/s"
    said = "here, 8/s: 1.05 (1.05 to 1.05) times beside b to 2 (2 to 2) times beside base"
    assert ours_said(found, known.study) == said


def test_the_best_case_needs_one_comparison() -> None:
    asked = claim((1.4, 10.0), "times", ("base", "b"))
    known = findings({"base": 1.0, "a": 1.0, "b": 1.0}, {"base": 1.0, "a": 2.0, "b": 1.9}, 0.001)
    best = judge(asked._replace(best=True), known)
    assert best.verdict == "reproduced"
    assert ours_said(best, known.study) == "at most 2 (2 to 2) times beside base (here, 8/s)"
    few = findings({"base": 1.0, "a": 1.0, "b": 1.0}, {"base": 1.0, "a": 1.23, "b": 1.23}, 0.02)
    assert judge(asked._replace(best=True), few).verdict == "in part", "much doubt is no size"


def test_many_comparisons_allow_less_to_chance() -> None:
    """What is told from chance among one is not among many, where one of them would be enough."""
    loads = tuple(float(each) for each in range(1, 9))
    runs = {Place("here", rate, title): [{"m": 1.0}] * 3 for rate in loads for title in ("base", "a")}
    runs[Place("here", 8.0, "a")] = [{"m": each} for each in (1.4, 1.5, 1.65)]
    asked = claim((2.0, 2.0), "times")._replace(at=(("here", 1.0),))
    study = Study("s", "?", (Variant("base"), Variant("a")), who_wins, (HERE,), 10, 3, metrics=("m",))
    many = replace(study, settings=(HERE._replace(rates=loads),))
    assert judge(asked, Findings(study, runs)).verdict == "in part"
    assert judge(asked, Findings(many, runs)).verdict == "not"
    assert where_said(judge(asked, Findings(many, runs)), many) == "nowhere", "as the verdict has it"


def test_a_level_is_met_or_not() -> None:
    flat = findings({"base": 1.0, "a": 1.0}, {"base": 1.0, "a": 1.0})
    assert judge(claim((1.01, 1.1), "level", ()), flat).verdict == "reproduced", "its interval meets them"
    assert judge(claim((20.0, 30.0), "level", ()), flat).verdict == "not"


def test_nothing_at_the_papers_load_is_no_verdict() -> None:
    asked = claim((1.4, 10.0), "times")._replace(at=(("there", 8.0),))
    assert judge(asked, findings({"base": 1.0, "a": 3.0}, {"base": 1.0, "a": 3.0})).verdict == "not run"


def test_effects() -> None:
    points = effect_of(claim((1.0, 1.0), "points"), [0.5, 0.7], [0.4, 0.4])
    assert points.mean == pytest.approx(20.0)
    assert points.high - points.mean == pytest.approx(12.706 * 10, rel=1e-3)
    assert isnan(effect_of(claim((1.4, 10.0), "times"), [1.0, 2.0], [0.0, 2.0]).mean), "no ratio to nought"
    assert verdict((1.4, 10.0), "times", 0.0) == "not"
    assert band(claim((1.4, 3.0), "times")) == pytest.approx((0.3, 2.5))
    assert band(claim((-40.0, -20.0), "%")) == pytest.approx((15.0, 50.0))


def test_words() -> None:
    assert paper_said(claim((1.42, 11.21), "times")) == "1.42 to 11.2 times"
    assert paper_said(claim((-97.0, -97.0), "%")) == "-97 %"
    assert paper_said(claim(MORE, "times")) == "more"
    assert paper_said(claim(LESS, "%")) == "less"
    assert load_said(("here", 0.5)) == "here, 0.5/s"
    assert loads_said([("here", 0.5), ("here", 2.0), ("there", 8.0)]) == "here at 0.5 and 2/s; there at 8/s"


@pytest.mark.parametrize(
    ("attained", "expected"),
    [
        ((0.9, 0.6, 0.2), 2.5),  # a quarter of the way from 2 to 4
        ((0.9, 0.5, 0.2), 2.0),
        ((0.9, 0.1, 0.1), 1.5),
        ((0.4, 0.6, 0.2), 2.5),  # below it first: the highest counts
        ((0.9, 0.4, 0.5), None),  # still attained at the highest
        ((0.4, 0.3, 0.2), None),  # never
        ((0.9, float("nan"), 0.2), None),
    ],
)
def test_the_rate_that_is_borne(attained: tuple[float, ...], expected: float | None) -> None:
    found = supported((1.0, 2.0, 4.0), attained, 0.5)
    assert isnan(found) if expected is None else found == pytest.approx(expected)


def borne(levels: dict[str, list[tuple[float, float]]]) -> tuple[Judgement, Findings]:
    """A claim on the rate at which a half is attained: values of seeds at 1 and at 8 requests/s, by variant."""
    asked = Study("s", "?", tuple(map(Variant, levels)), who_wins, (HERE,), 10, 3, metrics=("m",))
    runs = {
        Place("here", rate, title): [{"m": each[at]} for each in seeds]
        for title, seeds in levels.items()
        for at, rate in enumerate(HERE.rates)
    }
    said = claim((1.5, 1.5), "times")._replace(share=0.5, at=(("here", EVERY),), best=True)
    known = Findings(asked, runs)
    return judge(said, known), known


def test_rates_that_are_borne_are_compared_seed_by_seed() -> None:
    """From 1 to 8 requests/s: 0.7 that falls to 0.3, and 0.8 to 0.2, are a half at 4.5; 0.6 to 0 is so at 1 + 7 / 6."""
    ours, base = [(0.7, 0.3), (0.8, 0.2), (0.6, 0.0)], [(0.6, 0.1), (0.6, 0.1), (0.55, 0.05)]
    found, known = borne({"base": base, "a": ours})
    (only,) = found.comparisons
    ratios = (4.5 / 2.4, 4.5 / 2.4, (1 + 7 / 6) / 1.7)
    assert only.effect.mean == pytest.approx((ratios[0] * ratios[1] * ratios[2]) ** (1 / 3))
    assert only.load == ("here", EVERY)
    assert ours_said(found, known.study).endswith("times beside base (here)")
    steady, known = borne({"base": base[:1] * 3, "a": [(0.7, 0.1), (0.701, 0.1), (0.699, 0.1)]})
    assert steady.verdict == "reproduced", "3.33 of 2.4 requests/s is 39 % more, of the paper's 50"
    assert where_said(steady, known.study) == "here"
    title, table = borne_table(steady.claim, known)
    assert title == "Requests/s up to which 50 % are reached: m"
    assert table[:2] == [["", "here"], ["base", "2.4 ± 0"]]
    assert table[2][1].startswith("3.33 ± 0.0")


def test_a_rate_beyond_the_loads_is_no_number() -> None:
    found, known = borne({"base": [(0.6, 0.1)] * 3, "a": [(0.7, 0.3), (0.7, 0.3), (0.9, 0.6)]})
    assert found.verdict == "not"
    said = "here: \N{EN DASH} (none beside base: a seed attains it at all loads or at none)"
    assert ours_said(found, known.study) == said
    assert borne_table(found.claim, known)[1][2] == ["a", "\N{EN DASH}"]
