"""Tables, pictures and text as HTML that needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.escaping import in_html
from experiments.table import Cell, Comparison


def element(name: str, content: str, **attributes: str) -> str:
    """An element; `content` is HTML already. An attribute `class_` is written `class`."""
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{in_html(value)}"' for key, value in attributes.items())
    return f"<{name}{said}>{content}</{name}>"


def text(name: str, content: str, **attributes: str) -> str:
    """An element with plain text in it."""
    return element(name, in_html(content), **attributes)


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences; nothing if there are none."""
    items = "".join(text("li", sentence) for sentence in sentences)
    return element("ul", items) if items else ""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table; the first column names the rows."""
    heads = "".join(text("th", title, scope="col") for title in head)
    body = "".join(
        element("tr", text("th", first, scope="row") + "".join(text("td", value) for value in rest))
        for first, *rest in rows
    )
    parts = text("caption", caption) + element("thead", element("tr", heads)) + element("tbody", body)
    return element("div", element("table", parts), class_="scroll", tabindex="0", role="region", aria_label=caption)


def comparison(shown: Comparison, caption: str) -> str:
    """The table of a comparison: a body per section, the best of a row bold, ratios to the baseline beside."""
    heads = text("th", "", scope="col") + "".join(text("th", name, scope="col") for name in shown.policies)
    bodies = []
    for title, rows in shown.sections.items():
        span = str(1 + len(shown.policies))
        lines = [element("tr", text("th", title.strip(), scope="rowgroup", colspan=span), class_="section")]
        lines += [element("tr", text("th", row.label, scope="row") + "".join(map(_cell, row.cells))) for row in rows]
        bodies.append(element("tbody", "".join(lines)))
    beside = any(cell.ratio for rows in shown.sections.values() for row in rows for cell in row.cells)
    small = f". Small: how many times better than {shown.baseline} (latencies: shorter), or percentage points"
    parts = (
        text("caption", caption + (small if beside else "")) + element("thead", element("tr", heads)) + "".join(bodies)
    )
    return element("div", element("table", parts), class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(cell: Cell) -> str:
    value = text("strong", cell.value) if cell.best else in_html(cell.value)
    look = {True: "better", False: "worse", None: "same"}[cell.better]
    ratio = f" {text('small', cell.ratio, class_=look)}" if cell.ratio else ""
    return element("td", value + ratio)


def picture(name: str, draw: Callable[[Path], Path], caption: str, described: str) -> str:
    """A picture drawn as SVG, inline; `name` keeps its ids apart from those of others, `described` is read aloud."""
    with TemporaryDirectory() as folder:
        drawn = draw(Path(folder) / "picture.svg").read_text("utf-8")
    inner = text("title", described) + inline(drawn, name)
    size = re.search(r'viewBox="([^"]+)"', drawn)
    assert size, "matplotlib says how large its pictures are"
    shown = element("svg", inner, viewBox=size[1], role="img", aria_label=described)
    return element("figure", shown + text("figcaption", caption), tabindex="0")


def inline(drawn: str, name: str) -> str:
    """What is inside an SVG file, its ids and what refers to them beginning with a name."""
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    return re.sub(r"url\(#", f"url(#{name}-", body)
