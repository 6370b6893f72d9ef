"""Workloads: real ones from files, and those of the paper from fitted or measured length distributions."""

from traces.errors import SlosimError, TraceWarning
from traces.rng import stream
from traces.trace import Trace
from traces.types import SLO, TraceRow

__all__ = ["SLO", "SlosimError", "Trace", "TraceRow", "TraceWarning", "stream"]
