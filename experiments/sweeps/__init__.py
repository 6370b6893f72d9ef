"""Sweeps: many runs that differ in some settings, in processes or on a cluster, each kept in a file of its own.

>>> import pandas
>>> pandas.read_parquet("results/sweep/points.parquet")  # doctest: +SKIP
"""
