"""Makes one HTML file of a comparison that can be mailed: findings, causes, tables, pictures, provenance.

It loads nothing from anywhere and opens in any browser.

examples:
  slosim compare -o results/compare && slosim report results/compare
  slosim report results/compare -o accelgen.html --baseline sarathi
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what `slosim compare` wrote")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="default: report.html in the folder")
    parser.add_argument("--baseline", metavar="NAME", help="the policy that ratios are taken to (default: the first)")


def main(options: Namespace) -> int:
    """Reports."""
    from experiments.console import console
    from experiments.report.page import write_page

    path = write_page(options.folder, options.output or options.folder / "report.html", options.baseline)
    console().print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, stands alone", markup=False)
    return 0
