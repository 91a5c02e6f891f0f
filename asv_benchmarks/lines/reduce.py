"""Reductions and scans: against numba's threads, polars and NumPy, on arrays in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import polars_or_none, use_threads
from asv_benchmarks.row import Row

__all__ = ["contest_cumsum", "contest_sum", "contest_variance", "line_reduce", "line_scan"]

_SEED = 20_240_117
_COUNT = 20_000_000
_ROUNDS = 15


@njit(parallel=True, fastmath=True)
def _prange_sum(x: np.ndarray[Any, Any]) -> float:
    total = 0.0
    for i in prange(len(x)):
        total += x[i]
    return total


def _numbers(count: int) -> np.ndarray[Any, Any]:
    return engine.share(np.random.default_rng(_SEED).standard_normal(count))


def contest_sum(*, quick: bool) -> Contest:
    """Add up: work bound by memory."""
    use_threads()
    count = 200_000 if quick else _COUNT
    x = _numbers(count)
    calls = {
        "engine": lambda: engine.parallel_reduce("sum", x),
        "prange": lambda: _prange_sum(x),
        "NumPy": lambda: np.sum(x),
    }
    np.testing.assert_allclose(calls["engine"](), calls["prange"](), rtol=1e-6)
    wanted = {"prange": 1.05, "NumPy": None}
    return Contest(f"sum of {count:,} float64", calls, wanted, rounds=1 if quick else _ROUNDS)


def contest_variance(*, quick: bool) -> Contest:
    """Take the variance."""
    count = 200_000 if quick else _COUNT
    x = _numbers(count)
    calls: dict[str, Callable[[], object]] = {
        "engine": lambda: engine.parallel_reduce("var", x),
        "NumPy": lambda: np.var(x),
    }
    polars = polars_or_none()
    if polars is not None:
        column = polars.Series(x)
        calls["polars"] = lambda: column.var(ddof=0)
    np.testing.assert_allclose(calls["engine"](), np.var(x), rtol=1e-9)
    wanted = {"polars": 0.7, "NumPy": None}
    return Contest(f"variance of {count:,} float64", calls, wanted, rounds=1 if quick else _ROUNDS)


def contest_cumsum(*, quick: bool) -> Contest:
    """Cumulative sum into an array that exists."""
    count = 200_000 if quick else _COUNT
    x = _numbers(count)
    ours, theirs = engine.empty(count), engine.empty(count)
    calls = {
        "engine": lambda: engine.parallel_scan("sum", x, out=ours),
        "NumPy": lambda: np.cumsum(x, out=theirs),
    }
    np.testing.assert_allclose(calls["engine"](), calls["NumPy"](), rtol=1e-6, atol=1e-6)
    work = f"cumulative sum of {count:,} float64"
    return Contest(work, calls, {"NumPy": 0.45}, rounds=1 if quick else _ROUNDS)


def line_reduce(*, quick: bool) -> list[Row]:
    """Sum and variance."""
    return [*contest_sum(quick=quick).rows(), *contest_variance(quick=quick).rows()]


def line_scan(*, quick: bool) -> list[Row]:
    """Cumulative sum."""
    return contest_cumsum(quick=quick).rows()
