"""Sorting: against polars, which sorts in threads, and NumPy, which has vector instructions."""

from __future__ import annotations

import numpy as np

import engine
from asv_benchmarks.lines.peers import polars_or_none
from asv_benchmarks.lines.row import Row, compared, median_times_s

__all__ = ["line_sort"]

_SEED = 20_240_121


def line_sort(*, quick: bool) -> list[Row]:
    """Sort floats and integers without any order, and find the indices that do."""
    count, rounds = (20_000, 1) if quick else (10_000_000, 9)
    rng = np.random.default_rng(_SEED)
    columns = {
        "float64": rng.random(count),
        "int64": rng.integers(-(2**62), 2**62, count),
    }
    rows = []
    for name, column in columns.items():
        shared, out = engine.share(column), engine.empty(count, column.dtype)
        contenders = {
            "engine": lambda shared=shared, out=out: engine.parallel_sort(shared, out=out),
            "NumPy": lambda column=column: np.sort(column),
        }
        contenders |= _polars(column, "sort")
        medians_s = median_times_s(contenders, rounds=rounds)
        np.testing.assert_array_equal(out, np.sort(column))
        work = f"sort {count:,} {name}"
        rows += compared(work, medians_s, {"polars": 0.9, "NumPy": None})
    column = columns["float64"]
    shared = engine.share(column)
    contenders = {
        "engine": lambda: engine.parallel_argsort(shared),
        "NumPy": lambda: np.argsort(column),
    }
    contenders |= _polars(column, "arg_sort")
    medians_s = median_times_s(contenders, rounds=rounds)
    np.testing.assert_array_equal(
        engine.parallel_argsort(shared), np.argsort(column, kind="stable")
    )
    work = f"argsort {count:,} float64"
    return rows + compared(work, medians_s, {"polars": 0.8, "NumPy": None})


def _polars(column: np.ndarray, method: str) -> dict:
    """Give polars' way, if it is installed."""
    polars = polars_or_none()
    return {} if polars is None else {"polars": getattr(polars.Series(column), method)}
