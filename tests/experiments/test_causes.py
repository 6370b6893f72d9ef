"""Why requests were late, in every comparison: files, table, picture and sentences hold the roll-up's numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.causes import lives, picture
from experiments.causes.files import read_causes, write_causes
from experiments.causes.lives import draw_life, latest_first, life_frame
from experiments.causes.picture import COLOURS, draw_causes
from experiments.causes.table import causes_table
from experiments.causes.words import differences, why_late
from experiments.results import footer
from sim.attribution import EXCESSES, Attribution, Missed, RollUp, attribute, life, roll_up
from sim.result import RunResult
from sim.simulation import simulate
from tests.sim.stories import MODEL, little_trace
from traces.errors import SlosimError


def run(policy: str) -> tuple[RunResult, Attribution]:
    result = simulate(little_trace(4, requests=60, spread=3.0), policy, MODEL, kv_blocks=8, block_size=16)
    return result, attribute(result, MODEL)


RUNS = {policy: run(policy) for policy in ("vllm", "sarathi,chunk_size=32")}
ROLLED = {policy: roll_up(*one) for policy, one in RUNS.items()}
NONE = dict.fromkeys(EXCESSES, 0.0)
NOTHING = RollUp(*(Missed(0, 0, 0, 0, NONE, dict.fromkeys(EXCESSES, 0)),) * 3, NONE, NONE)


def test_a_file_holds_every_request_s_causes_and_says_where_it_comes_from(tmp_path: Path) -> None:
    result, causes = RUNS["vllm"]
    path = write_causes(result, causes, tmp_path, {"policies": ["vllm"]})
    again = read_causes(tmp_path)
    for name, column in causes.columns().items():
        np.testing.assert_array_equal(again.columns()[name], column)
    assert footer(path)["run"]["config"] == {"policies": ["vllm"]}
    with pytest.raises(SlosimError, match=r"causes\.parquet: cannot be read"):
        read_causes(tmp_path / "nowhere")


def test_the_table_has_the_numbers_of_the_roll_up() -> None:
    shown = causes_table(ROLLED)
    rows = {
        (title, row.label): [cell.value for cell in row.cells]
        for title, found in shown.sections.items()
        for row in found
    }
    late = rows["Late first tokens", "came late"]
    assert late == [str(one.ttft.late) for one in ROLLED.values()]
    waited = [float(value) for value in rows["What a JCT is made of, s", "waiting for KV cache"]]
    assert waited == pytest.approx([one.delay["kv_wait"] for one in ROLLED.values()], rel=0.01)
    assert ("What a JCT is made of, s", "beyond the cost model") not in rows, "it did nothing"
    assert "waiting for KV cache" in shown.markdown()


def test_a_table_of_runs_without_slos_says_nothing() -> None:
    assert causes_table({"vllm": NOTHING}).sections == {}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    kept: list[Figure] = []
    for module in (picture, lives):
        monkeypatch.setattr(module, "write", lambda figure, path: kept.append(figure) or path)
    return kept


def test_bars_are_as_long_as_the_seconds(drawn: list[Figure]) -> None:
    draw_causes(ROLLED, Path("unwritten"))
    panels = {axes.get_title(loc="left"): axes for axes in drawn[0].axes}
    assert list(panels) == [
        "First tokens: over their SLO", "Later tokens: over their SLO", "Jobs: over their SLO",
        "Mean JCT: alone, and delays",
    ]  # fmt: skip
    for title, total in (
        ("First tokens: over their SLO", [one.ttft.total / one.ttft.asked for one in ROLLED.values()]),
        ("Mean JCT: alone, and delays", [sum(one.delay.values()) for one in ROLLED.values()]),
    ):
        width = [0.0, 0.0]
        for patch in panels[title].patches:
            width[1 - round(patch.get_y() + 0.3)] += patch.get_width()
        assert width == pytest.approx(total)
    assert list(COLOURS) == list(EXCESSES)
    assert len(set(COLOURS.values())) == len(EXCESSES)


def test_one_bar_that_would_dwarf_the_others_is_shortened_and_says_its_seconds(drawn: list[Figure]) -> None:
    def took(alone: float, waited: float) -> RollUp:
        return replace(NOTHING, delay={**NONE, "alone": alone, "kv_wait": waited})

    for longest, shown in ((30.0, 30.0), (200.0, 1.3 * 10.0)):
        draw_causes({"a": took(6, 4), "b": took(longest / 4, longest * 3 / 4), "c": took(2, 0)}, Path("unwritten"))
        (axes,) = drawn.pop().axes
        alone, waited = ([bar.get_width() for bar in part] for part in axes.containers)
        assert alone == pytest.approx([6, shown / 4, 2])
        assert waited == pytest.approx([4, shown * 3 / 4, 0])
        assert [text.get_text() for text in axes.texts] == ["10 s", f"{longest:.0f} s", "2 s"]
        assert ("not to scale" in axes.get_xlabel()) == bool(axes.lines) == (shown < longest)
        assert all(line.get_ydata() == [1] for line in axes.lines), "the second of three"


def test_a_picture_of_nothing_says_so(tmp_path: Path) -> None:
    assert draw_causes({"vllm": NOTHING}, tmp_path / "causes.png").read_bytes().startswith(b"\x89PNG")


def test_sentences_are_made_of_the_roll_up() -> None:
    one = ROLLED["vllm"]
    told = why_late("vllm", one)
    assert told.startswith(f"vllm: {one.ttft.late} of {one.ttft.asked} first tokens late")
    largest = max(one.ttft.excess, key=lambda cause: one.ttft.excess[cause])
    assert f": {100 * one.ttft.excess[largest] / one.ttft.total:.0f} % " in told
    assert why_late("x", NOTHING) == "x: no request has an SLO"
    for kind, things in (("ttft", "first tokens"), ("jct", "jobs"), ("tbt", "requests with late later tokens")):
        punctual = replace(NOTHING, **{kind: replace(getattr(NOTHING, kind), asked=3)})
        assert why_late("x", punctual) == f"x: no late {things}"


def test_differences_are_those_of_the_mean_jct() -> None:
    (told,) = differences(ROLLED, "vllm")
    change = sum(ROLLED["sarathi,chunk_size=32"].delay.values()) - sum(ROLLED["vllm"].delay.values())
    assert told.startswith("sarathi,chunk_size=32's mean JCT is ")
    assert (" longer than vllm's: " if change > 0 else " shorter than vllm's: ") in told
    assert not list(differences({"a": ROLLED["vllm"], "b": ROLLED["vllm"]}, "a"))


def test_a_roll_up_is_of_the_measured_requests_only() -> None:
    result, causes = RUNS["vllm"]
    later = RunResult(
        result.requests, result.iterations, result.spans, result.capacity, result.applications, result.rejections,
        {**result.about, "warmup": 0.5}, result.events,
    )  # fmt: skip
    part = roll_up(later, causes)
    assert isinstance(part, RollUp)
    assert (
        part.ttft.asked
        == int((later.measured & np.isfinite(result.requests["slo_ttft"])).sum())
        < ROLLED["vllm"].ttft.asked
    )


LIVES = {policy: life(result, MODEL, 7) for policy, (result, _) in RUNS.items()}


def test_a_frame_has_the_seconds_of_every_stage() -> None:
    for stages in LIVES.values():
        frame = life_frame(stages)
        assert frame["stage"].tolist() == [stage.what for stage in stages]
        seconds = frame[[name for name in EXCESSES if name in frame]].sum(axis=1)
        assert seconds.tolist() == pytest.approx((frame["to"] - frame["from"]).tolist())
        assert frame["tokens"].sum() == RUNS["vllm"][0].requests["output_tokens"][7]


def test_a_life_is_drawn_from_arrival_to_last_token(drawn: list[Figure]) -> None:
    draw_life({**LIVES, "nobody": []}, Path("unwritten"), slo_ttft=0.5)
    (axes,) = drawn[0].axes
    for place, (policy, stages) in zip((2, 1), LIVES.items(), strict=True):
        ends = [patch.get_x() + patch.get_width() for patch in axes.patches if round(patch.get_y() + 0.3) == place]
        rows = RUNS[policy][0].requests
        assert max(ends) == pytest.approx(rows["finished_at"][7] - rows["arrived_at"][7])
        assert len(ends) == sum(1 + len(stage.causes) for stage in stages)


def test_the_latest_are_those_furthest_beyond_their_slo() -> None:
    result, _ = RUNS["vllm"]
    rows = result.requests
    beyond = rows["first_token_at"] - rows["arrived_at"] - rows["slo_ttft"]
    late = [number for number in np.argsort(-beyond) if beyond[number] > 0]
    assert latest_first(result, 4) == late[:4]
    assert len(latest_first(result, 1000)) == len(late) == ROLLED["vllm"].ttft.late
