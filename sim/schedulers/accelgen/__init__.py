"""AccelGen (arXiv 2503.13737): chunks cut to the tightest SLO, order by remaining time, GPU and cache filled."""

from sim.schedulers.accelgen.policy import AccelGen

__all__ = ["AccelGen"]
