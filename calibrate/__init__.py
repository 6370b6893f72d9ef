"""Measures a real model on a real GPU and fits the profiles that the simulator runs on; the only package with torch."""

from calibrate.fit import FitReport, fit_file, fit_points
from calibrate.points import read_points

__all__ = ["FitReport", "fit_file", "fit_points", "read_points"]
