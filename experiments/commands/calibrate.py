"""The command `calibrate`: text and options are `calibrate.command`'s, and so `python -m calibrate` is the same."""

from __future__ import annotations

from calibrate import command
from calibrate.command import configure, main

__all__ = ["configure", "main"]

__doc__ = command.__doc__
