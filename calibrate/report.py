"""The report of a calibration, a PDF: what was measured, how well it is predicted, and by what."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibrate.profiling import Calibration
from traces.errors import SlosimError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibrate.pages import Page

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
RESOLUTION = 110
"""Dots per inch of a page as a picture."""


def write_report(made: Calibration, path: Path) -> Path:
    """Writes the report whole or not at all; what was not measured has no page. The bytes bear no date."""
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    from calibrate import pages

    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with matplotlib.rc_context(STYLE), PdfPages(draft, metadata={"CreationDate": None}) as book:
            for page in pages.PAGES:
                if drawn := _drawn(page, made):
                    book.savefig(drawn)
        os.replace(draft, path)
    except OSError as error:
        raise SlosimError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return path


def draw_page(page: Page, made: Calibration, path: Path) -> Path:
    """Writes one page as a picture, for a notebook; raises SlosimError if nothing that it shows was measured."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        drawn = _drawn(page, made)
        if drawn is None:
            raise SlosimError(f"{made.profile.name}: nothing on page {page.__name__!r} was measured: measure longer")
        drawn.savefig(path, dpi=RESOLUTION)
    return path


def _drawn(page: Page, made: Calibration) -> Figure | None:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=SIZE, layout="constrained")
    return drawn if page(made, drawn) else None
