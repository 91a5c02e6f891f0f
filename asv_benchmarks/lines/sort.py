"""Sorting: against polars, which sorts in threads, and NumPy, which has vector instructions."""

from __future__ import annotations

import numpy as np

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import polars_or_none
from asv_benchmarks.row import Row

__all__ = ["contest_argsort", "contest_sort", "line_sort"]

_SEED = 20_240_121
_COUNT = 10_000_000
_ROUNDS = 9


def _column(dtype: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(_SEED)
    return rng.random(count) if dtype == "float64" else rng.integers(-(2**62), 2**62, count)


def contest_sort(*, quick: bool, dtype: str = "float64") -> Contest:
    """Sort elements without any order."""
    count = 20_000 if quick else _COUNT
    column = _column(dtype, count)
    shared, out = engine.share(column), engine.empty(count, column.dtype)
    calls = {
        "engine": lambda: engine.parallel_sort(shared, out=out),
        "NumPy": lambda: np.sort(column),
        **_polars(column, "sort"),
    }
    np.testing.assert_array_equal(calls["engine"](), np.sort(column))
    wanted = {"polars": 0.9, "NumPy": None}
    return Contest(f"sort {count:,} {dtype}", calls, wanted, rounds=1 if quick else _ROUNDS)


def contest_argsort(*, quick: bool) -> Contest:
    """Find the indices that sort floats."""
    count = 20_000 if quick else _COUNT
    column = _column("float64", count)
    shared = engine.share(column)
    calls = {
        "engine": lambda: engine.parallel_argsort(shared),
        "NumPy": lambda: np.argsort(column),
        **_polars(column, "arg_sort"),
    }
    np.testing.assert_array_equal(calls["engine"](), np.argsort(column, kind="stable"))
    wanted = {"polars": 0.8, "NumPy": None}
    return Contest(f"argsort {count:,} float64", calls, wanted, rounds=1 if quick else _ROUNDS)


def line_sort(*, quick: bool) -> list[Row]:
    """Sort floats and integers, and find the indices that do."""
    contests = [contest_sort(quick=quick, dtype=dtype) for dtype in ("float64", "int64")]
    return [row for one in (*contests, contest_argsort(quick=quick)) for row in one.rows()]


def _polars(column: np.ndarray, method: str) -> dict:
    """Give polars' way, if it is installed."""
    polars = polars_or_none()
    return {} if polars is None else {"polars": getattr(polars.Series(column), method)}
