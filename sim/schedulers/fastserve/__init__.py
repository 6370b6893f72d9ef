"""FastServe: preemption at the granularity of an output token, by a skip-join multi-level feedback queue."""

from sim.schedulers.fastserve.policy import FastServe

__all__ = ["FastServe"]
