"""Measures a real model on a real GPU and fits the profiles that the simulator runs on; the only package with torch."""
