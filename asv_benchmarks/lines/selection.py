"""Choosing rows: against NumPy's boolean and fancy indexing, and pyarrow's filter and take.

pyarrow filters and takes in one thread, as NumPy does; a random half is what neither guesses.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.row import Row

__all__ = ["contest_filter", "contest_take", "line_filter", "line_take"]

_SEED = 20_260_301


def contest_filter(*, quick: bool) -> Contest:
    """Keep a random half of an array."""
    count = 20_000 if quick else 20_000_000
    rng = np.random.default_rng(_SEED)
    x = engine.share(rng.random(count))
    mask = engine.share(rng.random(count) < 0.5)
    column, column_mask = pa.array(x), pa.array(mask)
    np.testing.assert_array_equal(engine.parallel_filter(mask, x), x[mask])
    calls = {
        "engine": lambda: engine.parallel_filter(mask, x),
        "NumPy": lambda: x[mask],
        "pyarrow": lambda: pc.filter(column, column_mask),
    }
    work = f"filter, {count:,} float64, a random half kept"
    return Contest(work, calls, {"NumPy": 0.6, "pyarrow": 0.6}, rounds=1 if quick else 9)


def contest_take(*, quick: bool) -> Contest:
    """Fetch elements from random places."""
    count = 20_000 if quick else 10_000_000
    rng = np.random.default_rng(_SEED)
    x = engine.share(rng.random(count))
    indices = engine.share(rng.integers(0, count, count))
    column, column_indices = pa.array(x), pa.array(indices)
    np.testing.assert_array_equal(engine.parallel_take(x, indices), x[indices])
    calls = {
        "engine": lambda: engine.parallel_take(x, indices),
        "NumPy": lambda: np.take(x, indices),
        "pyarrow": lambda: pc.take(column, column_indices),
    }
    work = f"take, {count:,} float64 from random places"
    return Contest(work, calls, {"NumPy": 0.8, "pyarrow": 0.9}, rounds=1 if quick else 9)


def line_filter(*, quick: bool) -> list[Row]:
    """Keep a random half of an array."""
    return contest_filter(quick=quick).rows()


def line_take(*, quick: bool) -> list[Row]:
    """Fetch elements from random places."""
    return contest_take(quick=quick).rows()
