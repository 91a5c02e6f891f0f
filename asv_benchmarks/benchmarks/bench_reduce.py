"""Reductions, scans, moving windows and random numbers."""

from asv_benchmarks.lines.random import contest_normal, contest_permutation
from asv_benchmarks.lines.reduce import contest_cumsum, contest_sum, contest_variance
from asv_benchmarks.lines.rolling import contest_rolling

from .contested import contested

Sum = contested("Sum", contest_sum, ["prange", "NumPy"])
Variance = contested("Variance", contest_variance, ["NumPy", "polars"])
Cumsum = contested("Cumsum", contest_cumsum, ["NumPy"])
Rolling = contested("Rolling", contest_rolling, ["pandas", "bottleneck", "numbagg"])
Normal = contested("Normal", contest_normal, ["PCG64", "Philox"])
Permutation = contested("Permutation", contest_permutation, ["PCG64"])
