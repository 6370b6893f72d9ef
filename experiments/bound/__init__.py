"""Certified upper bounds on goodput: what no schedule of a trace on a machine can exceed (see docs/bound.md)."""
