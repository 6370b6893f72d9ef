"""EconoServe: prompts and generations queue apart, generations of one length start together, idle cache is lent."""

from sim.schedulers.econoserve.policy import EconoServe

__all__ = ["EconoServe"]
