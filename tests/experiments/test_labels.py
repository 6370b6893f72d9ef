"""Labels of policies and applications may be any text: each run keeps its own files, and each medium shows the text."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.compare import Comparing
from experiments.console import Literal, Steps, as_text
from experiments.drawing import figure, legend
from experiments.escaping import as_code, folded, from_csv, in_csv, in_html, in_markdown, in_path, in_picture, literally
from experiments.grid import folder_names, load_name
from experiments.pictures import draw_attainment
from experiments.regress.margins import Margin, judge
from experiments.regress.report import junit, markdown
from experiments.report.gathered import Gathered
from experiments.report.page import write_page
from experiments.results import read
from experiments.scenario import Scenario
from experiments.settings import scenario_of
from experiments.table import Comparison
from traces import Trace, TraceRow
from traces.errors import SlosimError

HOSTILE = (
    "g<1",
    "g>1",
    "..",
    "[/red]",
    "[bold]loud",
    r"$\frac$",
    "$a$ and $b$",
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x","y")',
    "a|b`c`",
    "two\nlines\r",
    "\x1b[31mred\x07",
    "_hidden",
    ":smile: 😀 日本",
    "CON",
    "table.txt",
    "Vllm",
    "vllm",
    "x" * 300,
    "--help",
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Scenario]:
    """A comparison of one policy under each label, on requests of applications with the same labels."""
    place = tmp_path_factory.mktemp("labels")
    labels = [label for label in HOSTILE if "\r" not in label]  # a CSV file would not bring it back
    rows = [TraceRow(0.1 * at, 10 + at, 3, application=label) for at, label in enumerate(labels)]
    Trace.from_rows(rows).save(place / "mine.parquet")
    policies = [
        {"name": "sarathi", "parameters": {"chunk_size": 100 + number}, "label": label}
        for number, label in enumerate(HOSTILE)
    ]
    trace = {"source": str(place / "mine.parquet")}
    scenario = Scenario(trace=trace, policies=policies, slos={"rule": "fixed", "ttft": 1.0}, seeds=2)
    text = StringIO()
    Comparing(scenario, place / "out", Literal(file=text, width=200, force_terminal=True)).run()
    return place / "out", text.getvalue(), scenario


def test_each_label_has_a_folder_of_its_own(compared: tuple[Path, str, Scenario]) -> None:
    folder, _, scenario = compared
    names = folder_names(tuple(policy.title for policy in scenario.policies))
    assert len({folded(name) for name in names.values()}) == len(HOSTILE)
    for policy in scenario.policies:
        result = read(folder / "as-recorded" / names[policy.title])
        assert f"chunk_size={policy.parameters['chunk_size']}," in str(result.about["scheduler"])
    told = json.loads((folder / "scenario.json").read_text())["folders"]
    assert {label: told[label] for label in HOSTILE} == names, "whose folder is whose"


def test_a_report_reads_them_back(compared: tuple[Path, str, Scenario], tmp_path: Path) -> None:
    folder, _, _ = compared
    gathered = Gathered.of(folder)
    assert gathered.policies == HOSTILE
    assert list(gathered.loads[0].results) == list(HOSTILE)
    page = write_page(folder, tmp_path / "r.html").read_text("utf-8")
    texts: list[str] = []
    tags: set[str] = set()

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            texts.append(data)

        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.add(tag)

    Reader().feed(page)
    assert "script" not in tags
    assert not CONTROL.search(page)
    for label in HOSTILE:
        assert literally(label) in texts, "shown as it stands"


def test_the_console_shows_them_as_they_stand(compared: tuple[Path, str, Scenario]) -> None:
    _, told, _ = compared
    plain = re.sub(r"\x1b\[[\d;]*m|\x1b\[\?25[lh]|\x1b\[\d?[AKG]", "", told)  # rich's own colours
    assert "\x1b" not in plain
    assert "\x07" not in plain
    for label in HOSTILE:
        assert f"{literally(label)}: " in plain.replace("\n", "") or literally(label) in plain
    assert "two\n" not in plain, "a label is on one line"


def test_csv_starts_no_formula(compared: tuple[Path, str, Scenario]) -> None:
    folder, _, _ = compared
    rows = list(csv.reader(StringIO((folder / "runs.csv").read_text("utf-8"))))
    assert len(rows) == 1 + 2 * len(HOSTILE)
    assert not any(cell[:1] in tuple("=+-@\t\r") for row in rows[1:] for cell in row[:1])
    assert {row[0] for row in rows[1:]} == {in_csv(label) for label in HOSTILE}


def test_markdown_keeps_its_columns(compared: tuple[Path, str, Scenario]) -> None:
    folder, _, _ = compared
    text = (folder / "as-recorded" / "table.md").read_text("utf-8")
    rows = [line for line in text.split("```")[0].splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(HOSTILE) + 2}
    assert not re.search(r"(?<!\\)[<>]", text.split("```")[0])


def test_pictures_show_them(tmp_path: Path, compared: tuple[Path, str, Scenario]) -> None:
    folder, _, scenario = compared
    names = folder_names(tuple(policy.title for policy in scenario.policies))
    chosen = [r"$\frac$", "_hidden", "two\nlines\r", "<script>alert(1)</script>"]
    results = {label: read(folder / "as-recorded" / names[label]) for label in chosen}
    drawn = draw_attainment(results, tmp_path / "a.svg").read_text("utf-8")
    assert not CONTROL.search(drawn)
    ElementTree.fromstring(drawn)
    with figure(1, 1, 4, 3) as (whole, (axes,)):
        for label in chosen:
            axes.plot([0, 1], [0, 1], label=in_picture(label))
        legend(whole, axes)
        shown = {text._preprocess_math(text.get_text())[0].strip() for text in whole.legends[0].get_texts()}
    assert shown == {literally(label) for label in chosen}


def test_ordinary_labels_keep_their_folders() -> None:
    ordinary = (
        "vllm",
        "sarathi,chunk_size=256",
        "my_module:Policy,x=1",
        "AccelGen (paper)",
        "planned,plan=a/plan.json",
    )
    was = [re.sub(r"[^\w.=+-]+", "_", title) for title in ordinary]
    assert list(folder_names(ordinary).values()) == was


@pytest.mark.parametrize(
    "two",
    [("g<1", "g>1"), ("Vllm", "vllm"), ("a,b", "a_b"), ("é", "e\u0301"), ("x" * 200, "x" * 200 + "y"), ("ﬁ", "fi")],
)
def test_two_labels_never_share_a_folder(two: tuple[str, str]) -> None:
    one, other = folder_names(two).values()
    assert folded(one) != folded(other)


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=6))
def test_any_labels_have_safe_folders_of_their_own(labels: list[str]) -> None:
    names = list(folder_names(tuple(labels)).values())
    assert len({folded(name) for name in names}) == len(labels)
    for name in names:
        assert re.fullmatch(r"[\w=+~][\w.=+~-]*", name)
        assert not name.endswith(".")
        assert len(name.encode()) <= 120


@given(st.text(max_size=40))
def test_any_text_is_harmless_in_each_medium(text: str) -> None:
    shown = literally(text)
    assert not CONTROL.search(shown)
    assert shown == literally(shown)
    assert from_csv(in_csv(text)) == shown
    assert "<" not in in_html(text)
    assert not re.search(r"(?<!\\)(\\\\)*[|<]", in_markdown(text))
    assert "\n" not in as_code(text)
    assert in_path(text) not in ("", ".", "..")
    assert literally(as_text(10_000, text)).strip() is not None


@pytest.mark.parametrize("label", HOSTILE)
def test_progress_and_tables_take_any_label(label: str) -> None:
    out = StringIO()
    with Steps(Literal(file=out, force_terminal=True), label, 2) as steps:
        steps.finished(label)
        steps.reached(1, label)
    table = Comparison.of({label: {"goodput": 1.0}, "other": {"goodput": 2.0}})
    assert literally(label)[:60] in table.text(1000).replace("\n", "")
    assert label not in ("[/red]",) or "[/red]" in table.text()


def test_rich_s_own_console_would_not() -> None:
    """The counter-proof: what `Literal` is for."""
    out = StringIO()
    Console(file=out).print("[bold]loud")
    assert "[bold]" not in out.getvalue()


def test_labels_that_look_alike_are_refused() -> None:
    with pytest.raises(SlosimError, match="two policies are called"):
        scenario_of(defaults={"policies": [{"name": "vllm", "label": "a\nb"}, {"name": "orca", "label": "a\\nb"}]})


def test_an_application_may_be_called_no_application() -> None:
    groups = {"p": {"": {"goodput": 1.0}, "no application": {"goodput": 2.0}}}
    assert list(Comparison.of_groups(groups).sections) == ["(no application)", "no application"]


def test_loads_that_differ_have_names_that_do() -> None:
    assert load_name(0.6) == "rate-0.6"
    assert load_name(0.6) != load_name(0.60000001)


def test_a_gate_s_reports_take_any_name() -> None:
    found = [judge(Margin("goodput", "min", 0.02), "rate-1", [1.0, 1.0], [1.0, 1.0])]
    text = markdown(found, "m:P,label=`|`", "a\nb")
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1
    ElementTree.fromstring(junit(found, "m:P,x=\x1b<", "b\x00"))
