"""One request as a trace tells it: when it comes, how long it is, and what was promised for it."""

from typing import NamedTuple

__all__ = ["SLO", "TraceRow"]

_NEVER = float("inf")


class SLO(NamedTuple):
    """A request's service-level objectives in seconds; infinity means that none was promised."""

    ttft: float = _NEVER
    """Arrival to first token."""
    tbt: float = _NEVER
    """Each gap between consecutive tokens."""
    jct: float = _NEVER
    """Arrival to last token."""


class TraceRow(NamedTuple):
    """One request of a trace."""

    arrived_at: float
    """Seconds since the start of the trace."""
    prompt_tokens: int
    """Tokens of the prompt, at least 1."""
    output_tokens: int
    """Tokens that the answer will have, at least 1. Policies never see it."""
    slo: SLO = SLO()
    """What was promised."""
    application: str = ""
    """Label of the application that sent it, for tables per application."""
