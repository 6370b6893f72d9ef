"""A comparison as one HTML file: it stands alone, is well made, can be read aloud, and holds the right numbers."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.report.findings import findings
from experiments.report.gathered import Gathered
from experiments.report.html import element, inline, text
from traces.errors import SlosimError

WORDS = ["compare", "--requests", "25", "-p", "vllm", "-p", "sarathi,chunk_size=256", "--jobs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little comparison with one load in detail, one more in the sweep, and its report."""
    path = tmp_path_factory.mktemp("comparison")
    assert main([*WORDS, "--rate", "2", "--sweep", "1", "-o", str(path)]) == 0
    assert main(["report", str(path), "-o", str(path / "mail.html"), "--baseline", "sarathi,chunk_size=256"]) == 0
    return path


@pytest.fixture(scope="module")
def written(folder: Path) -> str:
    return (folder / "mail.html").read_text("utf-8")


class Reader(HTMLParser):
    """Checks that elements nest, and keeps what is in them."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def page(written: str) -> Reader:
    reader = Reader()
    reader.feed(written)
    reader.close()
    assert not reader.open
    return reader


def test_nothing_is_fetched(written: str, page: Reader) -> None:
    names = {name for name, _ in page.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.seen:
        for key in ("src", "href", "xlink:href", "data", "srcset", "poster"):
            assert attributes.get(key, "#").startswith("#")
    assert not re.search(r"url\((?!#)", written)
    assert "@import" not in written
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", written)


def test_every_id_is_there_once_and_every_reference_leads_somewhere(page: Reader, written: str) -> None:
    ids = [attributes["id"] for _, attributes in page.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {attributes["href"][1:] for _, attributes in page.seen if attributes.get("href")}
    used |= set(re.findall(r"url\(#([^)]+)\)", written))
    used |= {attributes["aria-labelledby"] for _, attributes in page.seen if "aria-labelledby" in attributes}
    assert used <= set(ids)
    assert any(one.startswith("rate-2-causes") for one in used)


def test_it_can_be_read_aloud(page: Reader) -> None:
    assert page.named("html")[0]["lang"] == "en"
    pictures = [one for one in page.named("svg") if "role" in one]
    assert len(pictures) == len(page.named("svg")) == 5 + 1
    assert all(one["role"] == "img" and len(one["aria-label"]) > 60 for one in pictures)
    assert len(page.named("caption")) == len(page.named("table")) > 5
    assert {one["scope"] for one in page.named("th")} == {"row", "col", "rowgroup"}
    headings = [int(name[1]) for name, _ in page.seen if re.fullmatch(r"h[1-6]", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(later <= former + 1 for former, later in pairwise(headings))
    assert "viewport" in {one.get("name") for one in page.named("meta")}


def test_light_and_dark(written: str) -> None:
    assert "prefers-color-scheme: dark" in written
    assert "color-scheme: light dark" in written


def test_it_holds_the_comparison(folder: Path, page: Reader) -> None:
    told = " ".join(page.words)
    gathered = Gathered.of(folder)
    for one in gathered.means(2.0).values():
        assert f"{one['mean_jct']:.3g}" in told
        assert f"{100 * one['slo_attainment_requests']:.1f} %" in told
    for wanted in ("waiting for its turn", "What a JCT is made of", "bookcorpus", "opt-13b@a100-80gb-vllm", "digest"):
        assert wanted in told
    assert "better than sarathi,chunk_size=256" in told
    assert gathered.scenario["digest"] in told
    for load in gathered.loads:
        assert all(origin["run"]["source_digest"] in told for origin in load.origins.values())
    assert "1 seed, so what is chance is not known" in told


def test_the_same_comparison_makes_the_same_report(folder: Path, written: str) -> None:
    assert main(["report", str(folder), "--baseline", "sarathi,chunk_size=256"]) == 0
    assert (folder / "report.html").read_text("utf-8") == written


def test_what_is_no_comparison_is_named(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no finished comparison is there" in capsys.readouterr().err
    assert main(["report", str(folder), "--baseline", "vlm"]) == 2
    assert "did you mean 'vllm'" in capsys.readouterr().err
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    (copied / "rate-2" / "vllm" / "causes.parquet").unlink()
    with pytest.raises(SlosimError, match=r"causes\.parquet: cannot be read"):
        Gathered.of(copied)


def test_findings_say_who_is_best_and_whether_that_is_chance() -> None:
    def one(jct: float, share: float) -> dict[str, float]:
        return {"mean_jct": jct, "slo_attainment_requests": share}

    sure = {"a": [one(2.0, 0.5), one(2.0, 0.52)], "b": [one(2.0, 0.61), one(2.0, 0.632)]}
    told = list(findings({"a": one(2.0, 0.51), "b": one(2.0, 0.62)}, sure, "a"))
    assert told[0] == (
        "b meets all SLOs of the largest share of requests: 62.0 % (a 51.0 %); "
        "11.1 pp more than a, ± 1.3 pp over 2 seeds, not chance."
    )
    runs = {"a": [one(2.0, 0.5), one(3.0, 0.5)], "b": [one(1.0, 0.501), one(2.01, 0.5)]}
    told = list(findings({"a": one(2.5, 0.5), "b": one(1.5, 0.5)}, runs, "a"))
    assert told == [
        "Requests within all their SLOs: all policies are within 0.5 % of each other.",
        "b has the shortest mean completion time: 1.5 s (a 2.5 s); "
        "995 ms less than a, ± 63.5 ms over 2 seeds, not chance.",
    ]


def test_text_is_escaped() -> None:
    assert text("p", "a < b & c", class_='"x"') == '<p class="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert element("p", "<b></b>", aria_label="y") == '<p aria-label="y"><b></b></p>'


def test_ids_of_pictures_are_kept_apart() -> None:
    drawn = '<?xml?><svg viewBox="0"><metadata>x</metadata><g id="a"/><use xlink:href="#a" clip-path="url(#b)"/></svg>'
    assert inline(drawn, "n") == '<g id="n-a"/><use href="#n-a" clip-path="url(#n-b)"/>'
