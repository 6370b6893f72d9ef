"""The fixtures of `slosim_pytest` under a former name."""

from __future__ import annotations

from slosim_pytest import assert_no_regression, simulate

__all__ = ["assert_no_regression", "simulate"]
