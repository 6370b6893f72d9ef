"""Any text shown literally: labels and messages on a console, in pictures, Markdown, CSV and HTML.

Labels of policies and applications are whatever a user or a file says. Each medium has characters that would change
what is shown (markup, formulas, terminal escapes); each has one function here, and ordinary labels stay as they
are.
"""

from __future__ import annotations

import hashlib
import html
import re
import sys
import unicodedata
from typing import TextIO

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reorder the text around them."""
MARKDOWN = re.compile(r"([\\`*\[\]<>|~$&#!])|(?<![^\W_])(_)|(_)(?![^\W_])")
"""What may mean something in Markdown; an underscore only at the edge of a word."""
FORMULA = tuple("=+-@'\t\r\n")
"""How a cell begins that a spreadsheet would compute, or that is marked as text already."""
LONGEST = 40
"""Characters of a label in a picture."""
LONGEST_NAME = 100
"""Bytes of a label in the name of a file."""
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that are devices on some systems."""


def literally(text: str, lines: bool = False) -> str:
    """A text whose control characters are escaped (``\\x1b``), so that it is one line; with ``lines``, several stay.

    >>> literally("a\\x1b[31m\\n[/red]")
    'a\\\\x1b[31m\\\\n[/red]'
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(sign if lines and sign in "\n\t" else _visible(sign) for sign in text)


def _visible(sign: str) -> str:
    hidden = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in BIDIRECTIONAL
    return sign.encode("unicode_escape").decode() if hidden else sign


def say(text: object, file: TextIO | None = None) -> None:
    """Prints lines of text, with all other control characters escaped."""
    print(literally(str(text), lines=True), file=file or sys.stdout, flush=True)


def in_markdown(text: str) -> str:
    """For a cell, a heading or a sentence of Markdown.

    >>> in_markdown("a|b<script>"), in_markdown("sarathi,chunk_size=256")
    ('a\\\\|b\\\\<script\\\\>', 'sarathi,chunk_size=256')
    """
    return MARKDOWN.sub(lambda found: f"\\{found[0]}", literally(text))


def as_code(text: str) -> str:
    """For Markdown, as code: between more backticks than it holds; a bar is escaped, as tables demand."""
    shown = literally(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(each) for each in re.findall("`+", shown)), default=0))
    space = " " if shown[:1] in ("`", "") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def in_csv(text: str) -> str:
    """For a cell of CSV: what a spreadsheet would compute begins with an apostrophe. `from_csv` reads it back.

    >>> in_csv("=HYPERLINK(1)"), in_csv("vllm"), from_csv(in_csv("-1"))
    ("'=HYPERLINK(1)", 'vllm', '-1')
    """
    shown = literally(text)
    return f"'{shown}" if text.startswith(FORMULA) else shown


def from_csv(text: str) -> str:
    """The text in a cell that `in_csv` wrote; control characters stay escaped."""
    return text[1:] if text.startswith("'") else text


def in_html(text: str) -> str:
    """For HTML and XML, in elements and attributes."""
    return html.escape(literally(text))


def in_picture(text: str) -> str:
    """For matplotlib: without mathematics, not hidden by an underscore, and not too long to leave room for lines."""
    shown = literally(text)
    if len(shown) > LONGEST:
        shown = f"{shown[: LONGEST - 13]}…{shown[-12:]}"
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")


def in_path(text: str, others: frozenset[str] = frozenset()) -> str:
    """For the name of a file or folder; ``others`` are names that it must not have, whatever the case of letters.

    An ordinary label keeps its letters, digits and ``.=+-``, and has ``_`` for all else; where that is no safe name or
    might be another's, a digest of the label follows.

    >>> in_path("sarathi,chunk_size=256"), in_path("g<1", frozenset({"g_1"}))
    ('sarathi_chunk_size=256', 'g_1~2fcd620b5b')
    """
    name = re.sub(r"[^\w.=+-]+", "_", text)
    short = name.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore")
    unsafe = short != name or not name.strip("._") or name[:1] in ".-" or name.endswith(".") or RESERVED.fullmatch(name)
    if not unsafe and folded(name) not in others:
        return name
    return f"{short.strip('.-')}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def folded(name: str) -> str:
    """A name as case-insensitive file systems compare it, composed characters normalised."""
    return unicodedata.normalize("NFKC", name).casefold()
