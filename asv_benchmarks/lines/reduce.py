"""Reductions and scans: against numba's threads, polars and NumPy, on arrays in shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.lines.peers import polars_or_none, use_threads
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_reduce", "line_scan"]

_SEED = 20_240_117


@njit(parallel=True, fastmath=True)
def _prange_sum(x: np.ndarray[Any, Any]) -> float:
    total = 0.0
    for i in prange(len(x)):
        total += x[i]
    return total


def line_reduce(*, quick: bool) -> list[Row]:
    """Sum and variance: work bound by memory."""
    use_threads()
    count = 200_000 if quick else 20_000_000
    rounds = 1 if quick else 15
    x = engine.share(np.random.default_rng(_SEED).standard_normal(count))
    np.testing.assert_allclose(engine.parallel_reduce("sum", x), _prange_sum(x), rtol=1e-6)
    sums_s = median_times_s(
        {
            "engine": lambda: engine.parallel_reduce("sum", x),
            "prange": lambda: _prange_sum(x),
            "NumPy": lambda: np.sum(x),
        },
        rounds,
    )
    variances = {"engine": lambda: engine.parallel_reduce("var", x), "NumPy": lambda: np.var(x)}
    polars = polars_or_none()
    if polars is not None:
        column = polars.Series(x)
        variances["polars"] = lambda: column.var(ddof=0)
    np.testing.assert_allclose(engine.parallel_reduce("var", x), np.var(x), rtol=1e-9)
    return [
        *compared(f"sum of {count:,} float64", sums_s, {"prange": 1.05, "NumPy": None}),
        *compared(
            f"variance of {count:,} float64",
            median_times_s(variances, rounds),
            {"polars": 0.7, "NumPy": None},
        ),
    ]


def line_scan(*, quick: bool) -> list[Row]:
    """Cumulative sum into an array that exists."""
    count = 200_000 if quick else 20_000_000
    x = engine.share(np.random.default_rng(_SEED).standard_normal(count))
    ours, theirs = engine.empty(count), engine.empty(count)
    medians_s = median_times_s(
        {
            "engine": lambda: engine.parallel_scan("sum", x, out=ours),
            "NumPy": lambda: np.cumsum(x, out=theirs),
        },
        rounds=1 if quick else 15,
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    return compared(f"cumulative sum of {count:,} float64", medians_s, {"NumPy": 0.45})
