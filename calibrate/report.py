"""The report of a calibration, a PDF: what was measured, how well it is predicted, and by what."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibrate.profiling import Calibration
from traces.errors import SlosimError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": "#bbbbbb",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "text.color": "#333333",
}
SIZE = (8.3, 5.8)
"""Inches of a page: half of A4."""


def write_report(made: Calibration, path: Path) -> Path:
    """Writes the report whole or not at all; what was not measured has no page. The bytes bear no date."""
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    from calibrate import pages

    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with matplotlib.rc_context(STYLE), PdfPages(draft, metadata={"CreationDate": None}) as book:
            for page in pages.PAGES:
                _add(book, page, made)
        os.replace(draft, path)
    except OSError as error:
        raise SlosimError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return path


def _add(book: Any, page: Callable[[Calibration, Figure], bool], made: Calibration) -> None:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=SIZE, layout="constrained")
    if page(made, drawn):
        book.savefig(drawn)
